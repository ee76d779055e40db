/**
 * The temporary directories of jobs (FLUX_JOB_TMPDIR). One that a job left empty serves the next job under a new name:
 * removing a directory can take longer than all the rest of starting a small job.
 *
 * Invariants: a job's directory is empty and private when the job gets it; shortly after the last job began, those of
 * ended jobs are gone.
 */
import { errnoSentence, FluxError, isFluxError } from "../base/errors.ts";
import type { Clock, Disk, TimerHandle } from "../base/ports.ts";

const MODE = 0o700;
/** How long an empty directory waits for a next job, in milliseconds. */
const KEEP_MS = 50;
/** Directories that wait at most. */
const KEPT_MAX = 64;

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));

export class TemporaryDirectories {
  readonly #disk: Disk;
  readonly #clock: Clock;
  #kept: string[] = [];
  #keptCount = 0;
  #timer: TimerHandle | null = null;

  /** Where spare directories wait: the parent that jobs are meant to use. */
  #home: string | null = null;
  readonly #complain: (text: string) => void;

  /** What cannot be removed is complained of. */
  constructor(disk: Disk, clock: Clock, complain: (text: string) => void) {
    this.#disk = disk;
    this.#clock = clock;
    this.#complain = complain;
  }

  /** Makes the directory of a job in the first parent that takes it; returns its path. Throws FluxError. */
  make(name: string, parents: readonly string[]): string {
    let failure: unknown = null;
    this.#home = parents[0]!;
    for (const parent of parents) {
      const path = `${parent}/${name}`;
      try {
        const kept = this.#kept.at(-1);
        if (kept === undefined || parentOf(kept) !== parent)
          this.#disk.makeDirectory(path, { mode: MODE, recursive: true });
        else {
          this.#disk.rename(kept, path);
          this.#kept.pop();
        }
        return path;
      } catch (error) {
        if (!isFluxError(error)) throw error;
        failure = new FluxError(error.errnum, `mkdir ${path}: ${errnoSentence(error.errnum)}`, { cause: error });
      }
    }
    throw failure;
  }

  /** A job needs its directory no more. */
  release(path: string): void {
    if (!this.#isReusable(path)) return this.#remove(path);
    // Under another name at once: a job that is over has no directory.
    const kept = `${parentOf(path)}/jobtmp-spare-${this.#keptCount++}`;
    try {
      this.#disk.rename(path, kept);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      return this.#remove(path);
    }
    this.#kept.push(kept);
    this.#timer?.cancel();
    this.#timer = this.#clock.after(KEEP_MS, () => this.removeKept(), { background: true });
  }

  removeKept(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const kept = this.#kept;
    this.#kept = [];
    for (const path of kept) this.#remove(path);
  }

  #remove(path: string): void {
    try {
      this.#disk.remove(path);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#complain(`removing ${path}: ${error.message}`);
    }
  }

  #isReusable(path: string): boolean {
    if (this.#kept.length >= KEPT_MAX || parentOf(path) !== this.#home) return false;
    const info = this.#disk.info(path);
    return info?.kind === "directory" && (info.mode & 0o777) === MODE && this.#disk.list(path).length === 0;
  }
}
