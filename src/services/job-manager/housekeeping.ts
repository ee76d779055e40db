/**
 * Housekeeping (flux-config-job-manager(5)): when a job gives its resources back, a command runs on each of its nodes first.
 * The job is over by then; its resources are the scheduler's again as the nodes become ready, all at once or bit by bit.
 *
 * Invariants: what a job had goes to the scheduler once, rank by rank, and the last part of it with `final` set; a scheduler
 * that comes meanwhile hears of what is held here. A command that fails holds nothing back.
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { Idset } from "../../formats/idset.ts";
import { configType } from "../../formats/policy-config.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { LogLevel } from "../../sdk/module.ts";
import { BulkCommand } from "../../sdk/bulk-command.ts";
import type { Job } from "./job.ts";

/** A key of older configurations, which is accepted and means nothing. */
const DEPRECATED = "use-systemd-unit";

export interface HousekeepingConfig {
  readonly argv: readonly string[];
  /** Seconds after the first rank is done until resources go back one by one; 0 at once, null for all together. */
  readonly releaseAfter: number | null;
}

/** Reads the table `job-manager.housekeeping`; null where it is not there. Throws EINVAL. */
export function housekeepingConfigOf(config: JsonObject): HousekeepingConfig | null {
  const table = isJsonObject(config["job-manager"]) ? config["job-manager"]["housekeeping"] : undefined;
  if (table === undefined) return null;
  const fail = (text: string): never => {
    throw new FluxError("EINVAL", text);
  };
  if (!isJsonObject(table)) return fail(`job-manager.housekeeping: Expected object, got ${configType(table)}`);
  const known = ["command", "release-after", "exit-on-first-error", DEPRECATED];
  const unknown = Object.keys(table).filter((key) => !known.includes(key));
  if (unknown.length > 0)
    fail(`job-manager.housekeeping: ${unknown.length} object item(s) left unpacked: ${unknown.join(", ")}`);
  const { command, "release-after": after, [DEPRECATED]: useUnit } = table;
  if (after !== undefined && typeof after !== "string")
    return fail(`job-manager.housekeeping: Expected string, got ${configType(after)}`);
  if (useUnit !== undefined && typeof useUnit !== "boolean")
    return fail(`job-manager.housekeeping: Expected true or false, got ${configType(useUnit)}`);
  const seconds = after === undefined ? null : tryParseFsd(after);
  if (after !== undefined && seconds === null) fail("job-manager.housekeeping.release-after FSD parse error");
  if (command === undefined) return fail("job-manager.housekeeping implies IMP but exec.imp is undefined");
  const argv = Array.isArray(command) ? (command as string[]) : [];
  if (argv.length === 0 || argv.some((word) => typeof word !== "string")) fail("error creating housekeeping command");
  return { argv, releaseAfter: seconds === null || seconds === Infinity ? null : seconds };
}

export interface HousekeepingSurroundings {
  readonly handle: Handle;
  readonly clock: Clock;
  log(level: LogLevel, text: string): void;
  /** An id as people are shown it. */
  idText(id: Integer): string;
  /** Gives resources back to the scheduler. */
  free(payload: { id: Integer; R: JsonObject; final: boolean }): void;
}

interface Allocation {
  readonly id: Integer;
  readonly job: Pick<Job, "userid" | "priority" | "tSubmit">;
  readonly startTime: number;
  readonly command: BulkCommand;
  /** What the job had, whole. */
  readonly whole: Idset;
  /** What the scheduler has not got back yet. */
  held: ResourceSet;
  timer: TimerHandle | null;
  isReleasing: boolean;
}

export class Housekeeping {
  readonly #surroundings: HousekeepingSurroundings;
  readonly #running = new Map<Integer, Allocation>();
  #config: HousekeepingConfig | null = null;

  constructor(surroundings: HousekeepingSurroundings) {
    this.#surroundings = surroundings;
  }

  configure(config: HousekeepingConfig | null): void {
    this.#config = config;
    const what = config === null ? "not configured" : "configured";
    this.#surroundings.log(LogLevel.debug, `housekeeping is ${what}`);
  }

  /** Takes what a job gives back; false where there is nothing to do for it, and the caller frees it. */
  take(job: Job, R: JsonObject): boolean {
    if (this.#config === null || !job.started) return false;
    let held: ResourceSet;
    try {
      held = ResourceSet.parse(R);
    } catch (error) {
      this.#surroundings.log(LogLevel.err, `housekeeping: ${this.#surroundings.idText(job.id)}: ${errorText(error)}`);
      return false;
    }
    this.#begin(job, held, this.#config);
    return true;
  }

  /** What a scheduler that says hello must know: who still has what, and what of that was freed. */
  *allocations(): Generator<JsonObject> {
    for (const { id, job, whole, held } of this.#running.values()) {
      const { priority, userid, tSubmit } = job;
      const free = Idset.from([...whole].filter((rank) => !held.ranks.has(rank)));
      yield { id, priority, userid, t_submit: tSubmit, ...(free.isEmpty ? {} : { free: free.format() }) };
    }
  }

  get allocated(): ResourceSet[] {
    return [...this.#running.values()].map(({ held }) => held);
  }

  /** Signals commands: of a job (null: of all), on some ranks (null: on all). */
  kill(signum: number, id: Integer | null, ranks: Idset | null): void {
    for (const allocation of this.#running.values())
      if (id === null || allocation.id === id) allocation.command.kill(signum, ranks);
  }

  report(): JsonObject {
    const running = [...this.#running.values()].map(({ id, startTime, command, held }) => [
      this.#surroundings.idText(id),
      { t_start: startTime, pending: command.activeRanks.format(), allocated: held.ranks.format() },
    ]);
    const { argv = [], releaseAfter = null } = this.#config ?? {};
    return {
      running: Object.fromEntries(running) as JsonObject,
      config: { "release-after": releaseAfter ?? -1, command: argv.join(" ") },
    };
  }

  stop(): void {
    for (const { timer } of this.#running.values()) timer?.cancel();
    this.#running.clear();
  }

  #begin(job: Job, held: ResourceSet, config: HousekeepingConfig): void {
    const { handle, clock } = this.#surroundings;
    const { id } = job;
    const name = this.#surroundings.idText(id);
    const where = (ranks: Idset): string =>
      `${held.keepRanks(ranks).nodelist.format()} (rank ${ranks.format()}) ${name}`;
    const say = (rank: number, level: LogLevel, text: string): void =>
      this.#surroundings.log(level, `housekeeping: ${where(Idset.from([rank]))}: ${text}`);
    const command = new BulkCommand({
      handle,
      argv: config.argv,
      env: {
        FLUX_JOB_ID: String(id),
        FLUX_JOB_USERID: String(job.userid),
        FLUX_JOB_RANKS: held.ranks.format(),
      },
      ranks: held.ranks,
      output: (rank, stream, line) => say(rank, stream === "stderr" ? LogLevel.err : LogLevel.info, line),
      failed: (rank, reason) => say(rank, LogLevel.err, reason),
      ended: () => this.#released(allocation),
      finished: () => {
        for (const [how, failed] of command.failures)
          this.#surroundings.log(LogLevel.err, `housekeeping: ${where(failed)}: ${how}`);
        this.#surroundings.log(LogLevel.debug, `housekeeping: ${name} complete`);
      },
    });
    const allocation: Allocation = {
      id,
      job,
      startTime: clock.now(),
      command,
      whole: held.ranks,
      held,
      timer: null,
      isReleasing: config.releaseAfter === 0,
    };
    this.#running.set(id, allocation);
    command.start();
    this.#surroundings.log(LogLevel.debug, `housekeeping: ${name} started`);
  }

  /** A rank is done: its resources go back now, later, or with those of all others. */
  #released(allocation: Allocation): void {
    const { command, held } = allocation;
    const active = command.activeRanks;
    if (active.isEmpty) {
      allocation.timer?.cancel();
      this.#running.delete(allocation.id);
      this.#surroundings.free({ id: allocation.id, R: held.toJSON() as JsonObject, final: true });
      return;
    }
    const releaseAfter = this.#config?.releaseAfter ?? null;
    if (allocation.isReleasing) this.#freeEnded(allocation);
    else if (releaseAfter !== null && allocation.timer === null)
      allocation.timer = this.#surroundings.clock.after(releaseAfter * 1000, () => {
        allocation.isReleasing = true;
        this.#freeEnded(allocation);
      });
  }

  #freeEnded(allocation: Allocation): void {
    const active = allocation.command.activeRanks;
    const done = allocation.held.removeRanks(active);
    if (done.isEmpty) return;
    allocation.held = allocation.held.keepRanks(active);
    this.#surroundings.free({ id: allocation.id, R: done.toJSON() as JsonObject, final: false });
  }
}
