/**
 * A client of a history: does what the dice say through the broker of its rank, and notes what it was told. When its
 * connection is lost it comes back; whether a commit that was not answered happened is seen at the end.
 */
import { isFluxError } from "../../src/base/errors.ts";
import type { DirEntries } from "../../src/formats/treeobj.ts";
import { makeDirref, makeValref, makeTextVal } from "../../src/formats/treeobj.ts";
import { blobrefFromDigest, type Blobref } from "../../src/formats/blobref.ts";
import { PRIMARY_NAMESPACE } from "../../src/sdk/kvs-protocol.ts";
import { utf8Decode, utf8Encode } from "../../src/base/bytes.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import { Kvs, KvsTransaction, valueBytes } from "../../src/sdk/kvs.ts";
import type { Seeded } from "../../src/testkit/seeded.ts";
import type { Treeobj } from "../../src/formats/treeobj.ts";
import type { Cluster } from "./history-cluster.ts";
import { JOURNAL, KEYS, PAIR, type CommitRecord, type HistoryEvent, type WatchRecord } from "./history-events.ts";

/** What clients of a history share. */
export interface Notes {
  readonly events: HistoryEvent[];
  readonly commits: CommitRecord[];
  readonly watches: WatchRecord[];
  readonly leaderDeaths: number[];
  readonly namespaces: readonly string[];
  /** Versions that some client was told of, by namespace. */
  readonly versions: Map<string, number>;
}

type Seen = HistoryEvent extends infer E
  ? E extends HistoryEvent
    ? Omit<E, "client" | "rank" | "namespace" | "eventsBefore">
    : never
  : never;

/** A pause before an operation is tried after a refusal. */
const REFUSED_PAUSE_MS = 100;

export class HistoryClient {
  readonly #cluster: Cluster;
  readonly #notes: Notes;
  readonly #dice: Seeded;
  readonly #name: string;
  readonly #rank: number;
  readonly #paceMs: number;
  #handle: Handle | null = null;
  #commits = 0;
  #isOver = false;

  constructor(cluster: Cluster, notes: Notes, dice: Seeded, name: string, rank: number) {
    this.#cluster = cluster;
    this.#notes = notes;
    this.#dice = dice;
    this.#name = name;
    this.#rank = rank;
    this.#paceMs = dice.pick([0, 1, 20, 200]);
  }

  /** Does its operations; resolves when all are done. */
  async run(operations: number): Promise<void> {
    for (let count = 0; count < operations; count++) {
      if (this.#dice.chance(0.5)) await this.#cluster.pause(this.#dice.fraction() * this.#paceMs);
      try {
        await this.#step(await this.#connected());
      } catch (error) {
        if (!isFluxError(error)) throw error;
        this.#cluster.world.mark("a client was refused");
        await this.#cluster.pause(REFUSED_PAUSE_MS);
      }
    }
  }

  async #connected(): Promise<Handle> {
    if (this.#handle === null || this.#handle.isClosed) {
      const handle = await this.#cluster.connect(this.#rank, this.#name);
      this.#handle = handle;
    }
    return this.#handle;
  }

  #note(namespace: string, eventsBefore: number, seen: Seen): void {
    const event = { client: this.#name, rank: this.#rank, namespace, eventsBefore, ...seen } as HistoryEvent;
    this.#notes.events.push(event);
    this.#cluster.world.record(this.#name, namespace, JSON.stringify(seen));
  }

  async #step(handle: Handle): Promise<void> {
    const namespace = this.#dice.pick(this.#notes.namespaces);
    const kvs = new Kvs(handle, namespace);
    const before = this.#notes.events.length;
    const kind = this.#dice.below(13);
    if (kind < 4) await this.#commit(kvs);
    else if (kind < 5) await Promise.all([this.#commit(kvs), this.#commit(kvs), this.#commit(kvs)]);
    else if (kind < 6) this.#note(namespace, before, { kind: "journal", text: (await textAt(kvs, JOURNAL)) ?? "" });
    else if (kind < 8) {
      const key = this.#dice.pick(KEYS);
      this.#note(namespace, before, { kind: "value", key, value: await textAt(kvs, key) });
    } else if (kind < 9) await this.#readPair(kvs, before);
    else if (kind < 10) await this.#readSnapshot(kvs, before);
    else if (kind < 11) {
      const rootseq = await kvs.version();
      this.#learn(namespace, rootseq);
      this.#note(namespace, before, { kind: "version", rootseq });
    } else if (kind < 12) await this.#waitVersion(kvs, before);
    else await handle.rpc(this.#dice.pick(["kvs.dropcache", "content.dropcache"]));
  }

  #learn(namespace: string, rootseq: number): void {
    this.#notes.versions.set(namespace, Math.max(this.#notes.versions.get(namespace) ?? 0, rootseq));
  }

  async #commit(kvs: Kvs): Promise<void> {
    const { namespace } = kvs;
    const keys = KEYS.filter(() => this.#dice.chance(0.4));
    const writesPair = this.#dice.chance(0.3);
    const name = `${this.#name}.${this.#commits++}`;
    const transaction = new KvsTransaction().append(JOURNAL, `${name} `);
    const isLong = this.#dice.chance(0.15);
    const value = isLong ? await this.#storeBlobs(kvs.handle, name) : makeTextVal(name);
    for (const key of keys) transaction.putTreeObject(key, value);
    if (writesPair) transaction.putText(`${PAIR}.left`, name).putText(`${PAIR}.right`, name);
    const commit: CommitRecord = { name, namespace, keys, writesPair, rootseq: null };
    this.#notes.commits.push(commit);
    const before = this.#notes.events.length;
    const isSync = kvs.namespace === PRIMARY_NAMESPACE && this.#dice.chance(0.05);
    const { rootseq } = await kvs.commit(transaction, { noMerge: this.#dice.chance(0.1), sync: isSync });
    commit.rootseq = rootseq;
    this.#learn(namespace, rootseq);
    this.#note(namespace, before, { kind: "acknowledged", commit });
  }

  /** A value as long ones are sent: blobs through the broker of this rank, then a commit that refers to them. */
  async #storeBlobs(handle: Handle, text: string): Promise<Treeobj> {
    const pieces = [text.slice(0, 2), text.slice(2)];
    const refs: Blobref[] = [];
    for (const piece of pieces) {
      const answer = await handle.call("content.store", utf8Encode(piece));
      refs.push(blobrefFromDigest("sha1", answer!.bytes));
    }
    this.#cluster.world.mark("a value of several blobs was written");
    return makeValref(refs);
  }

  async #readPair(kvs: Kvs, before: number): Promise<void> {
    const entries: DirEntries = await kvs.getDirectory(PAIR).catch((error: unknown) => {
      if (isFluxError(error, "ENOENT")) return {};
      throw error;
    });
    const half = (name: string): string | null => {
      const entry = entries[name];
      return entry === undefined ? null : utf8Decode(valueBytes(entry as Treeobj));
    };
    this.#note(kvs.namespace, before, { kind: "pair", left: half("left"), right: half("right") });
  }

  async #readSnapshot(kvs: Kvs, before: number): Promise<void> {
    const { rootseq, rootref } = await kvs.getRoot();
    const at = makeDirref(rootref);
    if (this.#dice.chance(0.5)) await this.#cluster.pause(this.#dice.fraction() * this.#paceMs);
    const [journal, ...values] = await Promise.all([JOURNAL, ...KEYS].map((key) => textAt(kvs, key, { at })));
    const found = KEYS.map((key, index) => [key, values[index]!] as const);
    this.#note(kvs.namespace, before, { kind: "snapshot", rootseq, journal: journal ?? "", values: found });
  }

  /** Waits here for a version that somebody else was told of. */
  async #waitVersion(kvs: Kvs, before: number): Promise<void> {
    const rootseq = this.#notes.versions.get(kvs.namespace) ?? 0;
    await kvs.waitVersion(rootseq);
    this.#note(kvs.namespace, before, { kind: "reached", rootseq });
    this.#cluster.world.mark("a client waited for a version");
    const key = this.#dice.pick(KEYS);
    this.#note(kvs.namespace, before, { kind: "value", key, value: await textAt(kvs, key) });
  }

  /** Watches a key until the history is over; begins anew when the connection is lost. */
  async watch(namespace: string, key: string): Promise<void> {
    const isJournal = key === JOURNAL;
    while (!this.#isOver) {
      const record: WatchRecord = {
        client: this.#name,
        namespace,
        key,
        kind: isJournal ? "append" : "value",
        eventsBefore: this.#notes.events.length,
        told: [],
        toldAfter: [],
        isComplete: false,
      };
      this.#notes.watches.push(record);
      try {
        const kvs = new Kvs(await this.#connected(), namespace);
        for await (const value of kvs.watch(key, { waitCreate: true, append: isJournal })) {
          if (value === null) continue;
          record.told.push(utf8Decode(value));
          record.toldAfter.push(this.#notes.events.length);
          this.#cluster.world.record(this.#name, "watched", key, utf8Decode(value));
        }
      } catch (error) {
        if (!isFluxError(error)) throw error;
        this.#cluster.world.mark("a watcher lost its broker");
        await this.#cluster.pause(REFUSED_PAUSE_MS);
      }
    }
  }

  /** Nothing more is to be watched. */
  end(): void {
    this.#isOver = true;
    this.#handle?.close();
  }
}

/** A value as text, or null where there is none. */
export async function textAt(kvs: Kvs, key: string, options: { at?: Treeobj } = {}): Promise<string | null> {
  try {
    return await kvs.getText(key, options);
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return null;
    throw error;
  }
}
