/**
 * Commits that come as one huge message: where they enter, their long values are cut into blobs and stored a few at a
 * time, and what is left is a commit with references. So a value of any length delays nobody.
 */
import { base64Decode, EMPTY_BYTES, latin1Decode } from "../../base/bytes.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { handledLater } from "../../base/promises.ts";
import type { Treeobj } from "../../formats/treeobj.ts";
import type { PieceSource } from "../../protocol/message.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { Turns } from "../../sdk/turns.ts";
import { Gathering, VALUE_PIECE_BYTES, ValueStore } from "../../sdk/value-stream.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import { readCommitText } from "./commit-text.ts";
import { parseOperation, parseOperations } from "./protocol.ts";
import { LongStrings, notBase64, type LongStringSink } from "./long-strings.ts";

/** How much of a payload is looked at in one turn, in bytes. */
const SLICE_BYTES: number = 128 * 1024;
/** How many operations are looked at in one turn. */
const SLICE_OPERATIONS = 2048;

/** What a huge commit says, and the places of the operations whose values were cut: what was a value is a reference now. */
export interface CutCommit {
  readonly json: JsonObject;
  readonly operations: readonly Operation[];
  readonly cut: ReadonlySet<number>;
}

export class CommitCutter {
  readonly #handle: Handle;
  readonly #turns: Turns;

  constructor(handle: Handle, turns: Turns) {
    this.#handle = handle;
    this.#turns = turns;
  }

  /** Cuts a commit that came in pieces; resolves when its values are in the store. Rejects with EPROTO, ENOSPC. */
  async cut(source: PieceSource): Promise<CutCommit> {
    const values = new LongValues(this.#handle);
    const strings = new LongStrings(values);
    const pieces = source.pieces();
    for (let next = pieces.next(); next.done !== true; next = pieces.next())
      for (let start = 0; start < next.value.byteLength; start += SLICE_BYTES) {
        await this.#turns.next();
        strings.feed(next.value.subarray(start, start + SLICE_BYTES));
        await values.store();
      }
    const objects = await values.finish();
    await this.#turns.next();
    const reading = readCommitText(strings.finish());
    for (let step = reading.next(); ; step = reading.next()) {
      if (step.done === true) return this.#assemble(step.value, objects);
      await this.#turns.next();
    }
  }

  /** Puts the long values in their places, and looks at the operations, some at a time. */
  async #assemble(json: JsonObject, objects: readonly Treeobj[]): Promise<CutCommit> {
    const { ops } = json;
    if (!Array.isArray(ops)) return { json, operations: parseOperations(ops), cut: new Set() };
    const cut = new Set<number>();
    const operations: Operation[] = [];
    for (const [place, operation] of ops.entries()) {
      const filled = objects.length === 0 ? null : withValue(operation, objects);
      if (filled !== null) {
        ops[place] = filled.json;
        if (filled.type === "valref") cut.add(place);
      }
      operations.push(parseOperation(ops[place]!));
      if (place % SLICE_OPERATIONS === SLICE_OPERATIONS - 1) await this.#turns.next();
    }
    return { json, operations, cut };
  }
}

/** An operation with its long value in its place; null where it has none. */
function withValue(operation: JsonValue, objects: readonly Treeobj[]): { type: string; json: JsonObject } | null {
  const dirent = isJsonObject(operation) ? operation["dirent"] : undefined;
  const data = isJsonObject(dirent) && dirent["type"] === "val" ? dirent["data"] : undefined;
  const object = isJsonObject(data) ? objects[Number(data["long"])] : undefined;
  // A long string in another place is found to be no tree object by who looks at the commit.
  if (object === undefined) return null;
  return { type: object.type, json: { ...(operation as JsonObject), dirent: object as unknown as JsonObject } };
}

/** The long values of a commit on their way into the store, one after the other. */
class LongValues implements LongStringSink {
  readonly #handle: Handle;
  readonly #objects: Promise<Treeobj>[] = [];
  #store: ValueStore;
  #gathering = new Gathering();
  /** Pieces that are ready, and the ends of values. */
  #ready: { readonly store: ValueStore; readonly piece: Gathering; readonly isLast: boolean }[] = [];
  /** Characters that are no whole group of base64 yet. */
  #pending: Uint8Array = EMPTY_BYTES;
  #hasPadding = false;

  constructor(handle: Handle) {
    this.#handle = handle;
    this.#store = new ValueStore(handle, true);
  }

  begin(): void {
    this.#store = new ValueStore(this.#handle, true);
    this.#gathering = new Gathering();
    this.#pending = EMPTY_BYTES;
    this.#hasPadding = false;
  }

  data(bytes: Uint8Array): void {
    const isPending = this.#pending.byteLength > 0;
    const text = isPending ? latin1Decode(this.#pending) + latin1Decode(bytes) : latin1Decode(bytes);
    const length = text.length - (text.length % 4);
    this.#pending = length === text.length ? EMPTY_BYTES : lastOf(this.#pending, bytes, text.length - length);
    if (length > 0) this.#decode(length === text.length ? text : text.slice(0, length));
  }

  #decode(text: string): void {
    const decoded = base64Decode(text);
    if (decoded === null || this.#hasPadding) throw notBase64();
    this.#hasPadding = text.endsWith("=");
    for (let rest = this.#gathering.add(decoded); ; rest = this.#gathering.add(rest)) {
      if (this.#gathering.byteLength < VALUE_PIECE_BYTES) return;
      this.#ready.push({ store: this.#store, piece: this.#gathering, isLast: false });
      this.#gathering = new Gathering();
    }
  }

  end(): void {
    if (this.#pending.byteLength > 0) throw notBase64();
    this.#ready.push({ store: this.#store, piece: this.#gathering, isLast: true });
  }

  /** Sends on what is ready; resolves when there is room for more. */
  async store(): Promise<void> {
    const ready = this.#ready;
    this.#ready = [];
    for (const { store, piece, isLast } of ready) {
      if (!isLast) await store.add(piece);
      else this.#objects.push(handledLater(store.finish(piece)));
    }
    // Not too many short ones at once either.
    await this.#objects.at(-SHORT_WINDOW);
  }

  /** The tree objects of all values. */
  finish(): Promise<Treeobj[]> {
    return Promise.all(this.#objects);
  }
}

/** Values of one commit that are on their way at once. */
const SHORT_WINDOW = 4;

/** The last bytes of two arrays. */
function lastOf(first: Uint8Array, second: Uint8Array, count: number): Uint8Array {
  if (second.byteLength >= count) return second.slice(second.byteLength - count);
  const bytes = new Uint8Array(count);
  bytes.set(second, count - second.byteLength);
  bytes.set(first.subarray(first.byteLength - (count - second.byteLength)));
  return bytes;
}
