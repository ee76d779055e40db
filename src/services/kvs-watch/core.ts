/**
 * What a watcher answers to what it sees: a fold over the results of lookups. Pure.
 *
 * A watcher sees the versions of its namespace in order, each once; those that cannot concern it are never shown to it.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson } from "../../base/json.ts";
import { LookupFlag, type TreeObject } from "../../sdk/kvs-protocol.ts";

/** A piece to send: a value, or a blob that is to be loaded first, or the sentinel. */
export type Piece =
  | { readonly kind: "value"; readonly value: TreeObject }
  | { readonly kind: "blob"; readonly ref: string }
  | { readonly kind: "sentinel" };

export interface Reaction {
  readonly pieces: readonly Piece[];
  /** The watch is over: with an error, or normally (null). Undefined while it goes on. */
  readonly end?: FluxError | null;
}

/** What a lookup found: null where the key does not exist. */
export type Seen = { readonly value: TreeObject | null } | { readonly error: FluxError };

const NOTHING: Reaction = { pieces: [] };

export class WatchState {
  readonly #flags: number;
  /** Whether the key has been seen to exist. */
  #exists = false;
  #sentinelSent = false;
  /** The last value sent, as text: for watches that tell differences. */
  #lastText: string | null = null;
  /** Blobs sent of a value that is appended to, and the last one. */
  #blobCount = 0;
  #lastBlob: string | null = null;

  constructor(flags: number) {
    this.#flags = flags;
  }

  /** Whether the key is still waited for, so that whatever may create it is of interest. */
  get isWaiting(): boolean {
    return !this.#exists;
  }

  /** The flags of the lookups: those of `kvs` itself, and tree objects where blobs are wanted one by one. */
  get lookupFlags(): number {
    if (this.#has(LookupFlag.WatchAppend | LookupFlag.Stream)) return LookupFlag.TreeObject | LookupFlag.FollowLast;
    return this.#flags & (LookupFlag.ReadDir | LookupFlag.ReadLink | LookupFlag.TreeObject);
  }

  /** Reacts to what a version holds. */
  see(seen: Seen): Reaction {
    if ("error" in seen) return this.#fail(seen.error);
    if (seen.value === null) return this.#fail(new FluxError("ENOENT"));
    const isFirst = !this.#exists;
    this.#exists = true;
    if (this.#has(LookupFlag.WatchAppend | LookupFlag.Stream)) return this.#blobs(seen.value, isFirst);
    if (!this.#has(LookupFlag.Watch)) return { pieces: [{ kind: "value", value: seen.value }], end: null };
    if (this.#has(LookupFlag.WatchFull | LookupFlag.WatchUniq)) {
      const text = stringifyJson(seen.value);
      if (text === this.#lastText) return NOTHING;
      this.#lastText = text;
    }
    return { pieces: [{ kind: "value", value: seen.value }] };
  }

  #fail(error: FluxError): Reaction {
    const mayCome = isFluxError(error, "ENOENT") || isFluxError(error, "ENOTSUP");
    if (this.#exists || !mayCome || !this.#has(LookupFlag.WaitCreate)) return { pieces: [], end: error };
    return { pieces: this.#sentinel() };
  }

  /** The blobs of a value that were not sent yet, each as a value of its own. */
  #blobs(value: TreeObject, isFirst: boolean): Reaction {
    if (value.type !== "val" && value.type !== "valref")
      return { pieces: [], end: new FluxError(isFirst ? "EISDIR" : "EINVAL") };
    if (!isFirst && !this.#continues(value)) return { pieces: [], end: new FluxError("EINVAL") };
    const pieces: Piece[] = [];
    if (value.type === "val") pieces.push({ kind: "value", value });
    else for (const ref of value.data.slice(this.#blobCount)) pieces.push({ kind: "blob", ref });
    this.#blobCount = value.type === "val" ? 1 : value.data.length;
    this.#lastBlob = value.type === "val" ? null : value.data.at(-1)!;
    pieces.push(...this.#sentinel());
    return this.#has(LookupFlag.Watch) ? { pieces } : { pieces, end: null };
  }

  /** Whether a value is the one sent so far, with more at its end. */
  #continues(value: TreeObject): boolean {
    if (value.type !== "valref" || value.data.length < this.#blobCount) return false;
    if (this.#lastBlob === null) return value.data.length > this.#blobCount;
    return value.data[this.#blobCount - 1] === this.#lastBlob;
  }

  #sentinel(): Piece[] {
    if (this.#sentinelSent || !this.#has(LookupFlag.InitialSentinel)) return [];
    this.#sentinelSent = true;
    return [{ kind: "sentinel" }];
  }

  #has(flags: number): boolean {
    return (this.#flags & flags) !== 0;
  }
}
