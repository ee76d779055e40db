/**
 * Removes blobs that nothing reaches: mark and sweep, a slice at a time, while stores and checkpoints go on.
 *
 * A cycle marks what the checkpoints reach, then looks at every row that was there when the newest checkpoint was put,
 * and removes those that are not marked and not held by a lease. Before rows go, those who cache blobs are told;
 * when they have answered, marks and leases are looked at once more.
 *
 * Rows go in the opposite order of their stores, directories before what they refer to: a directory that is there is whole,
 * also when a cycle ends halfway.
 *
 * Why nothing that is needed goes: (1) a row that came after the newest checkpoint is not looked at; (2) a checkpoint
 * that is put, and a blob that a commit adopts, is marked to its depth before another row goes; (3) what is stored again
 * is marked or held; (4) without a checkpoint whose root can be read there is no cycle.
 *
 * A *whole* cycle looks at everything. The marks of what lives are kept after it, and the next cycle may go on from there: it
 * marks what is new in the newest checkpoint, and looks at the rows that have come since. So its work is in proportion to
 * what was stored, not to what there is. What was alive at the last whole cycle goes with the next one.
 *
 * Where only older checkpoints keep the file large, they are dropped and a further cycle follows. Pure: time and the file
 * are given.
 */
import { assert } from "../../base/assert.ts";
import { concatBytes } from "../../base/bytes.ts";
import type { BlobFile, BlobRow } from "./blob-file.ts";
import type { Leases } from "./leases.ts";
import { Marks } from "./marks.ts";
import { rootsOf } from "./references.ts";

/** Rows that are looked at in one slice. */
const ROWS_PER_SLICE = 256;
/** Rows are removed until they make this many bytes, then the next slice begins. */
const REMOVED_BYTES_PER_SLICE: number = 1024 * 1024;
/** Bytes given back to the file system in one slice. */
const SHRUNK_BYTES_PER_SLICE: number = 256 * 1024;
export interface CollectorLimits {
  /** A smaller file is left alone. */
  readonly startBytes: number;
  /** Older checkpoints are dropped that hold this much more than what the newest one reaches. */
  readonly dropBytes: number;
  /** Free space that is left in the file: the next blobs need some. */
  readonly slackBytes: number;
}

export const COLLECTOR_LIMITS: CollectorLimits = {
  startBytes: 4 * 1024 * 1024,
  dropBytes: 4 * 1024 * 1024,
  slackBytes: 1024 * 1024,
};

type Phase = "idle" | "mark" | "sweep" | "shrink";

/** What a cycle found, in bytes as stored. */
export interface CycleReport {
  /** What the newest checkpoint reaches; after a cycle that was not whole, and what was alive at the one before. */
  liveBytes: number;
  /** What only older checkpoints reach. */
  olderBytes: number;
  /** What is held by leases and commits besides, or came after the newest checkpoint. */
  heldBytes: number;
  removedCount: number;
  removedBytes: number;
}

const NOTHING: CycleReport = { liveBytes: 0, olderBytes: 0, heldBytes: 0, removedCount: 0, removedBytes: 0 };

export interface CollectorEvents {
  /** Those who cache blobs have to forget these (digests, one behind the other), then `forgotten` is called. */
  forget(digests: Uint8Array): void;
}

export class Collector {
  readonly #file: BlobFile;
  readonly #leases: Leases;
  readonly #digestLength: number;
  readonly #events: CollectorEvents;
  readonly #limits: CollectorLimits;
  #marks: Marks;
  #phase: Phase = "idle";
  /** Rows from this one on are done. */
  #cursor = 0;
  #throughRowid = 0;
  #candidates: readonly BlobRow[] | null = null;
  #isWaiting = false;
  #isTight = false;
  #isWhole = true;
  /** What is marked as living was so at the end of the last cycle; it is still known. */
  #hasLiving = false;
  /** Rows up to this one are decided: they lived at the end of the last cycle, or are for the next whole one. */
  #decidedRowid = 0;
  /** The first row that is kept for now: an older checkpoint or a commit refers to it. */
  #firstKeptRowid = Infinity;
  /** Rows up to this one were counted in an earlier cycle. */
  #countedRowid = 0;
  #report = { ...NOTHING };

  constructor(
    file: BlobFile,
    leases: Leases,
    digestLength: number,
    events: CollectorEvents,
    limits: CollectorLimits = COLLECTOR_LIMITS,
  ) {
    this.#file = file;
    this.#leases = leases;
    this.#digestLength = digestLength;
    this.#events = events;
    this.#limits = limits;
    this.#marks = new Marks(file, digestLength);
  }

  get isRunning(): boolean {
    return this.#phase !== "idle";
  }
  /** It waits for `forgotten`. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }
  get report(): Readonly<CycleReport> {
    return this.#report;
  }
  /** Whether a cycle may go on from the last one. */
  get canGoOn(): boolean {
    return this.#hasLiving;
  }
  /** Whether the present cycle, or the last one, looks at everything. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /**
   * Begins a cycle over the rows up to one. `isTight`: older checkpoints are not worth the room that they take. `isWhole`: it
   * looks at everything, also where it could go on from the last one. False where there is no checkpoint from which it
   * could begin.
   */
  start(throughRowid: number, isTight = false, isWhole = true): boolean {
    assert(this.#phase === "idle", "one cycle at a time");
    this.#isTight = isTight;
    const [newest, ...older] = this.#file.checkpoints();
    if (newest === undefined) return false;
    const roots = rootsOf(newest.text, this.#digestLength);
    if (roots === null || !this.#marks.isDirectory(roots.subarray(0, this.#digestLength))) return false;
    this.#phase = "mark";
    this.#isWhole = isWhole || !this.#hasLiving;
    if (this.#isWhole) {
      this.#marks.clear();
      this.#decidedRowid = 0;
      this.#countedRowid = 0;
    } else this.#countedRowid = this.#throughRowid;
    this.#hasLiving = false;
    this.#throughRowid = throughRowid;
    this.#firstKeptRowid = Infinity;
    this.#report = { ...NOTHING, liveBytes: this.#isWhole ? 0 : this.#report.liveBytes };
    this.#marks.addRoots(roots);
    this.#marks.addHeld(concatBytes(this.#leases.adopted));
    for (const { text } of older) this.#marks.addOlderRoots(rootsOf(text, this.#digestLength));
    return true;
  }

  /** Gives up a cycle; what it removed is gone. */
  stop(): void {
    this.#phase = "idle";
    this.#candidates = null;
    this.#isWaiting = false;
    this.#hasLiving = false;
    this.#marks.clear();
  }

  /** A checkpoint was put: what it reaches stays. */
  checkpointPut(text: string): void {
    if (this.#phase === "mark" || this.#phase === "sweep") this.#marks.addRoots(rootsOf(text, this.#digestLength));
  }

  /** Blobs are referred to now, directories perhaps: what they reach stays. */
  adopted(digests: Uint8Array): void {
    if (this.#phase === "mark" || this.#phase === "sweep") this.#marks.addHeld(digests);
  }

  /** A blob was stored that was there already. */
  stored(digest: Uint8Array): void {
    if (this.#phase === "mark" || this.#phase === "sweep") this.#marks.addValue(digest);
  }

  /** Those who cache have forgotten what they were told. */
  forgotten(): void {
    this.#isWaiting = false;
  }

  /** Does a slice of work: as much as there is until `isOver` says so, at least a little. */
  step(isOver: () => boolean): void {
    do this.#stepOnce();
    while (this.isRunning && !this.#isWaiting && !isOver());
  }

  #stepOnce(): void {
    if (this.#isWaiting) return;
    // Marks come first: a checkpoint or a commit may have added some since.
    if (this.#marks.isComplete) this.#work();
    else this.#marks.step();
  }

  #work(): void {
    if (this.#phase === "mark") this.#beginSweep();
    else if (this.#phase === "sweep") this.#sweep();
    else if (this.#phase === "shrink") this.#shrink();
  }

  #beginSweep(): void {
    this.#phase = "sweep";
    this.#cursor = this.#file.lastRowid + 1;
  }

  #sweep(): void {
    if (this.#candidates !== null) return this.#remove(this.#candidates);
    const rows = this.#file.rowsBelow(this.#cursor, ROWS_PER_SLICE).filter(({ rowid }) => rowid > this.#decidedRowid);
    if (rows.length === 0) return this.#endSweep();
    const candidates: BlobRow[] = [];
    let bytes = 0;
    for (const row of rows) {
      this.#cursor = row.rowid;
      if (this.#isKept(row)) {
        if (!this.#marks.isLive(row.hash) && this.#isKeptForNow(row)) this.#firstKeptRowid = row.rowid;
        continue;
      }
      if (this.#isNewer(row)) continue;
      candidates.push(row);
      bytes += row.storedBytes;
      if (bytes >= REMOVED_BYTES_PER_SLICE) break;
    }
    if (candidates.length === 0) return;
    this.#candidates = candidates;
    this.#isWaiting = true;
    this.#events.forget(concatBytes(candidates.map(({ hash }) => hash)));
  }

  /** Whether a row stays; counts it if so. */
  #isKept({ rowid, hash, storedBytes }: BlobRow): boolean {
    if (this.#marks.isLive(hash)) this.#report.liveBytes += rowid > this.#countedRowid ? storedBytes : 0;
    else if (this.#leases.isHeld(hash) || this.#marks.isHeld(hash)) this.#report.heldBytes += storedBytes;
    else if (this.#marks.isOlder(hash)) this.#report.olderBytes += storedBytes;
    else return false;
    return true;
  }

  /** Whether a row is one for the next cycle. What clients hold may stay for a day: that is for the next whole cycle. */
  #isKeptForNow({ hash }: BlobRow): boolean {
    return this.#leases.count === 0 || !(this.#leases.isHeld(hash) || this.#marks.isHeld(hash));
  }

  /** Whether a row came after the newest checkpoint, which cannot reach it; counts it if so. */
  #isNewer({ rowid, storedBytes }: BlobRow): boolean {
    if (rowid <= this.#throughRowid) return false;
    this.#report.heldBytes += storedBytes;
    return true;
  }

  #remove(candidates: readonly BlobRow[]): void {
    const rows = candidates.filter((row) => !this.#isKept(row));
    this.#file.removeRows(rows.map(({ rowid }) => rowid));
    this.#candidates = null;
    this.#report.removedCount += rows.length;
    for (const { storedBytes } of rows) this.#report.removedBytes += storedBytes;
  }

  #endSweep(): void {
    this.#hasLiving = this.#marks.isClosed;
    this.#decidedRowid = Math.min(this.#throughRowid, this.#firstKeptRowid - 1);
    if (this.#hasLiving) this.#marks.keepLive();
    else this.#marks.clear();
    this.#phase = "shrink";
  }

  #shrink(): void {
    const free = this.#file.sizes().freeBytes - this.#limits.slackBytes;
    if (free > 0 && this.#file.shrink(Math.min(free, SHRUNK_BYTES_PER_SLICE))) return;
    this.#file.settle();
    this.#phase = "idle";
    const { liveBytes, olderBytes } = this.#report;
    if (this.#isWhole && olderBytes > (this.#isTight ? 0 : liveBytes + this.#limits.dropBytes)) this.#dropOlder();
  }

  /** Older checkpoints hold so much that it is better to do without them. */
  #dropOlder(): void {
    const { removedCount, removedBytes } = this.#report;
    this.#file.keepCheckpoints(1);
    if (!this.start(this.#throughRowid, this.#isTight)) return;
    this.#report = { ...NOTHING, removedCount, removedBytes };
  }
}
