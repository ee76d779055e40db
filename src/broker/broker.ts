/**
 * One broker, from its start to its exit code. Many can live in one process: everything they touch comes with the
 * options.
 *
 * Invariants: `run` resolves exactly once. State changes happen in `#post` only, by the table of `state-machine.ts`;
 * what a state sets going reports back with an event. After `kill` nothing is sent, logged or started any more.
 */
import { utf8Encode } from "../base/bytes.ts";
import { errorText, FluxError } from "../base/errors.ts";
import { exitCodeOfStatus, signalName, SIGNALS } from "../base/signals.ts";
import { formatDuration } from "../formats/duration.ts";
import { LogLevel } from "../sdk/module.ts";
import { Attributes } from "./attributes.ts";
import { bootBroker } from "./boot.ts";
import { singleBoot } from "./bootstrap.ts";
import type { Core, CoreEvents } from "./core.ts";
import { outlivesInstance } from "./resume.ts";
import { removeDirectories } from "./directories.ts";
import { Family } from "./family.ts";
import { BROKER } from "./groups.ts";
import { appendLine, BrokerLog } from "./log.ts";
import { describeBug } from "./log-record.ts";
import type { BrokerOptions } from "./options.ts";
import { Timers } from "./timers.ts";
import { Overlay, type OverlayEvents } from "./overlay.ts";
import { tellParentInstance } from "./parent-instance.ts";
import { DEFAULT_PERSONALITY } from "./personality.ts";
import type { Program } from "./programs.ts";
import { prefetchServices, runCleanup, runRc1, runRc2, runRc3, type RunLevelOptions } from "./run-levels.ts";
import { endProgram, isForJobs, isJob, signalJobs } from "./signals.ts";
import { isEnding, nextState, stateNumber, type StateEvent, type StateName } from "./state-machine.ts";

/** How long the orderly way out may take once the parent is gone. */
const ORPHAN_PATIENCE_MS = 5000;
/** How long children may take to leave after a signal, where broker.shutdown-timeout does not say. */
const SIGNAL_PATIENCE_MS = 20_000;
/** The longest that jobs may take to end after a signal. */
const SIGNAL_CLEANUP_SECONDS = 60;
const KILLED_EXIT_CODE: number = exitCodeOfStatus(SIGNALS["SIGKILL"]!);

export type { BrokerOptions } from "./options.ts";

export class Broker {
  readonly #options: BrokerOptions;
  readonly #attributes = new Attributes();
  readonly #log: BrokerLog;
  readonly #ended = Promise.withResolvers<number>();
  #core: Core | null = null;
  #overlay: Overlay | null = null;
  #levels: RunLevelOptions | null = null;
  #state: StateName = "load-builtins";
  #sinceMs: number;
  #parentState: StateName = "load-builtins";
  /** Events that came before the state in which they count. */
  readonly #waiting = new Set<StateEvent>();
  #program: Program | null = null;
  /** The script of a run level that runs now. */
  #script: Program | null = null;
  #isQuorumLate = false;
  #exitCode = 0;
  #signals = 0;
  #dead = false;
  readonly #timers: Timers;

  constructor(options: BrokerOptions) {
    this.#options = options;
    const { clock, host, disk } = options.ports;
    this.#sinceMs = clock.monotonicMs();
    this.#timers = new Timers(clock);
    this.#log = new BrokerLog({
      rank: () => this.#attributes.get("rank") ?? host.hostname,
      pid: host.pid,
      attributes: this.#attributes,
      now: () => clock.now(),
      stderr: (text) => this.#dead || options.stderr(text),
      forward: (line) => this.#forwardLog(line),
      appendFile: (path, line) => appendLine(disk, path, line),
    });
  }

  /** The value of an attribute, or null. */
  attribute(name: string): string | null {
    return this.#attributes.get(name);
  }

  /** Boots and lives. Resolves with the exit code. */
  async run(): Promise<number> {
    try {
      for (const [name, value] of Object.entries(this.#options.attributes ?? {}))
        this.#attributes.setInitial(name, value);
    } catch (error) {
      this.#options.stderr(`flux-broker: ${errorText(error)}\n`);
      return 1;
    }
    try {
      await this.#boot();
    } catch (error) {
      if (this.#dead) return KILLED_EXIT_CODE;
      this.#log.append("broker", LogLevel.crit, error instanceof FluxError ? error.message : describeBug(error));
      this.#overlay?.destroy();
      this.#core?.connector.destroy();
      this.#removeDirectories();
      return 1;
    }
    this.#post("builtins-success");
    return this.#ended.promise;
  }

  /** Who made the directory of the sockets can no longer remove it: this broker does, unless it was told not to. */
  adoptRundir(): void {
    if (this.#options.attributes?.["rundir-cleanup"] === undefined) this.#attributes.set("rundir-cleanup", "1");
  }

  /** Takes a signal that its process got: SIGUSR1 and SIGUSR2 go to the jobs, all others end the instance. */
  signal(signum: number): void {
    this.#log.append("broker", LogLevel.info, `signal ${signalName(signum)}`);
    if (isForJobs(signum)) return this.#passOn(signum);
    this.#signals++;
    if (this.#core === null || this.#signals > 2) return this.#exit(128 + signum);
    this.#boundShutdown();
    this.#shutdown(isJob(this.#attributes) ? signum : undefined);
    // A second signal means: do not wait for jobs.
    if (this.#signals > 1) this.#post("cleanup-timeout");
  }

  /** An error that its process caught where nobody else did; it cannot be told what it left half done. */
  fault(error: unknown): void {
    this.#coreEvents().fatal("broker", error);
  }

  /** Work that was set going and that nobody waits for has failed for a reason that nobody foresaw. */
  strayFailure(error: unknown): void {
    if (this.#core === null) this.fault(error);
    else this.#core.bug("broker", "work that nobody waits for", error);
  }

  /** Dies at once, as if by SIGKILL: links break, nothing is said or cleaned up. */
  kill(): void {
    this.#dead = true;
    this.#timers.cancelAll();
    this.#overlay?.destroy();
    this.#core?.connector.destroy();
    this.#ended.resolve(KILLED_EXIT_CODE);
  }

  async #boot(): Promise<void> {
    const { ports, boot, config, modules } = this.#options;
    const { core, overlay } = await bootBroker({
      ports,
      attributes: this.#attributes,
      client: boot ?? singleBoot(),
      config: config ?? {},
      reloadConfig: this.#options.reloadConfig ?? (() => this.#core?.config ?? {}),
      registry: modules,
      rusage: this.#options.rusage,
      builtinValues: this.#options.builtinValues ?? {},
      log: this.#log,
      bugsAreFatal: this.#options.bugsAreFatal === true,
      overlayEvents: this.#overlayEvents(),
      coreEvents: this.#coreEvents(),
    });
    this.#core = core;
    this.#overlay = overlay;
    this.#options.booted?.();
    this.#levels = {
      core,
      registry: modules,
      personality: this.#options.personality ?? DEFAULT_PERSONALITY,
      sharesGroup: this.#options.sharesGroup === true,
      cwd: ports.host.cwd,
      isRunning: () => this.#state === "run",
      running: (program) => (this.#program = program),
      script: (program) => (this.#script = program),
      failed: (exitCode) => (this.#exitCode ||= exitCode),
      stderr: (text) => this.#options.stderr(text),
    };
  }

  #coreEvents(): CoreEvents {
    return {
      online: () => {
        if (this.#isLeader && this.#state === "quorum")
          this.#log.append("broker", LogLevel.info, this.#core!.onlineText());
        this.#checkQuorum();
      },
      shutdown: () => this.#shutdown(),
      moduleFailed: () => {
        this.#exitCode ||= 1;
        this.#shutdown();
      },
      fatal: (component, error) => {
        if (this.#dead) return;
        this.#log.append(component, LogLevel.crit, describeBug(error));
        this.#exit(1);
      },
    };
  }

  #overlayEvents(): OverlayEvents {
    return {
      joined: (welcome, isAgain) => this.#family().joined(welcome, isAgain),
      parentParted: (reason) => this.#dead || this.#family().parentParted(reason),
      parentState: (state) => this.#followParent(state),
      parentLost: (reason) => this.#parentLost(reason),
      childLeft: (rank, reason) => this.#childLeft(rank, reason),
      childTorpid: (rank, isTorpid, seconds) => this.#dead || this.#family().childTorpid(rank, isTorpid, seconds),
      log: (severity, text) => this.#log.append("overlay", severity, text),
    };
  }

  // ---- States

  #post(event: StateEvent): void {
    if (this.#dead) return;
    const next = nextState(this.#state, event);
    if (next === null) {
      // A wish to end that comes at a bad time is remembered until it can be granted.
      if (event === "shutdown" || event === "parent-fail") this.#waiting.add(event);
      return;
    }
    if (event === "rc1-fail" || event === "cleanup-fail" || event === "rc3-fail") this.#exitCode ||= 1;
    // Whoever restarts brokers that fail is not to restart one that cannot start.
    const noRestart = this.#attributes.get("broker.exit-norestart");
    if (event === "rc1-fail" && noRestart !== null) this.#exitCode = Number(noRestart) || this.#exitCode;
    const nowMs = this.#options.ports.clock.monotonicMs();
    const seconds = formatDuration((nowMs - this.#sinceMs) / 1000);
    this.#log.append("broker", LogLevel.info, `${event}: ${this.#state}->${next} ${seconds}`);
    this.#state = next;
    this.#sinceMs = nowMs;
    this.#core?.enterState(next);
    this.#act(next);
    for (const waiting of this.#waiting)
      if (this.#state === next && nextState(next, waiting) !== null) {
        this.#waiting.delete(waiting);
        this.#post(waiting);
      }
  }

  /** Carries out work of a state; the event that it resolves with leads on. What is no operating error is fatal. */
  #do(work: Promise<StateEvent>): void {
    work.then(
      (event) => this.#post(event),
      (error: unknown) => this.#coreEvents().fatal("broker", error),
    );
  }

  #act(state: StateName): void {
    const levels = this.#levels!;
    switch (state) {
      case "join":
        prefetchServices(levels);
        if (this.#isLeader) this.#post("parent-none");
        else this.#overlay!.connectParent();
        return;
      case "config-sync":
        return this.#post(this.#isLeader ? "sync-none" : "sync-success");
      case "init":
        return this.#do(runRc1(levels));
      case "quorum":
        return this.#enterQuorum();
      case "run":
        return this.#enterRun();
      case "cleanup":
        return this.#enterCleanup();
      case "shutdown":
        return this.#enterShutdown();
      case "finalize":
        return this.#do(runRc3(levels));
      case "goodbye":
        return this.#post("goodbye");
      case "unload-builtins":
        return this.#do(this.#leave());
      case "exit":
        return this.#exit(this.#exitCode);
      case "load-builtins":
    }
  }

  get #isLeader(): boolean {
    return this.#attributes.get("rank") === "0";
  }

  #enterQuorum(): void {
    this.#core!.groups.join("broker.online", BROKER);
    if (!this.#isLeader) return this.#followParent(this.#parentState);
    this.#warnAfter("broker.quorum-warn", () => {
      if (this.#state !== "quorum") return;
      this.#isQuorumLate = true;
      this.#complain(`quorum delayed: ${this.#core!.onlineText()}`);
    });
    this.#checkQuorum();
  }

  #checkQuorum(): void {
    if (!this.#isLeader || this.#state !== "quorum") return;
    const online = this.#core!.groups.members("broker.online").count;
    const quorum = Number(this.#attributes.get("broker.quorum") ?? this.#attributes.require("size"));
    if (online < quorum) return;
    if (this.#isQuorumLate) this.#complain("quorum reached");
    this.#post("quorum-full");
  }

  #enterRun(): void {
    if (!this.#isLeader) return this.#followParent(this.#parentState);
    void tellParentInstance(this.#options.ports, this.#attributes, this.#complain);
    if (this.#attributes.get("broker.rc2_none") !== null) return;
    const program = runRc2(this.#levels!, this.#options.initialProgram ?? []);
    this.#do(
      program.then((exitCode) => {
        this.#exitCode ||= exitCode;
        return exitCode === 0 ? "rc2-success" : "rc2-fail";
      }),
    );
  }

  #enterCleanup(): void {
    if (!this.#isLeader) return this.#post("cleanup-none");
    this.#do(runCleanup(this.#levels!, this.#signals > 0 && outlivesInstance(this.#attributes)));
    this.#limitCleanup();
  }

  #limitCleanup(): void {
    const patience = this.#signals > 0 ? SIGNAL_CLEANUP_SECONDS : Infinity;
    const seconds = Math.min(this.#attributes.seconds("broker.cleanup-timeout"), patience);
    if (!Number.isFinite(seconds)) return;
    this.#after(seconds * 1000, () => {
      if (this.#state !== "cleanup") return;
      this.#complain("cleanup timed out");
      this.#script?.kill(SIGNALS["SIGHUP"]!);
      this.#post("cleanup-timeout");
    });
  }

  #enterShutdown(): void {
    if (this.#overlay!.childRanks.length === 0) return this.#post("children-none");
    this.#warnAfter("broker.shutdown-warn", () => {
      if (this.#state === "shutdown")
        this.#complain(`shutdown delayed: waiting for ranks ${this.#overlay!.childRanks.join(",")}`);
    });
    const seconds = this.#attributes.seconds("broker.shutdown-timeout");
    if (Number.isFinite(seconds))
      this.#after(seconds * 1000, () => {
        if (this.#state === "shutdown") this.#complain("shutdown timeout");
        this.#post("children-timeout");
      });
    else if (this.#signals > 0) this.#after(SIGNAL_PATIENCE_MS, () => this.#post("children-timeout"));
  }

  async #leave(): Promise<StateEvent> {
    if (!(await this.#core!.unloadBuiltins())) this.#exitCode ||= 1;
    await this.#overlay!.close();
    return "builtins-done";
  }

  // ---- What happens from outside

  /** Somebody wants the instance to end: the initial program is asked to go, everything else follows from its end. */
  #shutdown(signum: number = SIGNALS["SIGHUP"]!): void {
    const program = this.#program;
    if (program === null) return this.#post("shutdown");
    endProgram(program, signum, (delayMs, kill) => this.#after(delayMs, () => this.#program === program && kill()));
  }

  #passOn(signum: number): void {
    if (isJob(this.#attributes)) this.#program?.kill(signum);
    if (this.#isLeader && this.#state === "run") void signalJobs(this.#core!.handle, signum, this.#complain);
  }

  /** After a signal the way out must not take for ever. */
  #boundShutdown(): void {
    if (this.#signals !== 1) return;
    if (this.#state === "cleanup") this.#limitCleanup();
    if (this.#state === "shutdown") this.#after(SIGNAL_PATIENCE_MS, () => this.#post("children-timeout"));
  }

  #family(): Family {
    return new Family({
      ports: this.#options.ports,
      core: this.#core!,
      overlay: this.#overlay!,
      attributes: this.#attributes,
      log: this.#log,
      timers: this.#timers,
      isEnding: () => isEnding(this.#state),
    });
  }

  /** A follower goes where its parent has gone. */
  #followParent(state: StateName): void {
    this.#parentState = state;
    const number = stateNumber(state);
    if (number >= stateNumber("quorum") && this.#state === "join") this.#post("parent-ready");
    if (number >= stateNumber("run") && this.#state === "quorum") this.#post("quorum-full");
    if (number >= stateNumber("shutdown") && !isEnding(this.#state)) this.#post("shutdown");
  }

  #parentLost(reason: string): void {
    if (this.#dead || stateNumber(this.#state) >= stateNumber("goodbye")) return;
    this.#log.append("broker", LogLevel.crit, `lost the parent: ${reason}`);
    this.#exitCode = 1;
    this.#after(ORPHAN_PATIENCE_MS, () => this.#exit(1));
    this.#post("parent-fail");
    if (this.#state === "shutdown") this.#post("children-timeout");
  }

  #childLeft(rank: number, reason: string | null): void {
    if (this.#dead) return;
    this.#family().childLeft(rank, reason);
    if (this.#state === "shutdown" && this.#overlay!.childRanks.length === 0) this.#post("children-complete");
  }

  readonly #complain = (text: string): void => this.#log.append("broker", LogLevel.err, text);
  #forwardLog(line: string): void {
    this.#core?.handle.send("log.append", utf8Encode(line), { nodeid: 0 });
  }

  // ---- The end

  #exit(exitCode: number): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#timers.cancelAll();
    this.#program?.kill(SIGNALS["SIGKILL"]!);
    this.#core?.rexec.killAll(SIGNALS["SIGKILL"]!);
    if (this.#state !== "exit") {
      this.#overlay?.destroy();
      this.#core?.connector.destroy();
    }
    this.#core?.dismissGuard();
    this.#removeDirectories();
    this.#ended.resolve(exitCode);
  }

  #removeDirectories(): void {
    const trouble = removeDirectories(this.#options.ports.disk, this.#attributes);
    if (trouble !== null) this.#options.stderr(`flux-broker: ${trouble}\n`);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#timers.after(delayMs, callback);
  }

  #warnAfter(attribute: string, warn: () => void): void {
    const seconds = this.#attributes.seconds(attribute);
    if (Number.isFinite(seconds)) this.#after(seconds * 1000, warn);
  }
}
