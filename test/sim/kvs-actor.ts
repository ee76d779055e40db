/**
 * A user of the KVS in a simulated run: writes keys of its own and a shared one, reads them back on its rank, and
 * remembers what was acknowledged.
 *
 * Checks as it goes: it reads what it wrote (on its rank); a version never falls; a commit of two keys is seen whole.
 */
import { isFluxError } from "../../src/base/errors.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import { Kvs, KvsTransaction } from "../../src/sdk/kvs.ts";
import type { Seeded } from "../../src/testkit/seeded.ts";
import type { World } from "../../src/testkit/world.ts";

/** What must be found again after any crash: the last acknowledged value of a key, and what may be there instead. */
export interface Acknowledged {
  readonly key: string;
  /** null: nothing was acknowledged yet. */
  value: number | null;
  /** A write that was sent and not answered: it may or may not have happened. */
  pending: number | null;
}

export class KvsActor {
  readonly name: string;
  readonly keys: Acknowledged[] = [];
  readonly #world: World;
  readonly #dice: Seeded;
  #lastVersion = 0;

  constructor(world: World, name: string, dice: Seeded) {
    this.#world = world;
    this.name = name;
    this.#dice = dice;
    for (const index of [0, 1, 2]) this.keys.push({ key: `actor.${name}.k${index}`, value: null, pending: null });
  }

  /** Runs until its operations are done or its broker is lost. Throws where the KVS broke a promise. */
  async run(handle: Handle, operations: number): Promise<void> {
    const kvs = new Kvs(handle);
    try {
      for (let count = 1; count <= operations; count++) await this.#step(kvs, count);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#world.mark("a KVS client lost its broker");
    }
  }

  async #step(kvs: Kvs, count: number): Promise<void> {
    const kind = this.#dice.below(5);
    if (kind <= 1) await this.#write(kvs, count);
    else if (kind === 2) await this.#writePair(kvs, count);
    else if (kind === 3) await this.#read(kvs);
    else await this.#checkVersion(kvs);
  }

  async #write(kvs: Kvs, count: number): Promise<void> {
    const entry = this.#dice.pick(this.keys);
    entry.pending = count;
    await kvs.put(entry.key, count);
    entry.value = count;
    entry.pending = null;
    this.#world.record(this.name, "acknowledged", entry.key, count);
  }

  async #writePair(kvs: Kvs, count: number): Promise<void> {
    const pair = `actor.${this.name}.pair`;
    await kvs.commit(new KvsTransaction().put(`${pair}.left`, count).put(`${pair}.right`, count));
    const directory = await kvs.getDirectory(pair);
    if (Object.keys(directory).length !== 2) throw new Error(`half of a commit was seen in ${pair}`);
    this.#world.mark("a commit of two keys was read back");
  }

  async #read(kvs: Kvs): Promise<void> {
    const entry = this.#dice.pick(this.keys);
    if (entry.value === null) return;
    const found = await kvs.get(entry.key);
    if (found !== entry.value) throw new Error(`${entry.key}: wrote ${entry.value}, read ${String(found)}`);
    this.#world.mark("a client read what it wrote");
  }

  async #checkVersion(kvs: Kvs): Promise<void> {
    const version = await kvs.version();
    if (version < this.#lastVersion) throw new Error(`version fell from ${this.#lastVersion} to ${version}`);
    this.#lastVersion = version;
  }

  /** After any crash and restart: every key has its acknowledged value, or the one that was under way. */
  async verify(handle: Handle): Promise<void> {
    const kvs = new Kvs(handle);
    for (const { key, value, pending } of this.keys) {
      const found = await kvs.get(key).catch((error: unknown) => {
        if (isFluxError(error, "ENOENT")) return null;
        throw error;
      });
      if (found !== value && found !== pending)
        throw new Error(`${key}: acknowledged ${value}, under way ${pending}, found ${String(found)}`);
      if (pending !== null && found === pending) this.#world.mark("an unanswered commit had happened");
    }
  }
}
