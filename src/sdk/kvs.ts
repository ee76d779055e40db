/**
 * The key-value store as programs use it: values and directories by key, transactions, watches, versions, namespaces
 * (RFC 11).
 *
 * A `Kvs` is a Handle and a namespace. Values are bytes; `get` and `put` read and write them as JSON. Errors are
 * FluxError: ENOENT (no such key), EISDIR, ENOTDIR, ENOTSUP (no such namespace), EPERM.
 */
import { concatBytes, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError, isFluxError } from "../base/errors.ts";
import { parseJson, stringifyJson, type JsonObject, type JsonValue } from "../base/json.ts";
import { makeDirref, makeSymlink, valBytes, type DirEntries, type Treeobj, makeVal } from "../formats/treeobj.ts";
import type { Handle } from "./handle.ts";
import {
  CommitFlag,
  EMPTY_DIRECTORY,
  LookupFlag,
  OPERATION_APPEND,
  PRIMARY_NAMESPACE,
  type CommitAnswer,
  type Operation,
  type RootAnswer,
} from "./kvs-protocol.ts";
import { loadBlobs, storeValue, type ValueSource } from "./value-stream.ts";

/** Operations that happen together or not at all. */
export class KvsTransaction {
  readonly operations: Operation[] = [];

  /** Sets a key to a JSON value. */
  put(key: string, value: unknown): this {
    return this.putBytes(key, utf8Encode(stringifyJson(value)));
  }
  putText(key: string, text: string): this {
    return this.putBytes(key, utf8Encode(text));
  }
  putBytes(key: string, bytes: Uint8Array): this {
    return this.putTreeObject(key, makeVal(bytes));
  }
  putTreeObject(key: string, object: Treeobj): this {
    this.operations.push({ key, flags: 0, dirent: object });
    return this;
  }
  /** Adds to the end of a value, or creates it. */
  append(key: string, data: string | Uint8Array): this {
    const bytes = typeof data === "string" ? utf8Encode(data) : data;
    this.operations.push({ key, flags: OPERATION_APPEND, dirent: makeVal(bytes) });
    return this;
  }
  /** Sets a key to an empty directory. */
  mkdir(key: string): this {
    return this.putTreeObject(key, EMPTY_DIRECTORY);
  }
  /** Sets a key to a link to another key, in another namespace where one is named. */
  symlink(key: string, target: string, namespace?: string): this {
    return this.putTreeObject(key, makeSymlink(target, namespace));
  }
  /** Removes a key, and all that is under it; none is no error. */
  unlink(key: string): this {
    this.operations.push({ key, flags: 0, dirent: null });
    return this;
  }
}

export interface CommitOptions {
  /** Makes a version of its own, so that watchers see it whatever follows. */
  readonly noMerge?: boolean;
  /** Answer only once a checkpoint in the content store holds it. */
  readonly sync?: boolean;
}

export interface LookupOptions {
  /** Look from this directory reference instead of the namespace's present root. */
  readonly at?: JsonObject | Treeobj;
}

export interface WatchOptions {
  /** Wait for the key to be created. */
  readonly waitCreate?: boolean;
  /** Also tell changes made by replacing a directory above the key. */
  readonly full?: boolean;
  /** Tell a value only when it differs from the last one. */
  readonly uniq?: boolean;
  /** Tell only what is appended, piece by piece. */
  readonly append?: boolean;
  /** With `append`: tell the end of what was there at first, as null. */
  readonly initialSentinel?: boolean;
  readonly signal?: AbortSignal;
}

interface LookupAnswer extends JsonObject {
  readonly val?: JsonObject;
}

export class Kvs {
  readonly handle: Handle;
  readonly namespace: string;

  /** `namespace`: default the primary one; what FLUX_KVS_NAMESPACE says is the caller's to pass. */
  constructor(handle: Handle, namespace: string = PRIMARY_NAMESPACE) {
    this.handle = handle;
    this.namespace = namespace;
  }

  /** The same store, another namespace. */
  in(namespace: string): Kvs {
    return new Kvs(this.handle, namespace);
  }

  /** Carries a transaction out. Resolves with the version that contains it. */
  commit(transaction: KvsTransaction, options: CommitOptions = {}): Promise<CommitAnswer> {
    const flags = (options.noMerge === true ? CommitFlag.NoMerge : 0) | (options.sync === true ? CommitFlag.Sync : 0);
    const { namespace } = this;
    return this.handle.rpc<CommitAnswer>("kvs.commit", { namespace, flags, ops: transaction.operations });
  }

  /** Sets one key to a JSON value. */
  put(key: string, value: unknown): Promise<CommitAnswer> {
    return this.commit(new KvsTransaction().put(key, value));
  }

  /** Sets one key to bytes. A long value travels in pieces. */
  putBytes(key: string, bytes: Uint8Array): Promise<CommitAnswer> {
    return this.putStream(key, [bytes]);
  }

  /** Sets one key to a value of any length, which travels in pieces: it takes a bounded memory and delays nobody. */
  async putStream(key: string, source: ValueSource, options: CommitOptions = {}): Promise<CommitAnswer> {
    return this.commit(new KvsTransaction().putTreeObject(key, await this.storeValue(source)), options);
  }

  /** Stores a value; the tree object is to be put under a key by a transaction soon. */
  async storeValue(source: ValueSource): Promise<Treeobj> {
    const object = await storeValue(this.handle, source);
    if (object.type === "valref") await this.#flushContent();
    return object;
  }

  /** The commit must not be safer than the blobs it refers to. */
  async #flushContent(): Promise<void> {
    try {
      await this.handle.rpc("content.flush", {}, { nodeid: 0 });
    } catch (error) {
      if (!(error instanceof FluxError) || !error.is("ENOSYS")) throw error;
    }
  }

  /** A value as JSON. Throws EPROTO where it is not JSON. */
  async get(key: string, options?: LookupOptions): Promise<JsonValue> {
    return parseJson(await this.getText(key, options));
  }
  async getText(key: string, options?: LookupOptions): Promise<string> {
    return utf8Decode(await this.getBytes(key, options));
  }
  async getBytes(key: string, options?: LookupOptions): Promise<Uint8Array> {
    return valueBytes(await this.lookup(key, 0, options));
  }

  /** A long value, fetched in pieces some at a time. */
  async getLongBytes(key: string): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.getStream(key)) pieces.push(piece);
    return concatBytes(pieces);
  }

  /**
   * A value of any length in pieces, as one version has it, whatever is written meanwhile. Throws ENOENT, EISDIR, EIO
   * where a piece is missing.
   */
  async *getStream(key: string, options: LookupOptions = {}): AsyncGenerator<Uint8Array> {
    const flags = LookupFlag.TreeObject | LookupFlag.FollowLast;
    let object = await this.lookup(key, flags, options);
    if (object.type !== "valref") return yield valueBytes(object);
    if (options.at === undefined) {
      // Who asked for a root holds it: its pieces are not removed while they are read.
      const { rootref } = await this.getRoot();
      object = await this.lookup(key, flags, { at: makeDirref(rootref) });
      if (object.type !== "valref") return yield valueBytes(object);
    }
    let isRefused = false;
    try {
      yield* loadBlobs(this.handle, object.data);
    } catch (error) {
      if (!isFluxError(error, "EPERM")) throw error;
      isRefused = true;
    }
    // Blobs are the owner's; others have the value read for them.
    if (isRefused) yield* this.stream(key);
  }

  /** What a key holds, unconverted: a reference stays one, a link is not followed. */
  getTreeObject(key: string, options?: LookupOptions): Promise<Treeobj> {
    return this.lookup(key, LookupFlag.TreeObject, options);
  }

  /** The entries of a directory. Throws ENOTDIR. */
  async getDirectory(key: string, options?: LookupOptions): Promise<DirEntries> {
    const object = await this.lookup(key, LookupFlag.ReadDir, options);
    if (object.type !== "dir") throw new FluxError("EPROTO", `${key}: not a directory object`);
    return object.data;
  }

  /** Where a link leads. Throws EINVAL where the key is no link. */
  async readLink(key: string, options?: LookupOptions): Promise<{ target: string; namespace?: string }> {
    const object = await this.lookup(key, LookupFlag.ReadLink, options);
    if (object.type !== "symlink") throw new FluxError("EPROTO", `${key}: not a link object`);
    return object.data;
  }

  /** A lookup with flags (`LookupFlag`). Throws EINVAL for an empty key, ENOENT, and what the flags add. */
  async lookup(key: string, flags: number, options: LookupOptions = {}): Promise<Treeobj> {
    const { namespace } = this;
    if (key === "") throw new FluxError("EINVAL");
    const place = options.at === undefined ? {} : { rootdir: options.at };
    const isWatch = (flags & (LookupFlag.WaitCreate | LookupFlag.Watch)) !== 0;
    const topic = isWatch ? "kvs-watch.lookup" : "kvs.lookup";
    return objectOf(await this.handle.rpc<LookupAnswer>(topic, { key, flags, namespace, ...place }));
  }

  /** Waits for a key to exist, then resolves with its value. */
  async waitCreate(key: string): Promise<Uint8Array> {
    return valueBytes(await this.lookup(key, LookupFlag.WaitCreate));
  }

  /** The values of a key from now on, as tree objects; null is the sentinel. Leaving the loop ends the watch. */
  async *watchObjects(key: string, flags: number, signal?: AbortSignal): AsyncGenerator<Treeobj | null> {
    if (key === "") throw new FluxError("EINVAL");
    const payload = { key, flags, namespace: this.namespace };
    const options = { cancelTopic: "kvs-watch.cancel", ...(signal === undefined ? {} : { signal }) };
    for await (const answer of this.handle.stream<LookupAnswer>("kvs-watch.lookup", payload, options))
      yield answer.val === undefined ? null : objectOf(answer);
  }

  /** The values of a key from now on. Ends with ENOENT when the key is removed; leaving the loop ends the watch. */
  async *watch(key: string, options: WatchOptions = {}): AsyncGenerator<Uint8Array | null> {
    for await (const object of this.watchObjects(key, watchFlags(options), options.signal))
      yield object === null ? null : valueBytes(object);
  }

  /** A value in the pieces it is stored in. */
  async *stream(key: string, options: { waitCreate?: boolean } = {}): AsyncGenerator<Uint8Array> {
    const flags = LookupFlag.Stream | (options.waitCreate === true ? LookupFlag.WaitCreate : 0);
    for await (const object of this.watchObjects(key, flags)) if (object !== null) yield valueBytes(object);
  }

  /** The present root of the namespace. It stays readable by its reference until this client asks again or is gone. */
  getRoot(): Promise<RootAnswer> {
    return this.handle.rpc<RootAnswer>("kvs.getroot", { namespace: this.namespace, flags: 0 });
  }
  async version(): Promise<number> {
    const payload = { namespace: this.namespace, flags: 0, hold: false };
    return (await this.handle.rpc<RootAnswer>("kvs.getroot", payload)).rootseq;
  }
  /** Resolves once this rank has the version, or a later one. */
  async waitVersion(rootseq: number): Promise<void> {
    await this.handle.rpc("kvs.wait-version", { rootseq, namespace: this.namespace });
  }

  /** Creates a namespace. Throws EEXIST. `owner`: a user id, default the instance owner; `rootref`: default an empty directory. */
  async createNamespace(name: string, options: { owner?: number; rootref?: string } = {}): Promise<void> {
    const { owner = USERID_DEFAULT, rootref } = options;
    const payload = { namespace: name, owner, flags: 0, ...(rootref === undefined ? {} : { rootref }) };
    await this.handle.rpc("kvs.namespace-create", payload, { nodeid: 0 });
  }
  async removeNamespace(name: string): Promise<void> {
    await this.handle.rpc("kvs.namespace-remove", { namespace: name }, { nodeid: 0 });
  }
  async listNamespaces(): Promise<{ namespace: string; owner: number; flags: number }[]> {
    type Answer = { namespaces: { namespace: string; owner: number; flags: number }[] };
    return (await this.handle.rpc<Answer>("kvs.namespace-list")).namespaces;
  }
}

/** As an owner: the instance owner. */
const USERID_DEFAULT = 0xffffffff;

export function watchFlags(options: WatchOptions): number {
  return (
    LookupFlag.Watch |
    (options.waitCreate === true ? LookupFlag.WaitCreate : 0) |
    (options.full === true ? LookupFlag.WatchFull : 0) |
    (options.uniq === true ? LookupFlag.WatchUniq : 0) |
    (options.append === true ? LookupFlag.WatchAppend : 0) |
    (options.initialSentinel === true ? LookupFlag.InitialSentinel : 0)
  );
}

function objectOf(answer: LookupAnswer): Treeobj {
  if (answer.val === undefined) throw new FluxError("EPROTO", "a lookup was answered without a value");
  return answer.val as unknown as Treeobj;
}

/** The bytes of a value. Throws EISDIR or EINVAL where the object is none, EPROTO where it is malformed. */
export function valueBytes(object: Treeobj): Uint8Array {
  if (object.type !== "val")
    throw new FluxError(object.type === "dir" || object.type === "dirref" ? "EISDIR" : "EINVAL");
  return valBytes(object);
}
