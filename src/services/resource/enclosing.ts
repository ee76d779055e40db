/**
 * What the enclosing instance gave to this one: the R of the job that this instance is (RFC 20), and how long it may keep
 * it. Follows the job's updates for as long as the instance lives.
 *
 * Invariants: `updated` is told of new expirations only, after `resources` has resolved. The loss of the enclosing
 * instance ends the following, nothing else.
 */
import { errorText, FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject, JsonValue } from "../../base/json.ts";
import { parseFluid } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet, type NodeResources } from "../../formats/resource-set.ts";
import { Taskmap } from "../../formats/taskmap.ts";
import { Handle } from "../../sdk/handle.ts";
import { connectLocal } from "../../sdk/local-connector.ts";
import { LogLevel, type ModuleContext } from "../../sdk/module.ts";
import { table } from "./inventory.ts";

const METHOD = "job-info.update-watch";

export class EnclosingInstance {
  readonly #context: ModuleContext;
  readonly #updated: (expiration: number) => void;
  #handle: Handle | null = null;
  #expiration = 0;

  constructor(context: ModuleContext, updated: (expiration: number) => void) {
    this.#context = context;
    this.#updated = updated;
  }

  /** The allocation by the ranks of this instance; null where it is no job, or the brokers cannot be placed on it. Throws FluxError. */
  async resources(): Promise<ResourceSet | null> {
    const jobId = this.#context.attribute("jobid");
    const uri = this.#context.attribute("parent-uri");
    if (jobId === null || uri === null) return null;
    this.close();
    const handle = new Handle(await connectLocal(this.#context.ports, uri, { retries: 0 }));
    this.#handle = handle;
    const given = parseR(await this.#follow(handle, parseFluid(jobId)));
    this.#expiration = given.expiration;
    const { size } = this.#context;
    return placeBrokers(given, size, this.#context.attribute("broker.mapping"), this.#context.ports.host.cores.length);
  }

  /** Resolves with R, and goes on to follow its updates where the enclosing instance offers that. */
  async #follow(handle: Handle, id: Integer): Promise<JsonValue> {
    const isUnwanted = table(this.#context.config(), "resource")["no-update-watch"] === true;
    try {
      if (isUnwanted) throw new FluxError("ENOSYS", "turned off by the configuration");
      return await this.#watch(handle, id);
    } catch (error) {
      if (!(error instanceof FluxError) || !error.is("ENOSYS")) throw error;
      this.#context.log(LogLevel.info, `${METHOD}: ${errorText(error)}: falling back to job-info.lookup`);
      return (await handle.rpc<{ R: JsonValue }>("job-info.lookup", { id, keys: ["R"], flags: 0 })).R;
    }
  }

  #watch(handle: Handle, id: Integer): Promise<JsonValue> {
    return new Promise((resolve, reject) => {
      let isFirst = true;
      const item = ({ value }: { value: JsonObject }): void => {
        const R = value["R"]!;
        if (isFirst) resolve(R);
        else this.#update(R);
        isFirst = false;
      };
      const end = (error: FluxError | null): void =>
        reject(error ?? new FluxError("ENODATA", "the enclosing instance said nothing of R"));
      handle.open(METHOD, { id, key: "R", flags: 0 }, { item: (payload) => payload !== null && item(payload), end });
    });
  }

  #update(R: JsonValue): void {
    let expiration: number;
    try {
      ({ expiration } = parseR(R));
    } catch (error) {
      return this.#context.log(LogLevel.err, `an update of the allocation: ${errorText(error)}`);
    }
    if (expiration === this.#expiration) return;
    this.#expiration = expiration;
    this.#updated(expiration);
  }

  close(): void {
    this.#handle?.close();
    this.#handle = null;
  }
}

function parseR(value: JsonValue): ResourceSet {
  return typeof value === "string" ? ResourceSet.parseText(value) : ResourceSet.parse(value);
}

/**
 * Numbers what was given by this instance's ranks, and cores as its brokers see them. `mapping` says which rank is on
 * which node of the job; brokers that share a node share what it has. Null where the ranks cannot be told.
 */
export function placeBrokers(
  given: ResourceSet,
  size: number,
  mapping: string | null,
  visibleCores: number,
): ResourceSet | null {
  const own = given.withoutLocalProperties().with({ nslots: undefined }).remap();
  const nodeOf = size === own.nnodes ? [...Array(size).keys()] : nodesByRank(mapping, size, own.nnodes);
  if (nodeOf === null) return null;
  const nodes = nodeOf.map((node) => own.node(node)!);
  // A broker that is bound to its cores counts just them, from 0. One that is not sees them under their own numbers.
  const isBound = !(visibleCores > nodes[0]!.cores.count && [...nodes[0]!.cores].every((core) => core < visibleCores));
  const placed = nodes.map((node, rank) => [rank, isBound ? renumberCores(node) : node] as const);
  const { starttime, expiration } = given;
  let result = ResourceSet.fromNodes(placed).with({ starttime, expiration });
  for (const [name, ranks] of own.properties) {
    const having = [...result.ranks].filter((rank) => ranks.has(nodeOf[rank]!));
    if (having.length > 0) result = result.withProperty(name, Idset.from(having));
  }
  return result;
}

function renumberCores(node: NodeResources): NodeResources {
  return { ...node, cores: Idset.upTo(node.cores.count) };
}

function nodesByRank(mapping: string | null, size: number, nnodes: number): number[] | null {
  const map = mapping === null ? Taskmap.UNKNOWN : Taskmap.parse(mapping);
  if (map.nnodes !== nnodes || map.ntasks !== size) return null;
  const nodeOf: number[] = [];
  for (let node = 0; node < nnodes; node++) for (const rank of map.taskIds(node)) nodeOf[rank] = node;
  return nodeOf;
}
