/**
 * Rounds of `kill -9` under load: of rank 0, of a leaf, of all brokers at once. Clients on every rank write small values
 * and long ones that are streamed; nothing that was acknowledged to them may be missing afterwards.
 *
 * A round ends when so many writes have been acknowledged as the seed says; which one is under way then is up to the
 * machine.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFluxError, type Handle, Kvs, KvsTransaction, openFlux } from "../../src/host/sdk.ts";
import { Seeded } from "../../src/testkit/seeded.ts";
import { Run, startInstance } from "./processes.ts";

const SIZE = 3;
const CLIENTS_PER_RANK = 2;
const KEYS = 20;
const BIG_KEYS = 2;
/** Longer than a piece: the SDK sends it as several blobs, then commits. */
const BIG_BYTES = 2_500_000;
const BIG_PROBABILITY = 0.03;
const NAMESPACE = "torture";
const GONE_MS = 20_000;

export const KILLS = ["leader", "leaf", "all"] as const;
export type Kill = (typeof KILLS)[number];

export interface TortureResult {
  readonly rounds: number;
  readonly acknowledged: number;
  readonly acknowledgedBig: number;
  /** Writes that nobody had been told of and that had happened. */
  readonly unanswered: number;
  readonly kills: ReadonlyMap<Kill, number>;
  /** What was missing; empty where the promise holds. */
  readonly failures: readonly string[];
}

/** The numbers of the writes to a key: the last that was acknowledged, and the last that was asked for. */
interface KeyState {
  acknowledged: number;
  asked: number;
}

/** A client: writes one thing after the other, and remembers. */
class Writer {
  readonly name: string;
  readonly namespace: string;
  readonly rank: number;
  readonly keys = new Map<string, KeyState>();
  acknowledged = 0;
  acknowledgedBig = 0;
  /** Of the present round. */
  journal = { key: "", acknowledged: [] as number[], asked: [] as number[] };
  #count = 0;
  readonly #dice: Seeded;

  constructor(name: string, namespace: string, rank: number, dice: Seeded) {
    this.name = name;
    this.namespace = namespace;
    this.rank = rank;
    this.#dice = dice;
  }

  beginRound(round: number): void {
    this.journal = { key: `${this.name}.journal${round}`, acknowledged: [], asked: [] };
  }

  /** Writes until its broker is gone, or it is told to stop. */
  async run(handle: Handle, isOver: () => boolean, acknowledged: () => void): Promise<void> {
    const kvs = new Kvs(handle, this.namespace);
    try {
      while (!isOver()) {
        if (this.#dice.chance(BIG_PROBABILITY)) await this.#writeBig(kvs);
        else await this.#write(kvs);
        this.acknowledged += 1;
        acknowledged();
      }
    } catch (error) {
      if (!isFluxError(error)) throw error;
    }
  }

  #ask(key: string): { number: number; state: KeyState } {
    const number = ++this.#count;
    const state = this.keys.get(key) ?? { acknowledged: 0, asked: 0 };
    this.keys.set(key, state);
    state.asked = number;
    return { number, state };
  }

  async #write(kvs: Kvs): Promise<void> {
    const key = `${this.name}.k${this.#dice.below(KEYS)}`;
    const { number, state } = this.#ask(key);
    this.journal.asked.push(number);
    await kvs.commit(new KvsTransaction().put(key, number).append(this.journal.key, `${number} `));
    state.acknowledged = number;
    this.journal.acknowledged.push(number);
  }

  async #writeBig(kvs: Kvs): Promise<void> {
    const key = `${this.name}.big${this.#dice.below(BIG_KEYS)}`;
    const { number, state } = this.#ask(key);
    await kvs.putBytes(key, bigValue(this.name, number));
    state.acknowledged = number;
    this.acknowledgedBig += 1;
  }

  /** Looks for everything that was acknowledged. Returns what is missing, and what is there without an answer. */
  async verify(handle: Handle): Promise<{ missing: string[]; unanswered: number }> {
    const kvs = new Kvs(handle, this.namespace);
    const missing: string[] = [];
    let unanswered = 0;
    for (const [key, state] of this.keys) {
      const found = await this.#numberAt(kvs, key, state);
      if (found === null || found < state.acknowledged || found > state.asked)
        missing.push(`${key}: acknowledged ${state.acknowledged}, asked for ${state.asked}, found ${found}`);
      else if (found > state.acknowledged) unanswered += 1;
      if (found !== null) state.acknowledged = Math.max(state.acknowledged, found);
    }
    const journal = await textOrNull(kvs, this.journal.key);
    const numbers = (journal ?? "").split(" ").slice(0, -1).map(Number);
    const allowed = this.journal.asked.filter((number) => numbers.includes(number));
    if (numbers.join() !== allowed.join()) missing.push(`${this.journal.key} has ${numbers.join(" ")}`);
    const lost = this.journal.acknowledged.filter((number) => !numbers.includes(number));
    if (lost.length > 0) missing.push(`${this.journal.key} lacks ${lost.join(" ")}`);
    if (journal !== null) await kvs.commit(new KvsTransaction().unlink(this.journal.key));
    return { missing, unanswered };
  }

  /** The number of the write whose value a key has; null for none, NaN for the value of no write. */
  async #numberAt(kvs: Kvs, key: string, state: KeyState): Promise<number | null> {
    try {
      if (!key.includes(".big")) return (await kvs.get(key)) as number;
      const digest = digestOf(await kvs.getBytes(key));
      for (const number of [state.acknowledged, state.asked])
        if (number > 0 && digestOf(bigValue(this.name, number)) === digest) return number;
      return Number.NaN;
    } catch (error) {
      if (isFluxError(error, "ENOENT")) return state.acknowledged === 0 ? 0 : null;
      if (isFluxError(error)) return Number.NaN;
      throw error;
    }
  }
}

function bigValue(name: string, number: number): Uint8Array {
  const value = Buffer.alloc(BIG_BYTES);
  const seed = createHash("sha256").update(`${name} ${number}`).digest();
  for (let start = 0; start < BIG_BYTES; start += 1000) seed.copy(value, start);
  value.writeUInt32BE(number, BIG_BYTES - 4);
  return value;
}

function digestOf(value: Uint8Array): string {
  return createHash("sha1").update(value).digest("hex");
}

async function textOrNull(kvs: Kvs, key: string): Promise<string | null> {
  try {
    return await kvs.getText(key);
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return null;
    throw error;
  }
}

class Torture {
  readonly #dice: Seeded;
  readonly #statedir: string;
  readonly #writers: Writer[] = [];
  readonly #failures: string[] = [];
  readonly #kills = new Map<Kill, number>();
  #unanswered = 0;

  constructor(seed: string, statedir: string) {
    this.#dice = new Seeded(`torture ${seed}`);
    this.#statedir = statedir;
    for (let rank = 0; rank < SIZE; rank++)
      for (let client = 0; client < CLIENTS_PER_RANK; client++) {
        const name = `r${rank}c${client}`;
        this.#writers.push(new Writer(name, client === 0 ? "primary" : NAMESPACE, rank, this.#dice.fork(name)));
      }
  }

  result(rounds: number): TortureResult {
    return {
      rounds,
      acknowledged: sum(this.#writers.map((writer) => writer.acknowledged)),
      acknowledgedBig: sum(this.#writers.map((writer) => writer.acknowledgedBig)),
      unanswered: this.#unanswered,
      kills: this.#kills,
      failures: this.#failures,
    };
  }

  async round(number: number, kill: Kill): Promise<void> {
    this.#kills.set(kill, (this.#kills.get(kill) ?? 0) + 1);
    const { run, uri } = await startInstance(`-s${SIZE}`, `-Sstatedir=${this.#statedir}`);
    await using _ = run;
    const leader = await openFlux(uri);
    await this.#verify(leader, `after the start of round ${number}`);
    if (number === 0) await new Kvs(leader).createNamespace(NAMESPACE);
    for (const writer of this.#writers) writer.beginRound(number);
    await this.#loadAndKill(run, leader, kill);
    if (kill === "leaf") {
      await this.#verify(leader, `after a leaf was killed in round ${number}`);
      for (const writer of this.#writers) writer.beginRound(number + 0.5);
      run.child.stdin?.end();
    }
    await run.finished;
    await run.gone(GONE_MS);
    leader.close();
  }

  /** The last instance: everything is there, and it ends in order. */
  async finish(): Promise<void> {
    const { run, uri } = await startInstance("-s1", `-Sstatedir=${this.#statedir}`);
    await using _ = run;
    const handle = await openFlux(uri);
    await this.#verify(handle, "at the end");
    handle.close();
    run.child.stdin?.end();
    const { code, stderr } = await run.finished;
    if (code !== 0) this.#failures.push(`the last instance ended with ${code}: ${stderr}`);
  }

  async #verify(handle: Handle, when: string): Promise<void> {
    for (const writer of this.#writers) {
      if (writer.journal.key === "") continue;
      const { missing, unanswered } = await writer.verify(handle);
      this.#unanswered += unanswered;
      for (const text of missing) this.#failures.push(`${when}: ${text}`);
    }
  }

  async #loadAndKill(run: Run, leader: Handle, kill: Kill): Promise<void> {
    const pids = await Promise.all(ranks().map((rank) => attribute(leader, rank, "broker.pid")));
    const uris = await Promise.all(ranks().map((rank) => attribute(leader, rank, "local-uri")));
    const handles = await Promise.all(this.#writers.map(({ rank }) => openFlux(uris[rank])));
    const target = this.#dice.pick([1, 10, 100, 400]) + this.#dice.below(50);
    const doomed = kill === "leader" ? [0] : kill === "leaf" ? [this.#dice.between(1, SIZE - 1)] : ranks();
    let count = 0;
    let isOver = false;
    const acknowledged = (): void => {
      if (++count !== target) return;
      isOver = kill === "leaf";
      for (const rank of doomed) process.kill(Number(pids[rank]), "SIGKILL");
    };
    await Promise.all(this.#writers.map((writer, index) => writer.run(handles[index]!, () => isOver, acknowledged)));
    for (const handle of handles) handle.close();
    if (count < target) this.#failures.push(`writers gave up after ${count} of ${target} writes: ${run.stderr}`);
  }
}

function ranks(): number[] {
  return Array.from({ length: SIZE }, (_, rank) => rank);
}

async function attribute(handle: Handle, rank: number, name: string): Promise<string> {
  const { value } = await handle.rpc("attr.get", { name }, { nodeid: rank });
  return String(value);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Runs rounds on a state directory of their own. `told` hears of each. */
export async function torture(
  rounds: number,
  seed: string,
  told: (text: string) => void = () => {},
): Promise<TortureResult> {
  const statedir = mkdtempSync(join(tmpdir(), "flux-torture-"));
  const rig = new Torture(seed, statedir);
  try {
    for (let round = 0; round < rounds; round++) {
      const kill = KILLS[round % KILLS.length]!;
      await rig.round(round, kill);
      const { acknowledged, failures } = rig.result(round + 1);
      told(`round ${round + 1}: ${kill} killed, ${acknowledged} writes acknowledged, ${failures.length} missing`);
      if (failures.length > 0) break;
    }
    await rig.finish();
    return rig.result(rounds);
  } finally {
    rmSync(statedir, { recursive: true, force: true });
  }
}
