/**
 * The temporary directories of jobs (FLUX_JOB_TMPDIR). One that a job left empty serves the next job under a new name:
 * removing a directory can take longer than all the rest of starting a small job.
 *
 * Invariants: a job's directory is empty and private when the job gets it; shortly after the last job began, those of
 * ended jobs are gone.
 */
import type { Clock, Disk, TimerHandle } from "../base/ports.ts";

const MODE = 0o700;
/** How long an empty directory waits for a next job, in milliseconds. */
const KEEP_MS = 50;
/** Directories that wait at most. */
const KEPT_MAX = 64;

export class TemporaryDirectories {
  readonly #disk: Disk;
  readonly #clock: Clock;
  #kept: string[] = [];
  #timer: TimerHandle | null = null;

  constructor(disk: Disk, clock: Clock) {
    this.#disk = disk;
    this.#clock = clock;
  }

  /** Makes the directory of a job. Throws FluxError. */
  make(path: string): void {
    const kept = this.#kept.pop();
    if (kept === undefined) this.#disk.makeDirectory(path, { mode: MODE, recursive: true });
    else this.#disk.rename(kept, path);
  }

  /** A job needs its directory no more. */
  release(path: string): void {
    if (!this.#isReusable(path)) return this.#disk.remove(path);
    this.#kept.push(path);
    this.#timer?.cancel();
    this.#timer = this.#clock.after(KEEP_MS, () => this.removeKept(), { background: true });
  }

  removeKept(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const kept = this.#kept;
    this.#kept = [];
    for (const path of kept) this.#disk.remove(path);
  }

  #isReusable(path: string): boolean {
    if (this.#kept.length >= KEPT_MAX) return false;
    const info = this.#disk.info(path);
    return info?.kind === "directory" && (info.mode & 0o777) === MODE && this.#disk.list(path).length === 0;
  }
}
