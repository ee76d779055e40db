/**
 * The queues of a configuration (flux-config-queues(5)), as `flux resource` tells nodes apart by them. A queue with a
 * parent is a virtual one: it has the nodes of its parent.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import type { ResourceSet } from "../../formats/resource-set.ts";
import { QueuePolicy } from "../queues/policy.ts";

export class Queues {
  readonly #queues: JsonObject;

  constructor(config: JsonObject) {
    this.#queues = isJsonObject(config["queues"]) ? config["queues"] : {};
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#queues, name);
  }

  /** Names of the queues that are no virtual ones, in the order of the configuration. */
  get names(): string[] {
    return Object.keys(this.#queues).filter((name) => this.#parent(name) === null);
  }

  /** The properties that nodes of a queue have. Throws FluxError EINVAL where there is no such queue. */
  requirements(name: string): readonly string[] {
    const queue = this.has(name) ? this.#queues[name] : null;
    if (!isJsonObject(queue)) throw new FluxError("EINVAL", `--queue: ${name}: no such queue`);
    const parent = this.#parent(name);
    if (parent !== null && !this.has(parent))
      throw new FluxError("EINVAL", `--queue: queue '${name}': parent queue '${parent}' is not configured`);
    return new QueuePolicy({ queues: this.#queues }, name).requires;
  }

  /** The ranks of a queue. Throws FluxError EINVAL where there is no such queue. */
  ranks(name: string, all: ResourceSet): Idset {
    const required = this.requirements(name);
    return Idset.from([...all.ranks].filter((rank) => required.every((property) => all.hasProperty(rank, property))));
  }

  #parent(name: string): string | null {
    const queue = this.#queues[name];
    return isJsonObject(queue) && typeof queue["parent"] === "string" ? queue["parent"] : null;
  }
}
