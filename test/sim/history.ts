/**
 * One random history: an instance of several brokers, clients and watchers on its ranks, brokers that die and come back,
 * links that break, cables that are out for a while. All of it decided by the seed; in the end it is checked
 * (`history-check.ts`).
 */
import { isFluxError } from "../../src/base/errors.ts";
import { Kvs } from "../../src/sdk/kvs.ts";
import { PRIMARY_NAMESPACE } from "../../src/sdk/kvs-protocol.ts";
import { Seeded } from "../../src/testkit/seeded.ts";
import { World } from "../../src/testkit/world.ts";
import { checkHistory } from "./history-check.ts";
import { HistoryClient, textAt, type Notes } from "./history-client.ts";
import { Cluster, type ClusterOptions } from "./history-cluster.ts";
import { JOURNAL, KEYS, type History, type WatchRecord } from "./history-events.ts";

const PATIENCE_MS = 600_000;
const SIDE_NAMESPACE = "side";
/** How long a cable is out. */
const CUTS_MS = [100, 3000, 20_000] as const;
/** How long what was held up by it may take to arrive. */
const SETTLE_MS = 5000;
/** How long a watcher may take to be told of the last commit. */
const WATCH_PATIENCE_MS = 60_000;

/** Situations that a set of histories must have met: without them it proves nothing. */
export const HISTORY_MARKS: readonly string[] = [
  "the leader was killed",
  "the leader lost its power",
  "a leaf was killed",
  "a broker in the middle was killed",
  "a link was reset",
  "a cable was cut",
  "a client waited for a version",
  "a client was refused",
  "a value of several blobs was written",
  "a watcher lost its broker",
  "an unanswered commit had happened",
  "an unanswered commit had not happened",
  "commits shared a version",
  "a watcher was told to the end",
  "a history without faults",
];

interface HistoryPlan {
  readonly size: number;
  readonly topology: string;
  readonly clients: number;
  readonly operations: number;
  readonly faults: readonly ("kill" | "power" | "reset" | "cut")[];
  readonly durability: "process" | "fsync";
}

function planOf(seed: string): HistoryPlan {
  const dice = new Seeded(`history ${seed}`);
  const kinds = (["kill", "power", "reset", "cut"] as const).filter(() => dice.chance(0.4));
  const faults = kinds.length === 0 ? [] : Array.from({ length: dice.between(1, 4) }, () => dice.pick(kinds));
  return {
    size: dice.between(2, 5),
    topology: dice.pick(["kary:1", "kary:2", "kary:32"]),
    clients: dice.between(2, 5),
    operations: dice.pick([10, 20, 40]),
    faults,
    // Without fsync the loss of power takes what was acknowledged in the last second.
    durability: faults.includes("power") ? "fsync" : dice.pick(["process", "fsync"]),
  };
}

/** Faults planted to prove that the check finds them. */
export type Planted = Pick<ClusterOptions, "modules" | "wrapPorts">;

export interface HistoryResult {
  readonly seed: string;
  readonly digest: string;
  readonly events: number;
  readonly operations: number;
  readonly marks: ReadonlyMap<string, number>;
}

class HistoryRun {
  readonly world: World;
  readonly #plan: HistoryPlan;
  readonly #cluster: Cluster;
  readonly #clients: HistoryClient[] = [];
  readonly #watchers: HistoryClient[] = [];
  readonly #notes: Notes = {
    events: [],
    commits: [],
    watches: [],
    leaderDeaths: [],
    namespaces: [PRIMARY_NAMESPACE, SIDE_NAMESPACE],
    versions: new Map(),
  };

  constructor(seed: string, planted: Planted, trace?: (line: string) => void) {
    this.world = new World(`history ${seed}`, trace === undefined ? {} : { trace });
    this.#plan = planOf(seed);
    const { size, topology, durability } = this.#plan;
    const config = { kvs: { durability, "checkpoint-period": "1s" } };
    this.#cluster = new Cluster(this.world, { size, topology, config, ...planted });
  }

  get operations(): number {
    return this.#notes.events.length;
  }

  async run(): Promise<void> {
    const { world } = this;
    await this.#drive("the start", this.#prepare());
    const work = this.#work();
    this.#scheduleFaults();
    await this.#drive("the work", work);
    const journals = await this.#drive("the end", this.#finish());
    this.#cluster.end();
    const history: History = { ...this.#notes, journals };
    this.#markOutcome(history);
    for (const { commit } of history.commits.map((commit) => ({ commit })))
      world.record("commit", commit.name, commit.rootseq);
    checkHistory(history);
  }

  async #drive<T>(name: string, promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = (): void => void (isSettled = true);
    promise.then(settle, settle);
    if (await this.world.timeline.runUntil(() => isSettled, PATIENCE_MS)) return promise;
    throw new Error(`${name} takes for ever: ${this.#cluster.stderr.slice(-5).join("")}`);
  }

  /** Done by one who does not give up. */
  async #insist<T>(rank: number, action: (kvs: Kvs) => Promise<T>): Promise<T> {
    for (;;) {
      const handle = await this.#cluster.connect(rank, "helper");
      try {
        return await action(new Kvs(handle));
      } catch (error) {
        if (!isFluxError(error)) throw error;
        await this.#cluster.pause(100);
      } finally {
        handle.close();
      }
    }
  }

  async #prepare(): Promise<void> {
    await this.#insist(0, async (kvs) => {
      await kvs.createNamespace(SIDE_NAMESPACE).catch((error: unknown) => {
        if (!isFluxError(error, "EEXIST")) throw error;
      });
    });
  }

  async #work(): Promise<void> {
    const { clients, operations, size } = this.#plan;
    const dice = this.world.dice.fork("clients");
    const make = (name: string): HistoryClient =>
      new HistoryClient(this.#cluster, this.#notes, dice.fork(name), name, dice.below(size));
    for (let index = 0; index < clients; index++) this.#clients.push(make(`c${index}`));
    for (const namespace of this.#notes.namespaces)
      for (const key of [JOURNAL, dice.pick(KEYS)]) {
        const watcher = make(`w${this.#watchers.length}`);
        this.#watchers.push(watcher);
        watcher.watch(namespace, key).catch((error: unknown) => void (this.#failure ??= error));
      }
    await Promise.all(this.#clients.map((client) => client.run(operations)));
  }
  #failure: unknown = null;

  /** Waits for all ranks to have the last version, and for the watchers to be told of it. */
  async #finish(): Promise<Map<string, readonly string[]>> {
    // A commit that nobody waits for any more may still be under way, behind a cable that is out.
    await this.#cluster.pause(CUTS_MS.at(-1)! + SETTLE_MS);
    const journals = new Map<string, readonly string[]>();
    for (const namespace of this.#notes.namespaces) journals.set(namespace, await this.#readEverywhere(namespace));
    await this.#endWatches(journals);
    if (this.#failure !== null) throw this.#failure as Error;
    return journals;
  }

  async #readEverywhere(namespace: string): Promise<string[]> {
    const last = await this.#insist(0, (kvs) => kvs.in(namespace).version());
    const texts: string[] = [];
    for (let rank = 0; rank < this.#cluster.size; rank++)
      texts.push(
        await this.#insist(rank, async (kvs) => {
          await kvs.in(namespace).waitVersion(last);
          return (await textAt(kvs.in(namespace), JOURNAL)) ?? "";
        }),
      );
    return texts;
  }

  /** A watcher whose connection stands is told of everything, sooner or later. */
  async #endWatches(journals: ReadonlyMap<string, readonly string[]>): Promise<void> {
    const { world } = this;
    const deadline = world.timeline.nowMs + WATCH_PATIENCE_MS;
    const open = (): WatchRecord[] => [...new Map(this.#notes.watches.map((watch) => [watch.client, watch])).values()];
    const isTold = (): boolean =>
      open().every(({ namespace, key, told }) => {
        const names = (journals.get(namespace)![0] ?? "").split(" ").slice(0, -1);
        if (key === JOURNAL) return told.join("") === journals.get(namespace)![0];
        const writers = new Set(this.#notes.commits.filter(({ keys }) => keys.includes(key)).map(({ name }) => name));
        return told.at(-1) === names.findLast((name) => writers.has(name));
      });
    while (!isTold() && world.timeline.nowMs < deadline) await this.#cluster.pause(50);
    for (const watch of open()) {
      watch.isComplete = true;
      world.mark("a watcher was told to the end");
    }
    for (const watcher of this.#watchers) watcher.end();
  }

  #scheduleFaults(): void {
    const { world } = this;
    const dice = world.dice.fork("faults");
    if (this.#plan.faults.length === 0) world.mark("a history without faults");
    for (const fault of this.#plan.faults)
      world.timeline.after(dice.fraction() * dice.pick([30, 300, 3000]), () => this.#strike(fault, dice), true);
  }

  #strike(fault: HistoryPlan["faults"][number], dice: Seeded): void {
    const { world } = this;
    if (fault === "kill") {
      const rank = dice.below(this.#cluster.size);
      world.mark(
        rank === 0
          ? "the leader was killed"
          : this.#isLeaf(rank)
            ? "a leaf was killed"
            : "a broker in the middle was killed",
      );
      if (rank === 0) this.#notes.leaderDeaths.push(this.#notes.events.length);
      this.#cluster.kill(rank);
    } else if (fault === "power") {
      world.mark("the leader lost its power");
      this.#notes.leaderDeaths.push(this.#notes.events.length);
      this.#cluster.losePower(0);
      const event = { client: "power", rank: 0, namespace: PRIMARY_NAMESPACE, eventsBefore: 0 };
      this.#notes.events.push({ ...event, kind: "power" });
    } else if (fault === "reset") {
      if (world.network.resetOne((left, right) => left.includes("broker") && right.includes("broker")))
        world.mark("a link was reset");
    } else {
      const machine = this.#cluster.machineOf(dice.below(this.#cluster.size));
      world.network.cut(machine);
      world.timeline.after(dice.pick(CUTS_MS), () => world.network.restore(machine));
      world.mark("a cable was cut");
    }
  }

  #isLeaf(rank: number): boolean {
    const arity = Number(this.#plan.topology.split(":")[1]);
    return rank * arity + 1 >= this.#cluster.size;
  }

  #markOutcome({ commits, journals }: History): void {
    const happened = new Set([...journals.values()].flatMap(([text]) => (text ?? "").split(" ")));
    const versions = new Set<string>();
    for (const { name, rootseq, namespace } of commits) {
      if (rootseq === null) this.world.mark(`an unanswered commit had ${happened.has(name) ? "" : "not "}happened`);
      else if (versions.has(`${namespace} ${rootseq}`)) this.world.mark("commits shared a version");
      else versions.add(`${namespace} ${rootseq}`);
    }
  }
}

/** Runs a history. Throws what was found wrong. */
export async function runHistory(
  seed: string,
  planted: Planted = {},
  trace?: (line: string) => void,
): Promise<HistoryResult> {
  const run = new HistoryRun(seed, planted, trace);
  await run.run();
  const { world, operations } = run;
  return { seed, digest: world.digest(), events: world.timeline.eventCount, operations, marks: world.marks };
}
