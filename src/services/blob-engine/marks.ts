/**
 * The marks of one cycle of the collector: which blobs are reached, from the newest checkpoint, from what commits adopted
 * meanwhile, from older checkpoints. Marking goes on a directory at a time.
 *
 * What lives may be kept for the next cycle: what a directory reaches never changes, so one that was looked at need not be
 * looked at again.
 *
 * Invariant: when it is complete, all that is reached from what was added is marked, as far as the blobs exist; and without
 * gaps, all that is reached from a directory marked as expanded, whether the blobs exist or not.
 */
import type { BlobFile } from "./blob-file.ts";
import { Fingerprints } from "./fingerprints.ts";
import { referencesOf } from "./references.ts";

/** Digests whose blobs are to be looked at, and how far that is. */
interface Frame {
  readonly digests: Uint8Array;
  readonly into: Fingerprints;
  at: number;
}

/** The salt of directories whose content is marked, too, or is going to be. */
const EXPANDED = 1;
const MARKED = 0;

export class Marks {
  readonly #file: BlobFile;
  readonly #digestLength: number;
  readonly #live: Fingerprints = new Fingerprints();
  readonly #held: Fingerprints = new Fingerprints();
  readonly #older: Fingerprints = new Fingerprints();
  /** The last one is looked at first. */
  #frames: Frame[] = [];
  /** A directory on the way from a root could not be read: what it refers to is not known. */
  #hasGaps = false;

  constructor(file: BlobFile, digestLength: number) {
    this.#file = file;
    this.#digestLength = digestLength;
  }

  get isComplete(): boolean {
    return this.#frames.length === 0;
  }
  isLive(digest: Uint8Array): boolean {
    return this.#live.has(digest, MARKED);
  }
  isHeld(digest: Uint8Array): boolean {
    return this.#held.has(digest, MARKED);
  }
  isOlder(digest: Uint8Array): boolean {
    return this.#older.has(digest, MARKED);
  }

  /** Whether what is marked as living can serve the next cycle, too. */
  get isClosed(): boolean {
    return this.isComplete && !this.#hasGaps;
  }

  clear(): void {
    this.#live.clear();
    this.#hasGaps = false;
    this.keepLive();
  }

  /** Forgets all but what is reached from the newest checkpoint. */
  keepLive(): void {
    this.#held.clear();
    this.#older.clear();
    this.#frames = [];
  }

  /** Directories from which a checkpoint is reached. */
  addRoots(digests: Uint8Array | null): void {
    this.#push(digests, this.#live);
  }
  /** Directories, or blobs that may be some. */
  addHeld(digests: Uint8Array): void {
    this.#push(digests, this.#held);
  }
  /** These come last of all: what the newest reaches, too, is not looked at again. */
  addOlderRoots(digests: Uint8Array | null): void {
    if (digests !== null) this.#frames.unshift({ digests, into: this.#older, at: 0 });
  }
  addValue(digest: Uint8Array): void {
    this.#held.add(digest, MARKED);
  }

  #push(digests: Uint8Array | null, into: Fingerprints): void {
    if (digests !== null && digests.byteLength > 0) this.#frames.push({ digests, into, at: 0 });
  }

  isDirectory(digest: Uint8Array): boolean {
    const blob = this.#file.loadObject(digest);
    return blob !== null && referencesOf(blob, this.#digestLength) !== null;
  }

  /** Looks at one blob. */
  step(): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) return;
    const digest = frame.digests.subarray(frame.at, frame.at + this.#digestLength);
    frame.at += this.#digestLength;
    if (frame.at >= frame.digests.byteLength) this.#frames.pop();
    this.#expand(digest, frame.into);
  }

  #expand(digest: Uint8Array, into: Fingerprints): void {
    if (into !== this.#live && this.#live.has(digest, EXPANDED)) return;
    if (!into.add(digest, EXPANDED)) return;
    into.add(digest, MARKED);
    const blob = this.#file.loadObject(digest);
    const references = blob === null ? null : referencesOf(blob, this.#digestLength);
    if (references === null) {
      this.#hasGaps ||= into === this.#live;
      return;
    }
    const { directories, values } = references;
    for (let at = 0; at < values.byteLength; at += this.#digestLength)
      into.add(values.subarray(at, at + this.#digestLength), MARKED);
    this.#push(directories, into);
  }
}
