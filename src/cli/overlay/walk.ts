/**
 * The health of the overlay network, asked from broker to broker down the tree; a broker without children is asked only
 * where its own answer is wanted. Brokers behind one that is not there are shown by what is presumed of them: ghosts.
 */
import { errorText, FluxError } from "../../base/errors.ts";
import type { Clock } from "../../base/ports.ts";
import type { Hostlist } from "../../formats/hostlist.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { TreeNode } from "../output/overlay-tree.ts";

export interface ChildHealth {
  readonly rank: number;
  readonly status: string;
  readonly duration: number;
  readonly error?: string;
}
export interface HealthAnswer extends ChildHealth {
  readonly children: readonly ChildHealth[];
}
export interface Topology {
  readonly rank: number;
  readonly size: number;
  readonly children: readonly Topology[];
}

export interface WalkOptions {
  readonly handle: Handle;
  readonly clock: Clock;
  readonly hosts: Hostlist;
  /** How long a broker may take to answer; 0 is without limit. */
  readonly timeoutSeconds: number;
  /** Those behind a broker that is not there are shown as it is. */
  readonly ghosts: boolean;
  /** Brokers without children are asked, too. */
  readonly asksLeaves: boolean;
}

export class Walk {
  readonly #options: WalkOptions;

  constructor(options: WalkOptions) {
    this.#options = options;
  }

  /** `elsewhere`: ranks that a broker above has taken in when they lost their way. */
  async node(
    topology: Topology,
    known: ChildHealth | null,
    elsewhere: ReadonlySet<number> = new Set(),
  ): Promise<TreeNode> {
    const { rank } = topology;
    const { clock, asksLeaves } = this.#options;
    if (known?.status === "lost" || known?.status === "offline") return this.#absent(topology, known, elsewhere);
    if (known !== null && !asksLeaves && topology.children.length === 0) return this.#leaf(known);
    const sentMs = clock.monotonicMs();
    let health: HealthAnswer;
    try {
      health = await this.ask(rank);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      const rpcMs = clock.monotonicMs() - sentMs;
      const node = this.#absent(topology, known ?? { rank, status: "lost", duration: 0 }, elsewhere);
      return { ...node, rpcMs, rpcError: errorText(error) };
    }
    const rpcMs = clock.monotonicMs() - sentMs;
    const children = await this.#below(topology, health, elsewhere);
    const { status, duration } = health;
    return { rank, host: this.#host(rank), status, duration, rpcMs, error: null, rpcError: null, children };
  }

  async #below(topology: Topology, health: HealthAnswer, elsewhere: ReadonlySet<number>): Promise<TreeNode[]> {
    const planned = topology.children.filter((child) => !elsewhere.has(child.rank));
    const isPlanned = new Set(topology.children.map((child) => child.rank));
    const taken = health.children.filter((child) => !isPlanned.has(child.rank));
    const away = new Set([...elsewhere, ...taken.map((child) => child.rank)]);
    return Promise.all([
      ...planned.map((child) =>
        this.node(child, health.children.find((each) => each.rank === child.rank) ?? null, away),
      ),
      ...taken.map((child) =>
        this.node(subtreeOf(topology, child.rank) ?? { rank: child.rank, size: 1, children: [] }, child, away),
      ),
    ]);
  }

  #host(rank: number): string {
    return this.#options.hosts.nth(rank) ?? "?";
  }

  /** Somebody of whom the parent's word is enough. */
  #leaf({ rank, status, duration }: ChildHealth): TreeNode {
    return { rank, host: this.#host(rank), status, duration, rpcMs: null, error: null, rpcError: null, children: [] };
  }

  #absent(topology: Topology, known: ChildHealth, elsewhere: ReadonlySet<number>): TreeNode {
    const { rank } = topology;
    const { status, duration, error } = known;
    const behind = this.#options.ghosts ? topology.children.filter((child) => !elsewhere.has(child.rank)) : [];
    const children = behind.map((child) => this.#ghost(child, status, elsewhere));
    return {
      rank,
      host: this.#host(rank),
      status,
      duration,
      rpcMs: null,
      error: error ?? null,
      rpcError: null,
      children,
    };
  }

  #ghost(topology: Topology, status: string, elsewhere: ReadonlySet<number>): TreeNode {
    const { rank } = topology;
    const behind = topology.children.filter((child) => !elsewhere.has(child.rank));
    return {
      rank,
      host: this.#host(rank),
      status,
      duration: null,
      rpcMs: null,
      error: null,
      rpcError: null,
      children: behind.map((child) => this.#ghost(child, status, elsewhere)),
    };
  }

  /** The health of a broker. Throws FluxError, ETIMEDOUT among others. */
  async ask(rank: number): Promise<HealthAnswer> {
    const { clock, handle, timeoutSeconds } = this.#options;
    const abort = new AbortController();
    const timer = timeoutSeconds > 0 ? clock.after(timeoutSeconds * 1000, () => abort.abort()) : { cancel() {} };
    try {
      return await handle.rpc<HealthAnswer>("overlay.health", {}, { nodeid: rank, signal: abort.signal });
    } catch (error) {
      if (abort.signal.aborted) throw new FluxError("ETIMEDOUT", undefined, { cause: error });
      throw error;
    } finally {
      timer.cancel();
    }
  }
}

function subtreeOf(topology: Topology, rank: number): Topology | null {
  if (topology.rank === rank) return topology;
  for (const child of topology.children) {
    const found = subtreeOf(child, rank);
    if (found !== null) return found;
  }
  return null;
}
