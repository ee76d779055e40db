/**
 * One running job as the execution service sees it: on which ranks its shells run, how they ended, what that makes of the
 * job. Pure: every function decides at once and returns what is to be said.
 *
 * Invariants: a rank's shell ends once, by exit or by loss; the job is finished when no shell runs; its status is the
 * greatest of its shells', unless a fatal exception brought a wait status with it.
 */
import type { Integer } from "../../base/json.ts";
import { exitCodeOfStatus, statusOfExit } from "../../base/signals.ts";
import { Idset } from "../../formats/idset.ts";

export type Phase = "starting" | "running" | "finished";

/** What a shell's end means for the job. */
export interface ShellEnd {
  /** No shell is left. */
  readonly isLast: boolean;
  /** A shell was lost that the job cannot do without. */
  readonly isFatal: boolean;
}

export class JobExecution {
  readonly id: Integer;
  readonly userid: number;
  /** Ranks of the job's shells, ascending; the first is the leader's. */
  readonly ranks: readonly number[];
  readonly #running: Set<number>;
  /** Shell ranks whose loss ends the job; null = all. */
  #critical: Idset | null = null;
  #status = 0;
  #exceptionStatus: number | null = null;
  phase: Phase = "starting";
  /** The type of the first fatal exception, once there was one. */
  fatal: string | null = null;

  constructor(id: Integer, userid: number, ranks: Iterable<number>) {
    this.id = id;
    this.userid = userid;
    this.ranks = [...ranks];
    this.#running = new Set(this.ranks);
  }

  get leader(): number {
    return this.ranks[0]!;
  }

  get runningRanks(): readonly number[] {
    return [...this.#running];
  }

  isRunningOn(rank: number): boolean {
    return this.#running.has(rank);
  }

  /** Wait status of the job: that of a shell, so an exit code. */
  get status(): number {
    return this.#exceptionStatus === null ? this.#status : statusOfExit(exitCodeOfStatus(this.#exceptionStatus));
  }

  get criticalRanks(): Idset {
    return this.#critical ?? Idset.upTo(this.ranks.length);
  }

  setCritical(shellRanks: Idset): void {
    this.#critical = shellRanks;
  }

  /** The first fatal exception counts. */
  fail(type: string, waitStatus?: number): void {
    if (this.fatal !== null) return;
    this.fatal = type;
    if (waitStatus !== undefined) this.#exceptionStatus = waitStatus;
  }

  shellExited(rank: number, status: number): ShellEnd | null {
    if (!this.#running.delete(rank)) return null;
    this.#status = Math.max(this.#status, status);
    return { isLast: this.#running.size === 0, isFatal: false };
  }

  /**
   * A shell is gone. Once all have started (`areAllStarted`) the job can do without one whose process was killed
   * (`hostStatus`), but for the leader's; without one that is lost with its node only where the job has said so.
   */
  shellLost(rank: number, hostStatus: number | null, areAllStarted: boolean): ShellEnd | null {
    if (!this.#running.delete(rank)) return null;
    const shellRank = this.ranks.indexOf(rank);
    const isCritical = this.criticalRanks.has(shellRank);
    const isFatal = hostStatus === null ? isCritical : shellRank === 0 || !areAllStarted;
    if (isFatal || hostStatus !== null) this.#status = Math.max(this.#status, hostStatus ?? statusOfExit(1));
    return { isLast: this.#running.size === 0, isFatal };
  }
}
