/**
 * What a watcher answers to what it sees: a fold over the results of lookups. Pure.
 *
 * A watcher sees the versions of its namespace in order, each once; those that cannot concern it are never shown to it.
 */
import { base64ByteLength, base64Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson } from "../../base/json.ts";
import type { Val, Valref } from "../../formats/treeobj.ts";
import { LookupFlag, type TreeObject } from "../../sdk/kvs-protocol.ts";

/** A piece of a value that was sent: its blob (null where it had none of its own) and its length in bytes. */
export interface Sent {
  readonly ref: string | null;
  readonly bytes: number;
}

/**
 * A value that consists of other blobs than before: perhaps some of them were merged. From the place `from` on, `sent` was
 * sent; now the value is in `blobs`, each given by its name, or by its bytes if it has none. If these begin with the bytes
 * that were sent, the watch goes on behind them.
 */
export interface Mismatch {
  readonly from: number;
  readonly sent: readonly Sent[];
  readonly blobs: readonly (string | Uint8Array)[];
}

/** A piece to send: a value, or a blob that is to be loaded first, or the sentinel. */
export type Piece =
  | { readonly kind: "value"; readonly value: TreeObject }
  | { readonly kind: "blob"; readonly ref: string }
  | { readonly kind: "sentinel" };

export interface Reaction {
  readonly pieces: readonly Piece[];
  /** The watch is over: with an error, or normally (null). Undefined while it goes on. */
  readonly end?: FluxError | null;
  /** To be settled first: then the same is to be seen again. */
  readonly mismatch?: Mismatch;
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
  /** What was sent of a value that is appended to. */
  #sent: Sent[] = [];
  /** All that was sent, in base64, where it stands in the directory. */
  #inline: string | null = null;

  constructor(flags: number) {
    this.#flags = flags;
  }

  /** Whether the key is still waited for, so that whatever may create it is of interest. */
  get isWaiting(): boolean {
    return !this.#exists;
  }

  /** The flags of the lookups: those of `kvs` itself, and tree objects where blobs are wanted one by one. */
  get lookupFlags(): number {
    if (this.sendsPieces) return LookupFlag.TreeObject | LookupFlag.FollowLast;
    return this.#flags & (LookupFlag.ReadDir | LookupFlag.ReadLink | LookupFlag.TreeObject);
  }

  /** Whether pieces of a value are sent as they are appended. */
  get sendsPieces(): boolean {
    return this.#has(LookupFlag.WatchAppend | LookupFlag.Stream);
  }

  /** A blob has been sent. */
  sent(blob: Sent): void {
    this.#sent.push(blob);
  }

  /** What was sent from a place on is in these blobs of this value now. */
  merged(from: number, blobs: readonly Sent[], value: TreeObject): void {
    this.#sent.splice(from, Infinity, ...blobs);
    this.#inline = value.type === "val" ? value.data : null;
  }

  /** Reacts to what a version holds. `mayBeUnchanged`: it is not known whether the key was written since the last. Blobs it says to send are sent, and told by `sent`, before the next is seen. */
  see(seen: Seen, mayBeUnchanged = false): Reaction {
    if ("error" in seen) return this.#fail(seen.error);
    if (seen.value === null) return this.#fail(new FluxError("ENOENT"));
    const isFirst = !this.#exists;
    this.#exists = true;
    if (this.sendsPieces) return this.#blobs(seen.value, isFirst);
    if (!this.#has(LookupFlag.Watch)) return { pieces: [{ kind: "value", value: seen.value }], end: null };
    const text = stringifyJson(seen.value);
    const tellsChangesOnly = mayBeUnchanged || this.#has(LookupFlag.WatchFull | LookupFlag.WatchUniq);
    if (tellsChangesOnly && text === this.#lastText) return NOTHING;
    this.#lastText = text;
    return { pieces: [{ kind: "value", value: seen.value }] };
  }

  #fail(error: FluxError): Reaction {
    const mayCome = isFluxError(error, "ENOENT", "ENOTSUP");
    if (this.#exists || !mayCome || !this.#has(LookupFlag.WaitCreate)) return { pieces: [], end: error };
    return { pieces: this.#sentinel() };
  }

  /** The blobs of a value that were not sent yet, each as a value of its own. */
  #blobs(value: TreeObject, isFirst: boolean): Reaction {
    if (value.type !== "val" && value.type !== "valref")
      return { pieces: [], end: new FluxError(isFirst ? "EISDIR" : "EINVAL") };
    if (this.#sent.length > 0 && !this.#continues(value)) return { pieces: [], mismatch: this.#mismatch(value) };
    const pieces: Piece[] = [];
    if (value.type === "valref")
      for (const ref of value.data.slice(this.#sent.length)) pieces.push({ kind: "blob", ref });
    else if (value.data !== this.#inline) {
      pieces.push({ kind: "value", value });
      this.#sent.push({ ref: null, bytes: base64ByteLength(value.data) });
      this.#inline = value.data;
    }
    pieces.push(...this.#sentinel());
    return this.#has(LookupFlag.Watch) ? { pieces } : { pieces, end: null };
  }

  /** Whether a value is the one sent so far, with more at its end. */
  #continues(value: Val | Valref): boolean {
    if (value.type === "val") return value.data === this.#inline;
    if (value.data.length < this.#sent.length) return false;
    const { ref } = this.#sent.at(-1)!;
    // A value that was in the directory itself is in a blob once something is appended.
    if (ref === null) return value.data.length > this.#sent.length;
    return value.data[this.#sent.length - 1] === ref;
  }

  #mismatch(value: Val | Valref): Mismatch {
    if (value.type === "val") return { from: 0, sent: this.#sent.slice(), blobs: [base64Decode(value.data)!] };
    let from = 0;
    while (from < value.data.length && this.#sent[from]?.ref === value.data[from]) from++;
    return { from, sent: this.#sent.slice(from), blobs: value.data.slice(from) };
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
