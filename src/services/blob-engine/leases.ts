/**
 * What keeps a blob that no checkpoint reaches (yet).
 *
 * A *lease* belongs to a blob that a client stored or asked to keep: it is going to be referred to. It lasts for a day
 * after the last such call of anybody, so that who stores a great many blobs first and refers to them last finds all of
 * them. A blob that the key-value store *adopts* is referred to by a commit: from then on it is kept until the
 * second checkpoint after that, which reaches it unless it has been superseded. The same goes for what the
 * key-value store writes again.
 *
 * It knows no blobs, only digests; time is what it is told.
 */
import { Fingerprints } from "./fingerprints.ts";

/** A lease lasts at least this long, and at most twice this long after the last one was given. */
export const LEASE_MS = 86_400_000;
/** However many leases are given meanwhile, none lasts longer than twice this time. */
export const LEASE_MAX_MS: number = 3 * LEASE_MS;
/** More leases than this are not remembered: the oldest go. About 24 bytes each. */
const LEASES_MAX = 4_000_000;

export class Leases {
  #leased = new Fingerprints();
  #leasedBefore = new Fingerprints();
  #begunMs = 0;
  #usedMs = 0;
  #adopted = new Fingerprints();
  #adoptedBefore = new Fingerprints();
  /** The adopted digests in full, as they came: they may be directories. */
  #lists: Uint8Array[] = [];
  #listsBefore: Uint8Array[] = [];

  get count(): number {
    return this.#leased.size + this.#leasedBefore.size;
  }
  get adoptedCount(): number {
    return this.#adopted.size + this.#adoptedBefore.size;
  }
  /** Digests that were adopted and that no checkpoint need reach yet, some in each array. */
  get adopted(): readonly Uint8Array[] {
    return [...this.#listsBefore, ...this.#lists];
  }

  lease(digest: Uint8Array, nowMs: number): void {
    if (this.#leased.size === 0) this.#begunMs = nowMs;
    this.#usedMs = nowMs;
    if (this.#leased.size >= LEASES_MAX) this.#rotate(nowMs);
    this.#leased.add(digest);
  }

  /** A commit refers to these blobs. */
  adopt(digests: Uint8Array, digestLength: number): void {
    if (digests.byteLength === 0) return;
    for (let at = 0; at < digests.byteLength; at += digestLength) {
      const digest = digests.subarray(at, at + digestLength);
      this.#leased.delete(digest);
      this.#leasedBefore.delete(digest);
      this.#adopted.add(digest);
    }
    this.#lists.push(digests.slice());
  }

  /** The key-value store wrote a blob that was there already. */
  renew(digest: Uint8Array): void {
    this.#adopted.add(digest);
  }

  isHeld(digest: Uint8Array): boolean {
    return (
      this.#adopted.has(digest) ||
      this.#adoptedBefore.has(digest) ||
      this.#leased.has(digest) ||
      this.#leasedBefore.has(digest)
    );
  }

  checkpointPut(): void {
    this.#adoptedBefore = this.#adopted;
    this.#adopted = new Fingerprints();
    this.#listsBefore = this.#lists;
    this.#lists = [];
  }

  /** Drops leases that are over. Returns whether any was dropped. */
  expire(nowMs: number): boolean {
    if (this.count === 0 || nowMs < this.#dueMs) return false;
    const dropped = this.#leasedBefore.size > 0;
    this.#rotate(nowMs);
    return dropped;
  }

  /** When `expire` may have something to do: a time, or null. */
  get dueAtMs(): number | null {
    return this.count === 0 ? null : this.#dueMs;
  }

  /**
   * What a commit adopted may refer to blobs that are only leased: as long as a checkpoint is owed to it, leases stay.
   */
  get #dueMs(): number {
    const isOwed = this.#adopted.size > 0 || this.#adoptedBefore.size > 0;
    return isOwed ? this.#begunMs + LEASE_MAX_MS : Math.min(this.#usedMs + LEASE_MS, this.#begunMs + LEASE_MAX_MS);
  }

  #rotate(nowMs: number): void {
    this.#leasedBefore = this.#leased;
    this.#leased = new Fingerprints();
    this.#begunMs = nowMs;
    this.#usedMs = nowMs;
  }
}
