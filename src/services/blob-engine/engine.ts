/**
 * The blob database behind its port (`BlobDatabase`): the same for every file and every host, which run it where it may
 * block. It hashes, stores, keeps within a size, and decides when the collector works.
 *
 * Pure but for the file it is given: time and the hash function come from outside, and `step` is called when `delayMs`
 * says so. A step of the collector takes about a millisecond.
 */
import { concatBytes, EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type {
  BlobCheckpoint,
  BlobDatabaseStats,
  EpochInfo,
  EpochSweep,
  KeepReason,
  SweepResult,
} from "../../base/ports.ts";
import { formatSize } from "../../formats/size.ts";
import { isWideDirectory, joinPieces, parseWideDirectory } from "../../formats/wide-directory.ts";
import { decodeBlobs, splitDigests } from "../../sdk/blob-batch.ts";
import type { BlobFile, NewBlob } from "./blob-file.ts";
import { Collector, COLLECTOR_LIMITS, type CollectorLimits, type CycleReport } from "./collector.ts";
import { Fingerprints } from "./fingerprints.ts";
import { CollectorPace, type Urgency } from "./pace.ts";
import { Leases } from "./leases.ts";
import { digestOf, referencesOf, rootsOf } from "./references.ts";

/** How long a slice of the collector's work takes. */
const SLICE_MS = 1;

/** A file that is this many times longer than what lived at the end of the last whole cycle, and the start size, has grown. */
const START_FACTOR = 2;
/** From this part of the limit on, every checkpoint is followed by a cycle. */
const TIGHT_FRACTION = 0.8;

/** A checkpoint is asked for at most this often. */
const WANTED_PERIOD_MS = 1000;
/** The file is brought to rest when nothing was written for this time. */
const SETTLE_MS = 3000;
/** What failed is tried again after this time. */
const SETTLE_RETRY_MS = 30_000;

export interface EngineOptions {
  readonly digest: (data: Uint8Array) => Uint8Array;
  readonly digestLength: number;
  readonly nowMs: () => number;
  /** Checkpoints that are kept. */
  readonly checkpointsKept: number;
  /** Stores are refused beyond this; null: no limit. */
  readonly sizeLimitBytes: number | null;
  readonly limits?: CollectorLimits;
}

export interface EngineEvents {
  /** Those who cache blobs have to forget these; then `forgotten` is called. */
  forget(digests: Uint8Array): void;
  /**
   * Much is held only because a commit referred to it lately, and perhaps does no longer, or the limit is
   * reached: checkpoints would tell what can go.
   */
  checkpointWanted(): void;
  /** Space cannot be given back: why. It is tried again later. */
  trouble(error: FluxError): void;
}

export class BlobEngine {
  readonly #file: BlobFile;
  readonly #options: EngineOptions;
  readonly #events: EngineEvents;
  readonly #leases: Leases = new Leases();
  readonly #collector: Collector;
  readonly #pace: CollectorPace = new CollectorPace();
  readonly #limits: CollectorLimits;
  #sizeLimitBytes: number | null;
  #epoch: number;
  /** Rows up to this one were there when the newest checkpoint was put; null: none was put since the file was opened. */
  #checkpointRowid: number | null = null;
  #lastReport: CycleReport | null = null;
  /** What lived at the end of the last whole cycle, and how long the file was at the end of the last one. */
  #wholeLiveBytes = 0;
  #endedFileBytes = 0;
  #wantedMs = -Infinity;
  /** When the file is to be brought to rest; null: it is at rest. */
  #settleAtMs: number | null = null;

  constructor(file: BlobFile, options: EngineOptions, events: EngineEvents) {
    this.#file = file;
    this.#options = options;
    this.#events = events;
    this.#sizeLimitBytes = options.sizeLimitBytes;
    this.#limits = options.limits ?? COLLECTOR_LIMITS;
    this.#epoch = file.checkpoints()[0]?.id ?? 0;
    this.#collector = new Collector(file, this.#leases, options.digestLength, events, this.#limits);
  }

  load(digest: Uint8Array, isWhole: boolean): Uint8Array | null {
    const blob = this.#file.load(digest);
    if (blob === null || !isWhole || !isWideDirectory(blob)) return blob;
    return joinPieces(parseWideDirectory(blob).pieces.map(({ ref }) => this.#piece(ref)));
  }

  #piece(ref: string): Uint8Array {
    const digest = digestOf(ref, this.#options.digestLength);
    const blob = digest === null ? null : this.#file.load(digest);
    if (blob === null) throw new FluxError("EIO", `a piece of a directory is missing: ${ref}`);
    return blob;
  }

  has(digest: Uint8Array): boolean {
    return this.#file.has(digest);
  }

  store(batch: Uint8Array, isLeased: boolean): Uint8Array {
    const blobs = decodeBlobs(batch).map((data): NewBlob => ({ hash: this.#options.digest(data), data }));
    this.#checkRoom(batch.byteLength);
    const areNew = this.#file.store(blobs, this.#epoch);
    const nowMs = this.#options.nowMs();
    this.#settleAtMs = nowMs + SETTLE_MS;
    for (const [index, { hash }] of blobs.entries()) {
      if (isLeased) this.#leases.lease(hash, nowMs);
      if (areNew[index]!) continue;
      // It may be garbage that nobody has looked at yet.
      if (!isLeased) this.#leases.renew(hash);
      this.#collector.stored(hash);
    }
    return concatBytes(blobs.map(({ hash }) => hash));
  }

  /** Throws ENOSPC where a store would go beyond the limit. */
  #checkRoom(bytes: number): void {
    if (this.#sizeLimitBytes === null) return;
    const { fileBytes, freeBytes } = this.#file.sizes();
    const wanted = fileBytes - freeBytes + bytes;
    if (wanted <= this.#sizeLimitBytes) return;
    this.#wantCheckpoint();
    throw new FluxError(
      "ENOSPC",
      `the content store has reached its size limit of ${formatSize(this.#sizeLimitBytes)}`,
    );
  }

  keep(digests: Uint8Array, reason: KeepReason): Uint8Array {
    const { digestLength, nowMs } = this.#options;
    const there = new Map<Uint8Array, boolean>();
    for (const digest of splitDigests(digests, digestLength)) there.set(digest, this.#file.has(digest));
    const found = [...there].filter(([, isThere]) => isThere).map(([digest]) => digest);
    // A commit that refers to them must not be safer than they are.
    this.#file.mark(found, this.#epoch, reason !== "lease");
    if (reason === "lease") for (const digest of found) this.#leases.lease(digest, nowMs());
    else {
      this.#leases.adopt(digests, digestLength);
      this.#collector.adopted(digests.slice());
    }
    for (const digest of found) this.#collector.stored(digest);
    return concatBytes([...there].filter(([, isThere]) => !isThere).map(([digest]) => digest));
  }

  checkpoints(): BlobCheckpoint[] {
    return this.#file.checkpoints().map(({ id, text }) => ({ id, text }));
  }

  putCheckpoint(text: string): void {
    this.#file.putCheckpoint(text, this.#options.checkpointsKept);
    this.#epoch = this.#file.checkpoints()[0]?.id ?? 0;
    this.#checkpointRowid = this.#file.lastRowid;
    this.#leases.checkpointPut();
    this.#collector.checkpointPut(text);
    const nowMs = this.#options.nowMs();
    this.#pace.changed(nowMs);
    this.#settleAtMs = nowMs + SETTLE_MS;
  }

  epochInfo(countBefore: number | null): EpochInfo {
    return {
      epoch: this.#epoch,
      lastRowid: this.#file.lastRowid,
      candidates: countBefore === null ? null : this.#file.countBefore(countBefore),
    };
  }

  /** What is marked by its blobref is marked with all pieces it is stored in. */
  mark(epoch: number, digests: Uint8Array): number {
    const { digestLength } = this.#options;
    const named = splitDigests(digests, digestLength);
    const pieces = named.flatMap((digest) => {
      const blob = this.#file.loadObject(digest);
      if (blob === null || !isWideDirectory(blob)) return [];
      return splitDigests(referencesOf(blob, digestLength)!.directories, digestLength);
    });
    this.#file.mark(pieces, epoch);
    return this.#file.mark(named, epoch);
  }

  sweep({ epoch, after, through, deleteMax, window, spareLeased }: EpochSweep): SweepResult {
    if (after === 0) this.#markFurtherRoots(epoch);
    const end = Math.min(through, after + window);
    const rows = this.#file.rowsBefore(epoch, after, end, deleteMax);
    const removed = spareLeased ? rows.filter(({ hash }) => !this.#leases.isHeld(hash)) : rows;
    this.#file.removeRows(removed.map(({ rowid }) => rowid));
    const cursor = rows.length === deleteMax ? rows.at(-1)!.rowid : end;
    return { digests: concatBytes(removed.map(({ hash }) => hash)), cursor };
  }

  /** Marks what checkpoints reach besides their first root: who marks from outside does not know of it. */
  #markFurtherRoots(epoch: number): void {
    const { digestLength } = this.#options;
    const seen = new Fingerprints();
    let pending: Uint8Array[] = [];
    const add = (digests: Uint8Array): Uint8Array[] => {
      const fresh = splitDigests(digests, digestLength).filter((digest) => seen.add(digest));
      this.#file.mark(fresh, epoch);
      return fresh;
    };
    for (const { text } of this.#file.checkpoints())
      pending.push(...add(rootsOf(text, digestLength)?.subarray(digestLength) ?? EMPTY_BYTES));
    while (pending.length > 0) {
      const directories = pending;
      pending = [];
      for (const digest of directories) {
        const blob = this.#file.loadObject(digest);
        const references = blob === null ? null : referencesOf(blob, digestLength);
        if (references === null) continue;
        add(references.values);
        pending.push(...add(references.directories));
      }
    }
  }

  stats(): BlobDatabaseStats {
    const { objectCount, fileBytes, freeBytes } = this.#file.sizes();
    return {
      objectCount,
      fileBytes,
      freeBytes,
      liveBytes: this.#lastReport?.liveBytes ?? fileBytes - freeBytes,
      sizeLimitBytes: this.#sizeLimitBytes,
      epoch: this.#epoch,
      leaseCount: this.#leases.count,
      collector: {
        isRunning: this.#collector.isRunning,
        cycleCount: this.#pace.cycleCount,
        removedCount: this.#pace.removedCount,
        removedBytes: this.#pace.removedBytes,
        lastCycleMs: this.#pace.lastCycleMs,
      },
    };
  }

  limit(sizeLimitBytes: number | null): void {
    this.#sizeLimitBytes = sizeLimitBytes;
  }

  forgotten(): void {
    this.#collector.forgotten();
  }

  /** In how many milliseconds a step is due; null: not before something is asked of the engine. */
  delayMs(): number | null {
    if (this.#collector.isRunning) return this.#collector.isWaiting ? null : this.#pace.restMs(this.#urgency());
    const dueMs = Math.min(this.#dueAtMs() ?? Infinity, this.#settleAtMs ?? Infinity);
    return dueMs === Infinity ? null : Math.max(0, dueMs - this.#options.nowMs());
  }

  /** When the next cycle begins; null: when something changes. */
  #dueAtMs(): number | null {
    if (this.#checkpointRowid === null) return null;
    const urgency = this.#urgency();
    const { fileBytes } = this.#file.sizes();
    if (urgency === "none" && fileBytes <= this.#limits.startBytes) return null;
    const wholeMs = this.#pace.dueAtMs(urgency, this.#leases.dueAtMs);
    const hasNews = this.#collector.canGoOn && fileBytes > this.#endedFileBytes + this.#limits.startBytes;
    const newsMs = hasNews ? this.#pace.newsDueAtMs() : null;
    return newsMs === null ? wholeMs : Math.min(newsMs, wholeMs ?? Infinity);
  }

  /** Whether it is time for a cycle that looks at everything. */
  #isWholeDue(nowMs: number): boolean {
    const dueMs = this.#pace.dueAtMs(this.#urgency(), this.#leases.dueAtMs);
    return dueMs !== null && dueMs <= nowMs;
  }

  step(): void {
    const { nowMs } = this.#options;
    const startMs = nowMs();
    try {
      if (this.#leases.expire(startMs)) this.#pace.changed(startMs);
      if (this.#collector.isRunning) this.#collector.step(() => nowMs() - startMs >= SLICE_MS);
      else this.#startCycle(startMs);
      this.#pace.worked(nowMs() - startMs);
      if (!this.#collector.isRunning) this.#endCycle(nowMs());
      if (!this.#collector.isRunning) this.#settle(startMs);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#collector.stop();
      this.#pace.failed(nowMs());
      this.#events.trouble(error);
    }
  }

  #startCycle(nowMs: number): void {
    const dueMs = this.#dueAtMs();
    if (dueMs === null || dueMs > nowMs) return;
    const isStarted = this.#collector.start(
      this.#checkpointRowid!,
      this.#urgency() === "tight",
      this.#isWholeDue(nowMs),
    );
    if (isStarted) this.#pace.began(this.#collector.isWhole);
    else this.#pace.failed(nowMs);
  }

  #endCycle(nowMs: number): void {
    if (!this.#pace.isInCycle) return;
    this.#lastReport = { ...this.#collector.report };
    if (this.#collector.isWhole) this.#wholeLiveBytes = this.#lastReport.liveBytes;
    this.#endedFileBytes = this.#file.sizes().fileBytes;
    this.#pace.ended(nowMs, this.#lastReport);
    const heldBytesMax = this.#urgency() === "tight" ? 0 : this.#limits.startBytes;
    if (this.#leases.adoptedCount > 0 && this.#lastReport.heldBytes > heldBytesMax) this.#wantCheckpoint();
  }

  #settle(nowMs: number): void {
    if (this.#settleAtMs === null || nowMs < this.#settleAtMs) return;
    this.#settleAtMs = nowMs + SETTLE_RETRY_MS;
    this.#file.settle();
    this.#settleAtMs = null;
  }

  #wantCheckpoint(): void {
    const nowMs = this.#options.nowMs();
    if (nowMs < this.#wantedMs + WANTED_PERIOD_MS) return;
    this.#wantedMs = nowMs;
    this.#events.checkpointWanted();
  }

  #urgency(): Urgency {
    const { fileBytes, freeBytes } = this.#file.sizes();
    if (this.#sizeLimitBytes !== null && fileBytes - freeBytes > TIGHT_FRACTION * this.#sizeLimitBytes) return "tight";
    const expected = START_FACTOR * this.#wholeLiveBytes + this.#limits.startBytes;
    return fileBytes > expected ? "grown" : "none";
  }
}
