/**
 * A workload on the storage services of one broker, from a seed: commits in several namespaces, one at a time and many
 * at once, values of all lengths, appended ones, namespaces that come and go, values of blobs that were stored before,
 * checkpoints that are asked for and those that come by themselves, garbage for the collector. Others look on: who was
 * shown a version, by an answer or an event, relies on it as on what was acknowledged.
 */
import { utf8Encode } from "../../src/base/bytes.ts";
import { isFluxError } from "../../src/base/errors.ts";
import { blobrefFromDigest } from "../../src/formats/blobref.ts";
import { makeValref } from "../../src/formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../src/sdk/kvs.ts";
import { NAMESPACE_EVENT_PREFIX, PRIMARY_NAMESPACE } from "../../src/sdk/kvs-protocol.ts";
import type { Seeded } from "../../src/testkit/seeded.ts";
import type { Change, Edit, Moment } from "./crash-model.ts";
import type { Recorder } from "./crash-recorder.ts";
import type { StorageNode } from "./storage-node.ts";

const NAMESPACES = ["alpha", "beta"] as const;
const KEYS = ["a", "b", "d.a", "d.b", "d.e.a", "d.e.b", "f"] as const;
/** Lengths of values: in the directory, and as blobs of their own. */
const LENGTHS = [0, 3, 40, 100, 700] as const;
const PIECE_CHARACTERS = 600;
/** More than a directory holds in one blob. */
const WIDE_ENTRIES = 1300;
const BALLAST = "ballast";
const BALLAST_PIECES = 5;
const BALLAST_PIECE_BYTES = 900_000;
/** Less than what the log takes to be synchronised, a checkpoint, the collector to begin, and a lease to end. */
const PAUSES_MS = [1, 300, 2500, 15_000, 700_000] as const;

export interface WorkloadOptions {
  /** With a directory so wide that it is stored in pieces. */
  readonly isWide?: boolean;
  /** The disk is full now and then. */
  readonly isTight?: boolean;
}

export class CrashWorkload {
  readonly changes: Change[] = [];
  /** Changes that were refused because the disk was full. */
  refusals = 0;
  /** Changes of which somebody else knew before who made them was answered. */
  sightings = 0;
  readonly #sightings: { readonly namespace: string; readonly rootseq: number; readonly moment: Moment }[] = [];
  readonly #node: StorageNode;
  readonly #recorder: Recorder;
  readonly #dice: Seeded;
  readonly #options: WorkloadOptions;
  /** There is little room on the disk at the moment. */
  #isTight = false;
  readonly #present = new Set<string>([PRIMARY_NAMESPACE]);
  #count = 0;

  constructor(node: StorageNode, recorder: Recorder, dice: Seeded, options: WorkloadOptions) {
    this.#options = options;
    this.#node = node;
    this.#recorder = recorder;
    this.#dice = dice;
  }

  /** Works until the disk has seen so many operations. */
  async run(operations: number): Promise<void> {
    await this.#node.handle.subscribe(NAMESPACE_EVENT_PREFIX, ({ payload }) => {
      const { namespace, rootseq } = payload?.value ?? {};
      if (typeof namespace === "string" && typeof rootseq === "number") this.#sawVersion(namespace, rootseq);
    });
    await this.#placeBallast();
    if (this.#options.isWide === true) await this.#fillWide();
    while (this.#recorder.points.length < operations) await this.#step();
    if (this.#isTight) this.#squeeze();
    this.#noteSightings();
  }

  #sawVersion(namespace: string, rootseq: number): void {
    this.#sightings.push({ namespace, rootseq, moment: this.#recorder.moment() });
  }

  /** Asks for versions, again and again, until something is done. */
  async #watch(namespace: string, isDone: () => boolean): Promise<void> {
    while (!isDone()) {
      try {
        const payload = { namespace, flags: 0, hold: false };
        const { rootseq } = await this.#node.handle.rpc<{ rootseq: number }>("kvs.getroot", payload);
        this.#sawVersion(namespace, rootseq);
      } catch (error) {
        // It is not there (yet).
        if (!isFluxError(error, "ENOTSUP")) throw error;
      }
      await this.#wait(0.01);
    }
  }

  /** A change counts as acknowledged when somebody saw its version. */
  #noteSightings(): void {
    for (const { namespace, rootseq, moment } of this.#sightings)
      for (const change of this.changes) {
        const isSeen = change.kind === "commit" && change.namespace === namespace && change.rootseq <= rootseq;
        if (!isSeen || moment.order <= change.asked.order) continue;
        if (change.acknowledged === null || moment.order < change.acknowledged.order) {
          change.acknowledged = moment;
          this.sightings += 1;
        }
      }
  }

  async #step(): Promise<void> {
    const kind = this.#dice.below(this.#options.isTight === true ? 21 : 20);
    if (kind < 8) await this.#commit(this.#anyNamespace());
    else if (kind < 12) await this.#commitMany();
    else if (kind < 14) await this.#commitBlobs();
    else if (kind < 15) await this.#changeNamespace();
    else if (kind < 16) await this.#commit(PRIMARY_NAMESPACE, { sync: !this.#isTight });
    else if (kind < 17) await this.#node.handle.rpc("kvs.dropcache");
    else if (kind < 18) await this.#storeGarbage();
    else if (kind < 20) await this.#wait(this.#dice.pick(PAUSES_MS));
    else this.#squeeze();
  }

  /** The collector leaves small stores alone: a large value, which nobody looks at, makes this one worth its while. */
  async #placeBallast(): Promise<void> {
    await new Kvs(this.#node.handle).createNamespace(BALLAST);
    const kvs = new Kvs(this.#node.handle, BALLAST);
    for (let piece = 0; piece < BALLAST_PIECES; piece++)
      await kvs.putBytes(`ballast${piece}`, new Uint8Array(BALLAST_PIECE_BYTES).fill(piece));
  }

  async #fillWide(): Promise<void> {
    const edits: Edit[] = Array.from({ length: WIDE_ENTRIES }, (_, index) => ({
      kind: "put",
      key: `wide.${index}`,
      value: String(index),
    }));
    const transaction = new KvsTransaction();
    for (const edit of edits) addEdit(transaction, edit);
    await this.#send(PRIMARY_NAMESPACE, edits, transaction, { sync: true });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#node.world.timeline.after(ms, resolve));
  }

  #anyNamespace(): string {
    return this.#dice.pick([...this.#present]);
  }

  async #commit(namespace: string, options: { sync?: boolean; noMerge?: boolean } = {}): Promise<void> {
    const edits = this.#edits();
    const transaction = new KvsTransaction();
    for (const edit of edits) addEdit(transaction, edit);
    await this.#send(namespace, edits, transaction, options);
  }

  /** Every commit also adds to a journal, so that the state tells which commits it holds. */
  #edits(): Edit[] {
    const edits: Edit[] = [];
    for (let count = this.#dice.between(0, 2); count > 0; count--) {
      const key =
        this.#options.isWide === true && this.#dice.chance(0.4)
          ? `wide.${this.#dice.below(WIDE_ENTRIES)}`
          : this.#dice.pick(KEYS);
      if (this.#dice.chance(0.15)) edits.push({ kind: "unlink", key: this.#dice.pick([key, "d", "d.e"]) });
      else edits.push({ kind: "put", key, value: this.#text(this.#dice.pick(LENGTHS)) });
    }
    edits.push({ kind: "append", key: "journal", value: `${this.#count++} ` });
    return edits;
  }

  #text(length: number): string {
    return `${this.#dice.below(1000)}-`.repeat(length / 4 + 1).slice(0, length);
  }

  async #send(
    namespace: string,
    edits: readonly Edit[],
    transaction: KvsTransaction,
    options: { sync?: boolean; noMerge?: boolean },
  ): Promise<void> {
    const change: Change = {
      kind: "commit",
      namespace,
      edits,
      asked: this.#recorder.moment(),
      acknowledged: null,
      rootseq: -1,
    };
    this.changes.push(change);
    let isDone = false;
    const watching = this.#watch(namespace, () => isDone);
    await this.#unlessFull(change, async () => {
      const { rootseq } = await new Kvs(this.#node.handle, namespace).commit(transaction, options);
      change.rootseq = rootseq;
    }).finally(() => (isDone = true));
    await watching;
  }

  /** Carries a change out. One that is refused because the disk is full did not happen, and must never be seen. */
  async #unlessFull(change: Change, action: () => Promise<void>): Promise<void> {
    try {
      await action();
      change.acknowledged = this.#recorder.moment();
    } catch (error) {
      if (!isFluxError(error, "ENOSPC")) throw error;
      this.changes.splice(this.changes.indexOf(change), 1);
      this.refusals += 1;
    }
  }

  /** There is little room from now on, or enough again. */
  #squeeze(): void {
    this.#isTight = !this.#isTight;
    this.#recorder.limit(this.#isTight ? this.#dice.below(10_000) : null);
  }

  async #commitMany(): Promise<void> {
    const commits: Promise<void>[] = [];
    for (let count = this.#dice.between(2, 6); count > 0; count--)
      commits.push(this.#commit(this.#anyNamespace(), { noMerge: this.#dice.chance(0.2) }));
    await Promise.all(commits);
  }

  /** A value as our own client sends long ones: blobs first, then a commit that refers to them. */
  async #commitBlobs(): Promise<void> {
    const pieces = Array.from({ length: this.#dice.between(1, 3) }, () => this.#text(PIECE_CHARACTERS));
    const refs = await this.#storePieces(pieces);
    if (refs === null) return;
    if (this.#dice.chance(0.5)) await this.#wait(this.#dice.pick([1, 1500]));
    const key = this.#dice.pick(["big", "d.big"]);
    const edits: Edit[] = [
      { kind: "put", key, value: pieces.join("") },
      { kind: "append", key: "journal", value: `${this.#count++} ` },
    ];
    const transaction = new KvsTransaction().putTreeObject(key, makeValref(refs));
    addEdit(transaction, edits[1]!);
    await this.#send(this.#anyNamespace(), edits, transaction, {});
  }

  /** Null where the disk is full. */
  async #storePieces(pieces: readonly string[]): Promise<string[] | null> {
    try {
      const answers = pieces.map((piece) => this.#node.handle.call("content.store", utf8Encode(piece)));
      return (await Promise.all(answers)).map((answer) => blobrefFromDigest("sha1", answer!.bytes));
    } catch (error) {
      if (!isFluxError(error, "ENOSPC")) throw error;
      return null;
    }
  }

  async #changeNamespace(): Promise<void> {
    const namespace = this.#dice.pick(NAMESPACES);
    const kind = this.#present.has(namespace) ? "remove" : "create";
    const kvs = new Kvs(this.#node.handle);
    const change: Change = {
      kind,
      namespace,
      edits: [],
      asked: this.#recorder.moment(),
      acknowledged: null,
      rootseq: -1,
    };
    this.changes.push(change);
    await this.#unlessFull(change, async () => {
      await (kind === "create" ? kvs.createNamespace(namespace) : kvs.removeNamespace(namespace));
      if (kind === "create") this.#present.add(namespace);
      else this.#present.delete(namespace);
    });
  }

  /** A blob that nothing will refer to. */
  async #storeGarbage(): Promise<void> {
    try {
      await this.#node.handle.call("content.store", this.#dice.bytes(2000));
    } catch (error) {
      if (!isFluxError(error)) throw error;
    }
  }
}

function addEdit(transaction: KvsTransaction, edit: Edit): void {
  if (edit.kind === "put") transaction.putText(edit.key, edit.value);
  else if (edit.kind === "append") transaction.append(edit.key, edit.value);
  else transaction.unlink(edit.key);
}
