/**
 * Commits that come as one huge message: where they enter, their long values are cut into blobs and stored a few at a
 * time, and what is left goes on as a commit with references. So a value of any length delays nobody.
 *
 * Invariant: the commits of one sender go on in the order in which they came, huge ones and others.
 */
import { base64Decode, EMPTY_BYTES, latin1Decode, utf8DecodeStrict } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Treeobj } from "../../formats/treeobj.ts";
import type { PieceSource } from "../../protocol/message.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { Turns } from "../../sdk/turns.ts";
import { Gathering, VALUE_PIECE_BYTES, ValueStore } from "../../sdk/value-stream.ts";
import { callerOf, type Caller } from "./protocol.ts";
import { LongStrings, notBase64, type LongStringSink } from "./long-strings.ts";

/** A commit whose payload is longer is cut, in bytes. */
const HUGE_COMMIT_BYTES: number = 256 * 1024;
/** How much of a payload is looked at in one turn, in bytes. */
const SLICE_BYTES: number = 128 * 1024;

/** A commit that is to be carried out. */
export interface ArrivedCommit {
  /** To be answered. */
  readonly request: IncomingRequest;
  readonly caller: Caller;
  /** What it says. */
  readonly json: JsonObject;
  /** The operations whose values were cut into blobs, by their place: what was a value is a reference now. */
  readonly cut: ReadonlySet<number>;
}

/** Carries a commit out; the request is answered by it. */
export type CommitAction = (commit: ArrivedCommit) => void | Promise<void>;

const NOT_CUT: ReadonlySet<number> = new Set();

export class HugeCommits {
  readonly #handle: Handle;
  readonly #turns: Turns;
  readonly #commit: CommitAction;
  readonly #fatal: (error: unknown) => void;
  /** What senders have under way: others of theirs come after it. */
  readonly #last = new Map<string, Promise<void>>();

  constructor({ handle, ports, fatal }: Pick<ModuleContext, "handle" | "ports" | "fatal">, commit: CommitAction) {
    this.#handle = handle;
    this.#turns = new Turns(ports.clock, 1);
    this.#commit = commit;
    this.#fatal = fatal;
  }

  /** Takes a commit that came. Throws FluxError where it makes no sense. */
  take(request: IncomingRequest): undefined {
    const source = request.message.payload?.source ?? null;
    const isHuge = source !== null && source.byteLength > HUGE_COMMIT_BYTES;
    const last = this.#last.get(request.sender);
    if (!isHuge && last === undefined) return void this.#pass(request);
    const { transit } = request.message;
    const byteLength = request.message.payload?.byteLength ?? 0;
    // It is in memory until it is done: its sender is held back.
    transit?.left(-byteLength);
    const done = (last ?? Promise.resolve())
      .then(() => (isHuge ? this.#cut(request, source) : this.#pass(request)))
      .catch((error: unknown) => this.#fail(request, error))
      .finally(() => {
        transit?.left(byteLength);
        if (this.#last.get(request.sender) === done) this.#last.delete(request.sender);
      });
    this.#last.set(request.sender, done);
  }

  #pass(request: IncomingRequest): void | Promise<void> {
    const outcome = this.#commit({ request, caller: callerOf(request), json: request.json, cut: NOT_CUT });
    return outcome?.catch((error: unknown) => this.#fail(request, error));
  }

  #fail(request: IncomingRequest, error: unknown): void {
    if (!(error instanceof FluxError)) return this.#fatal(error);
    if (!request.isFinished) request.respondError(error);
  }

  async #cut(request: IncomingRequest, source: PieceSource): Promise<void> {
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
    await this.#commit({
      request,
      caller: callerOf(request),
      ...withValues(parsePayload(strings.finish()), objects),
    });
  }
}

function parsePayload(bytes: Uint8Array): JsonObject {
  const end = bytes.byteLength - 1;
  const text = bytes[end] === 0 ? utf8DecodeStrict(bytes.subarray(0, end)) : null;
  if (text === null) throw new FluxError("EPROTO", "payload is not NUL-terminated text");
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EPROTO", "payload is not a JSON object");
  return value;
}

/** The payload with its long values in their places. */
function withValues(json: JsonObject, objects: readonly Treeobj[]): Pick<ArrivedCommit, "json" | "cut"> {
  const cut = new Set<number>();
  const { ops } = json;
  if (!Array.isArray(ops) || objects.length === 0) return { json, cut };
  const operations = ops.map((operation: JsonValue, place) => {
    const dirent = isJsonObject(operation) ? operation["dirent"] : undefined;
    const data = isJsonObject(dirent) && dirent["type"] === "val" ? dirent["data"] : undefined;
    const object = isJsonObject(data) ? objects[Number(data["long"])] : undefined;
    // A long string in another place is found to be no tree object by who looks at the commit.
    if (object === undefined) return operation;
    if (object.type === "valref") cut.add(place);
    return { ...(operation as JsonObject), dirent: object as unknown as JsonObject };
  });
  return { json: { ...json, ops: operations }, cut };
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
      else this.#objects.push(awaited(store.finish(piece)));
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

/** A promise whose failure is heard by who waits for all. */
function awaited<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** The last bytes of two arrays. */
function lastOf(first: Uint8Array, second: Uint8Array, count: number): Uint8Array {
  if (second.byteLength >= count) return second.slice(second.byteLength - count);
  const bytes = new Uint8Array(count);
  bytes.set(second, count - second.byteLength);
  bytes.set(first.subarray(first.byteLength - (count - second.byteLength)));
  return bytes;
}
