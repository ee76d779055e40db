/**
 * Runs one job: carries out what `job.ts` decides, through the shell hosts of its ranks (or a timer, for a simulated
 * job), and tells the job manager.
 *
 * Invariants: the last response is the final release, and it is sent once; when `finish` is sent, the whole exec.eventlog
 * is on its way to the KVS; no shell is started before `starting` is in the exec.eventlog for certain, so that whoever
 * comes after a crash knows which jobs must not be started again.
 */
import type { JsonObject } from "../../base/json.ts";
import type { TimerHandle, WaitStatus } from "../../base/ports.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import { SIGNALS, signalName, statusOfExit } from "../../base/signals.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { HostEvent } from "../../protocol/shell-host.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { Barrier } from "./barrier.ts";
import { ExecLog } from "./exec-log.ts";
import { ExitLimits } from "./exit-limits.ts";
import { JobExecution, type ShellEnd } from "./job.ts";
import { barrierTimeoutOf, jobShellOf } from "./job-wishes.ts";
import { describeLoss, killedBy } from "./loss.ts";
import type { ExceptionData, ExecRequest, StartResponse } from "./protocol.ts";
import { startDelay } from "./settings.ts";
import { checkService, HostedShells, ProgramShells, type Shells } from "./shells.ts";
import { checkSignedRequest } from "./signed-request.ts";
import { Termination } from "./termination.ts";
import { mockFailureOf, testRunOf, type TestRun } from "./test-run.ts";
import type { ExecWorld } from "./world.ts";

/** The wait status of a shell of which nobody knows how it ended. */
const LOST_STATUS = -1;
const NOT_FOUND: FluxError = new FluxError("ENOENT", "not found when its broker came back");
const NOT_REATTACHED: FluxError = new FluxError("ENOENT", "there is none to reattach to");

type TimerName = "expiration" | "run";

export class JobRunner {
  readonly job: JobExecution;
  readonly exec: ExecRequest;
  readonly testRun: TestRun | null;
  /** Where the KVS has what the job writes. */
  readonly guestKey: string;
  /** Its shells are in the shell hosts of its ranks. */
  readonly isHosted: boolean;
  readonly #world: ExecWorld;
  readonly #resources: ResourceSet;
  readonly #log: ExecLog;
  readonly #barrier: Barrier;
  readonly #limits: ExitLimits;
  readonly #shells: Shells;
  /** The job manager's request. */
  #request: IncomingRequest;
  /** Ranks whose host is not there yet. */
  readonly #awaited = new Set<number>();
  readonly #timers = new Map<TimerName, TimerHandle>();
  /** Seconds since the epoch; 0 = none. */
  #expiration: number;
  #termination: Termination | null = null;
  /** It failed before anything was started: there is no end to tell of. */
  #isStillborn = false;
  /** Its shells were handed to their hosts. */
  #isLaunched = false;
  #isProceeding = false;
  /** What the last exception of a shell said. */
  #note: string | null = null;
  #isStopped = false;

  constructor(world: ExecWorld, request: IncomingRequest, exec: ExecRequest) {
    this.#world = world;
    this.#request = request;
    this.exec = exec;
    this.#resources = ResourceSet.parse(exec.R);
    this.guestKey = `${fluidKvsPath(exec.id)}.guest`;
    this.job = new JobExecution(exec.id, exec.userid, this.#resources.ranks);
    this.#log = new ExecLog(world, `${this.guestKey}.exec.eventlog`, this.job.leader, exec.reattach);
    this.testRun = testRunOf(exec.jobspec);
    const delay = exec.reattach ? 0 : startDelay(this.#resources, world.context.ports.clock.now(), world.settings);
    this.#expiration = this.#resources.expiration + delay;
    const timeout = barrierTimeoutOf(exec.jobspec) ?? world.settings.barrierTimeout;
    this.#barrier = new Barrier(world, this.job, timeout, (missing) => this.#barrierExpired(missing));
    this.#limits = new ExitLimits(world, this.job, exec.jobspec as Jobspec, (note, waitStatus) => {
      this.#shells.log(this.job.leader, { level: LogLevel.emerg, message: note, component: "task-exit" });
      this.fail("exec", note, waitStatus);
    });
    const program = jobShellOf(exec.jobspec) ?? world.settings.jobShell;
    this.isHosted = this.testRun === null && program === null;
    this.#shells = this.#makeShells(program);
  }

  #makeShells(program: string | null): Shells {
    const { id, userid, jobspec, R } = this.exec;
    if (program === null) return new HostedShells(this.#world, { id, userid, jobspec, R });
    return new ProgramShells(this.#world, id, program, this.job.ranks, {
      started: () => this.#started(),
      failed: (rank, status, why) => {
        const where = `${this.#hostOf(rank)} (rank ${rank})`;
        if (this.job.fatal === null) this.fail("exec", `job shell exec error on broker ${where}: ${why}`);
        if (rank === this.job.leader) this.#log.leaderGone(LOST_STATUS, []);
        this.#ended(rank, this.job.shellExited(rank, status));
      },
      exited: (rank, status) => this.#programExited(rank, status),
      log: (name, context) => this.#log.add(name, context),
    });
  }

  #hostOf(rank: number): string {
    return this.#resources.node(rank)?.host ?? "unknown host";
  }

  /** Starts (or finds again) the shells. */
  begin(): void {
    this.#log.add(this.exec.reattach ? "reattach" : "init");
    this.setExpiration(this.#expiration);
    if (this.testRun !== null) return this.#simulate(this.testRun);
    const mockFailure = mockFailureOf(this.exec.jobspec);
    if (mockFailure !== null && !this.exec.reattach) return this.#fakeFailure(mockFailure);
    checkService(this.#world.settings.service, `${this.#hostOf(this.job.leader)} (rank ${this.job.leader})`);
    for (const rank of this.job.ranks) {
      if (this.isHosted) this.#await(rank);
      else if (this.exec.reattach) this.shellLost(rank, NOT_REATTACHED);
    }
    this.#proceed();
  }

  #await(rank: number): void {
    const link = this.#world.link(rank);
    if (!link.isAttached) this.#awaited.add(rank);
    link.open();
  }

  /** The job manager asks again for a job that runs: it has been restarted. */
  adopt(request: IncomingRequest): void {
    this.#request = request;
    this.#respond({ id: this.job.id, type: "reattached", data: {} });
  }

  /** The host of one of the job's ranks is there; `isKnown`: it has been running the job already. */
  hostAttached(rank: number, isKnown: boolean): void {
    if (!this.#awaited.delete(rank)) {
      // Attached again: what was handed over is there, or never arrived.
      if (!isKnown) this.shellLost(rank, NOT_FOUND);
      return;
    }
    if (this.exec.reattach && !isKnown) return this.shellLost(rank, NOT_REATTACHED);
    this.#proceed();
  }

  hostEvent(rank: number, event: HostEvent): void {
    if (event.type === "log") this.#shellEvent(rank, event.event);
    else if (event.type === "exception") this.#exception(event);
    else {
      for (const [name, text] of Object.entries(event.appends ?? {})) {
        this.#world.batch.append(`${this.guestKey}.${name}`, text);
        this.#world.batch.end(`${this.guestKey}.${name}`);
      }
      if (rank === this.job.leader) this.#log.leaderExited(event.status);
      this.#ended(rank, this.job.shellExited(rank, event.status));
    }
  }

  #programExited(rank: number, status: number): void {
    const end = this.job.shellExited(rank, status);
    if (rank === this.job.leader) this.#log.leaderGone(status, this.job.runningRanks);
    this.#barrier.shellEnded();
    if (this.job.ranks.length > 1 && !this.#barrier.isPassed && this.job.fatal === null)
      this.fail("exec", `${this.#hostOf(rank)} (rank ${rank}) terminated before first barrier`);
    this.#ended(rank, end);
  }

  #shellEvent(rank: number, event: JobEvent): void {
    if (this.#log.shellEvent(event)) this.#limits.taskExited(this.#hostOf(rank), event.context ?? {});
  }

  /** `hostStatus`: how the process that held the shell ended, where that is known. */
  shellLost(rank: number, error: FluxError, hostStatus: WaitStatus | null = null): void {
    const status = killedBy(hostStatus);
    const end = this.job.shellLost(rank, status, this.exec.reattach || this.#barrier.isPassed);
    if (end === null) return;
    this.#awaited.delete(rank);
    const { isFatal } = end;
    const { leader, ranks, runningRanks } = this.job;
    const shell = { host: this.#hostOf(rank), rank, shellRank: ranks.indexOf(rank) };
    const { warning, exception } = describeLoss({ ...shell, error, killedBy: status, isFatal });
    if (warning !== null)
      this.#shells.log(leader, { level: LogLevel.warning, message: warning, component: "exception" });
    // One such loss ends the job, the next does not end it again.
    if (exception !== null && !(isFatal && this.job.fatal !== null)) this.#sendException(exception);
    if (isFatal) {
      this.jobException("exec");
      this.#barrier.cancel(exception!.note);
    } else if (status !== null) this.#limits.begin(`shell rank ${shell.shellRank} on host ${shell.host} exited`);
    if (rank === leader) this.#log.leaderGone(status ?? LOST_STATUS, runningRanks);
    this.#ended(rank, end);
    this.#proceed();
  }

  /** A fatal exception was raised on the job, here or elsewhere. */
  jobException(type: string, waitStatus?: number): void {
    if (this.job.phase === "finished") return;
    this.job.fail(type, waitStatus);
    this.#terminate(type);
    this.#barrier.cancel("job got a fatal exception");
  }

  /** Raises a fatal exception on the job; with a wait status that is to be the job's. */
  fail(type: string, note: string, waitStatus?: number): void {
    if (this.job.phase === "finished") return;
    this.#sendException({ severity: 0, type, note, ...(waitStatus === undefined ? {} : { wait_status: waitStatus }) });
    this.jobException(type, waitStatus);
  }

  #barrierExpired(missing: Idset): void {
    const id = this.#world.idText(this.job.id);
    const total = this.job.ranks.length;
    const ranks = missing.isEmpty ? "" : ` (rank${missing.count === 1 ? "" : "s"} ${missing})`;
    this.fail("exec", `start barrier timeout waiting for ${missing.count}/${total} nodes${ranks}`);
    if (!missing.isEmpty) this.#world.drain(missing.toString(), `job ${id} start timeout: possible node hang`);
  }

  setExpiration(expiration: number): void {
    this.#expiration = expiration;
    this.#cancelTimer("expiration");
    if (expiration <= 0) return;
    const delayMs = Math.max(0, (expiration - this.#world.context.ports.clock.now()) * 1000);
    this.#setTimer("expiration", delayMs, () => this.fail("timeout", "resource allocation expired"));
    this.#shells.setExpiration(this.job.runningRanks, expiration);
  }

  enterBarrier(request: IncomingRequest): void {
    this.#barrier.enter(request);
  }

  /** A simulated job's start or finish, as a test wants it. Throws FluxError EINVAL. */
  override(event: string, status: number): void {
    const { phase } = this.job;
    if (event !== "start" && event !== "finish") throw new FluxError("EINVAL", "Invalid event");
    if (phase !== (event === "start" ? "starting" : "running")) throw new FluxError("EINVAL", `Job is ${phase}`);
    if (event === "finish") return this.#endAll(status);
    this.#started();
    if (this.testRun !== null) this.#endInTime(this.testRun);
  }

  /** What `flux module stats job-exec` tells of a job. */
  get report(): JsonObject {
    const { phase, runningRanks, ranks } = this.job;
    const { killTimeout } = this.#world.settings;
    return {
      implementation: this.testRun === null ? this.#world.settings.method : "testexec",
      phase,
      started: phase === "starting" ? 0 : 1,
      running: phase === "running" ? 1 : 0,
      finalizing: phase === "finished" ? 1 : 0,
      exception_in_progress: this.job.fatal === null ? 0 : 1,
      reattach: this.exec.reattach ? 1 : 0,
      multiuser: this.job.userid === this.#world.context.ports.host.uid ? 0 : 1,
      total_shells: ranks.length,
      active_shells: runningRanks.length,
      active_ranks: Idset.from(runningRanks).toString(),
      critical_ranks: this.job.criticalRanks.toString(),
      expiration: this.#expiration,
      kill_count: 0,
      kill_shell_count: 0,
      kill_timeout: killTimeout,
      ...this.#termination?.report,
    };
  }

  /** The last responses; what the job has written goes before. Called by the world, for all jobs that end in a turn. */
  respondFinish(): void {
    const { id } = this.job;
    if (!this.#isStillborn) this.#respond({ id, type: "finish", data: { status: this.job.status } });
    this.#respond({ id, type: "release", data: { ranks: "all", final: true } });
    this.#world.end(this.#request);
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    this.#limits.stop();
    this.#termination?.stop();
    this.#barrier.cancel("the execution service is unloading");
  }

  /** Starts the shells when all hosts are there. */
  #proceed(): void {
    if (this.#awaited.size > 0 || this.job.phase !== "starting" || this.#isProceeding) return;
    this.#isProceeding = true;
    if (this.exec.reattach) return this.#started();
    this.#log.add("starting");
    const { handle } = this.#world.context;
    // A job shell that is a program reads its request itself.
    const isChecked = this.isHosted && this.exec.wasInHand;
    const signed = isChecked ? checkSignedRequest(handle, this.job.id, this.job.userid) : null;
    Promise.all([this.#log.settle(), signed]).then(
      () => this.#launch(),
      (error: unknown) => this.fail("exec", `the job cannot start: ${errorText(error)}`, statusOfExit(1)),
    );
  }

  #launch(): void {
    if (this.#isStopped || this.job.phase !== "starting") return;
    this.#isLaunched = true;
    this.#shells.start(this.job.runningRanks);
    if (this.isHosted) this.#started();
  }

  #started(): void {
    if (this.job.phase !== "starting") return;
    this.job.phase = "running";
    this.#respond({ id: this.job.id, type: this.exec.reattach ? "reattached" : "start", data: {} });
  }

  #simulate(run: TestRun): void {
    this.#cancelTimer("expiration");
    const { mockException, fault } = run;
    if (fault !== null || mockException === "init" || mockException === "starting") {
      this.#isStillborn = true;
      const phase = mockException === "init" ? "initialization" : "starting";
      return this.fail("exec", fault ?? `mock ${phase} exception generated`);
    }
    const isAgain = this.exec.reattach;
    if (!isAgain) this.#log.add("starting");
    if (run.isOverridden && !isAgain) return;
    this.#started();
    if (!isAgain) this.#log.add("recoverable");
    if (run.mockException === "run") return this.fail("exec", "mock run exception generated");
    if (isAgain && run.endsAtReattach) this.#endAll(run.waitStatus);
    else this.#endInTime(run);
  }

  /** A job that fails before it has tasks. */
  #fakeFailure(phase: "init" | "starting"): void {
    this.#log.add("starting");
    this.#sendException({ severity: 0, type: "exec", note: `mock ${phase} exception generated` });
    this.job.fail("exec");
    if (phase === "starting") this.#started();
    this.#endAll(phase === "init" ? statusOfExit(1) : SIGNALS["SIGTERM"]!);
  }

  #endInTime(run: TestRun): void {
    if (run.runDuration === null) return;
    this.#setTimer("run", run.runDuration * 1000, () => this.#endAll(run.waitStatus));
  }

  #exception(event: HostEvent & { type: "exception" }): void {
    const { severity, kind, note, waitStatus } = event;
    // What is wrong with a job is wrong on each of its nodes.
    if (this.job.fatal !== null && note === this.#note) return;
    this.#note = note;
    this.#sendException({
      severity,
      type: kind,
      note,
      ...(waitStatus === undefined ? {} : { wait_status: waitStatus }),
    });
    if (severity === 0) this.jobException(kind, waitStatus);
  }

  #sendException(data: ExceptionData): void {
    this.#respond({ id: this.job.id, type: "exception", data });
  }

  #ended(rank: number, end: ShellEnd | null): void {
    if (end === null) return;
    if (end.isLast) return this.#finish();
    if (rank === this.job.leader) this.#limits.leaderExited();
  }

  #endAll(status: number): void {
    for (const rank of this.job.runningRanks) this.#ended(rank, this.job.shellExited(rank, status));
  }

  #finish(): void {
    if (this.job.phase === "finished") return;
    this.job.phase = "finished";
    this.stop();
    this.#log.end(this.job.status);
    if (this.job.ranks.length > 1 && this.isHosted) this.#shells.release(this.job.leader);
    this.#world.finished(this);
  }

  #terminate(type: string): void {
    if (this.job.phase === "finished") return;
    if (this.#termination !== null) {
      // An exception that was raised here comes back as an event of the job manager.
      if (type !== this.job.fatal) this.#termination.again();
      return;
    }
    // There is no shell that would make an exit code of the signal.
    if (this.testRun !== null) return this.#endAll(SIGNALS["SIGTERM"]!);
    const { clock } = this.#world.context.ports;
    const id = this.#world.idText(this.job.id);
    const actions = {
      kill: (signum: number) => {
        this.#world.debug(`Sending ${signalName(signum)} to job ${id}`);
        this.#shells.kill(this.job.runningRanks, signum);
      },
      destroy: (signum: number) => {
        this.#world.debug(`Sending ${signalName(signum)} to job shell for job ${id}`);
        this.#shells.destroy(this.job.runningRanks, signum);
      },
      abandon: (limit: string) => this.#abandon(limit),
    };
    this.#termination = new Termination(clock, this.#world.settings, actions, type);
    this.#withdraw(type);
  }

  /** Shells that have not been handed to a host will never be. */
  #withdraw(type: string): void {
    const status = shellStatusOfSignal(type === "timeout" ? "SIGALRM" : "SIGTERM");
    const isHeld = !this.#isLaunched && !this.exec.reattach;
    for (const rank of this.job.runningRanks)
      if (isHeld || this.#shells.withdraw(rank)) this.#ended(rank, this.job.shellExited(rank, status));
  }

  /** Something cannot be killed: its nodes take no more jobs until somebody has looked. */
  #abandon(limit: string): void {
    const targets = Idset.from(this.job.runningRanks).toString();
    const id = this.#world.idText(this.job.id);
    this.#world.debug(`job ${id} exceeded ${limit}. Draining active ranks ${targets}`);
    const reason = `unkillable user processes for job ${id}`;
    this.#world.drain(targets, reason);
    this.#endAll(shellStatusOfSignal("SIGKILL"));
  }

  #setTimer(name: TimerName, delayMs: number, callback: () => void): void {
    this.#timers.set(name, this.#world.context.ports.clock.after(delayMs, callback));
  }

  #cancelTimer(name: TimerName): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
  }

  #respond(response: StartResponse): void {
    this.#world.respond(this.#request, response);
  }
}

/** The wait status of a shell whose task a signal ended. */
function shellStatusOfSignal(name: string): number {
  return statusOfExit(128 + SIGNALS[name]!);
}
