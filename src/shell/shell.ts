/**
 * The shell of one job on one node (flux-shell(1)): starts the job's tasks here, stands between them and the instance, and
 * ends when they have.
 *
 * Phases: init (plugins prepare; with several nodes all wait for all), running, finishing (plugins finish what they have
 * under way), done. Invariant: `exited` is called once, after everything that the shell has written is on its way.
 */
import { errnoSentence, FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { Clock, WaitStatus } from "../base/ports.ts";
import { EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, exitCodeOfStatus, SIGNALS, statusOfExit } from "../base/signals.ts";
import { fluidKvsPath, formatFluid } from "../formats/fluid.ts";
import { jobTagLookup, renderMustache } from "../formats/mustache.ts";
import type { HostEvent } from "../protocol/shell-host.ts";
import { encodeEvent } from "../sdk/job-protocol.ts";
import type { Methods } from "../sdk/service.ts";
import { TaskEnds, TASKS_FAILED } from "../sdk/task-ends.ts";
import { apply, initrcPath, planWith, runInitrc, type InitrcReport, type InitrcRun } from "./initrc.ts";
import { InitrcPlugin } from "./plugins/initrc.ts";
import { serviceName, type JobPlan, type TaskPlan } from "./plan.ts";
import { initPlugins, makePlugins, type NamedPlugin } from "./plugin-stack.ts";
import { ShellLogLevel, type HostFacts, type ShellContext, type ShellLogEntry, type TaskLaunch } from "./plugin.ts";
import { lostDirectoryText, nodeTags, planTexts } from "./plan-text.ts";
import { Task } from "./task.ts";

const FALLBACK_DIRECTORY = "/tmp";
const VERBOSITY_MAX = 2;
/** Tasks that are started in one turn, and the time that it may take, in milliseconds. */
const SLICE_TASKS = 64;
const SLICE_MS = 10;

/** What a shell needs of the host that holds it. */
export interface ShellSurroundings {
  readonly facts: HostFacts;
  report(event: HostEvent): void;
  /** The shell has ended; what it wrote is in the KVS or on its way. */
  exited(shell: Shell, status: WaitStatus): void;
  /** Resolves when every shell of the job has called it. */
  barrier(): Promise<unknown>;
}

export class Shell implements ShellContext {
  #plan: JobPlan;
  readonly host: HostFacts;
  readonly clock: Clock;
  readonly guestKey: string;
  readonly isLeader: boolean;
  readonly #verbosity: number;
  /** Messages from before the log was there to take them. */
  #earlyLog: ShellLogEntry[] | null = [];
  readonly #surroundings: ShellSurroundings;
  readonly #plugins: NamedPlugin[] = [];
  readonly #tasks = new Map<number, Task>();
  /** The user's start-up file, where there is one, and what it wants. */
  #initrc: InitrcRun["process"] | null = null;
  #wishes: Pick<InitrcReport, "tasks" | "topics"> = { tasks: {}, topics: {} };
  #phase: "init" | "running" | "finishing" | "done" = "init";
  #exitCode = 0;
  readonly #ends = new TaskEnds();
  #hasLostOutput = false;
  /** The exit code stands: tasks that end now were killed for it. */
  #isGivenUp = false;
  #isTerminating = false;
  /** Not all tasks have been started. */
  #isLaunching = false;
  /** How the first task ended: it is told once all have been started, since then the others' time begins. */
  #firstExit: JsonObject | null = null;
  #cwd: string;
  #tmpdir = "";
  /** A signal that came before there were tasks: none is started. */
  #earlySignal: number | null = null;

  constructor(plan: JobPlan, surroundings: ShellSurroundings) {
    this.#plan = plan;
    this.#surroundings = surroundings;
    this.host = surroundings.facts;
    this.clock = this.host.ports.clock;
    this.guestKey = `${fluidKvsPath(plan.id)}.guest`;
    this.isLeader = plan.shellRank === 0;
    const verbosity = Number(plan.options.value("verbose") ?? 0);
    this.#verbosity = Number.isInteger(verbosity) ? Math.min(verbosity, VERBOSITY_MAX) : 0;
    if (verbosity > VERBOSITY_MAX) this.log(ShellLogLevel.warning, `Ignoring shell verbosity > ${VERBOSITY_MAX}`);
    this.#cwd = plan.cwd;
  }

  get plan(): JobPlan {
    return this.#plan;
  }

  /** The job's own service name. */
  get serviceName(): string {
    return serviceName(this.plan);
  }

  get tmpdir(): string {
    return this.#tmpdir;
  }

  get isLaunched(): boolean {
    return this.#phase !== "init";
  }

  get runningTasks(): Iterable<Task> {
    return this.#tasks.values();
  }

  task(rank: number): Task | undefined {
    return this.#tasks.get(rank);
  }

  /**
   * Prepares and starts the tasks. Without other nodes and slow plugins this is done when it returns. `prepared` is called
   * when its methods can be called.
   */
  start(prepared: () => void): void {
    try {
      const rc = initrcPath(this.plan, this.host.ports);
      if (rc === null) return this.#prepare(prepared);
      const { process, report } = runInitrc(rc, this.plan, this.host.ports);
      this.#initrc = process;
      report
        .then((wishes) => {
          this.#takeInitrc(wishes);
          if (this.#phase === "init") this.#prepare(prepared);
        })
        .catch((error: unknown) => this.#abort(error));
    } catch (error) {
      this.#abort(error);
    }
  }

  /** Throws FluxError where the file wants no job. */
  #takeInitrc(report: InitrcReport): void {
    for (const { level, message, component } of report.log) this.log(level, message, component);
    if (typeof report.refusal === "string") throw new FluxError("EINVAL", report.refusal);
    this.#plan = planWith(this.plan, report);
    this.#wishes = report;
  }

  #prepare(prepared: () => void): void {
    try {
      this.#tmpdir = this.host.directories.make(
        `jobtmp-${this.plan.shellRank}-${formatFluid(this.plan.id, this.host.idForm)}`,
        [this.host.rundir, this.plan.environment["TMPDIR"] ?? FALLBACK_DIRECTORY],
      );
      this.#checkOptions();
      for (const made of makePlugins(this)) this.#plugins.push(made);
      if (this.#initrc !== null)
        this.#plugins.push({ name: "initrc", plugin: new InitrcPlugin(this, this.#initrc, this.#wishes.topics) });
      prepared();
      const lost = lostDirectoryText(this.plan, this.host.ports.disk, FALLBACK_DIRECTORY);
      if (lost !== null) this.#cwd = FALLBACK_DIRECTORY;
      if (lost !== null) this.log(ShellLogLevel.error, lost);
      const pending = initPlugins(this, this.#plugins);
      if (pending.length === 0 && this.plan.brokerRanks.length === 1) return this.#launch();
      Promise.all(pending)
        .then(() => (this.plan.brokerRanks.length > 1 ? this.#surroundings.barrier() : undefined))
        .then(() => this.#launch())
        .catch((error: unknown) => this.#abort(error));
    } catch (error) {
      this.#abort(error);
    }
  }

  get isTerminating(): boolean {
    return this.#isTerminating;
  }

  /** A signal by which the job is ended. */
  terminate(signum: number): void {
    this.#isTerminating = true;
    if (this.#isLaunching) this.#exitCode = Math.max(this.#exitCode, 128 + signum);
    this.kill(signum);
  }

  kill(signum: number): void {
    if (this.#phase === "init") {
      this.#earlySignal ??= signum;
      this.#initrc?.kill();
    }
    for (const { plugin } of this.#plugins) plugin.killed?.(signum);
    for (const task of this.#tasks.values()) {
      try {
        task.kill(signum);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        this.log(ShellLogLevel.error, `signal ${signum}: ${errnoSentence(error.errnum)}`, "kill");
      }
    }
  }

  /** A request to signal the tasks that does not say how. */
  refuseKill(): void {
    this.log(ShellLogLevel.error, "ignoring malformed event", "kill");
  }

  /** Gives the job up: the shell ends, but for tasks that the signal does not end: somebody has to know of those. */
  destroy(signum: number): void {
    this.terminate(signum);
    if (this.#tasks.size > 0 || this.#phase === "done") return;
    this.#exitCode = Math.max(this.#exitCode, 128 + signum);
    this.#end();
  }

  setExpiration(expiration: number): void {
    for (const { plugin } of this.#plugins) plugin.expiration?.(expiration);
  }

  /** The methods of the job's service, from all plugins. */
  methods(): Methods {
    return Object.assign({}, ...this.#plugins.map(({ plugin }) => plugin.methods?.() ?? {})) as Methods;
  }

  /** A request of another shell of the job. Rejects with ENOSYS where no plugin knows it. */
  receive(method: string, payload: JsonObject): Promise<JsonObject> {
    for (const { plugin } of this.#plugins) {
      const answer = plugin.receive?.(method, payload) ?? null;
      if (answer !== null) return answer;
    }
    return Promise.reject(new FluxError("ENOSYS"));
  }

  render(template: string, task?: TaskPlan | "any"): string {
    const { plan } = this;
    const isCommon = task === "any";
    const lookup = jobTagLookup({
      id: plan.id,
      idForm: this.host.idForm,
      name: plan.name,
      nnodes: plan.brokerRanks.length,
      ntasks: plan.taskCount,
      tmpdir: this.tmpdir,
      ...(isCommon ? {} : { node: nodeTags(this.plan, this.host.rank) }),
      ...(task === undefined || isCommon ? {} : { task: { rank: task.rank, index: task.localId } }),
    });
    return renderMustache(template, lookup);
  }

  logs(level: number): boolean {
    return level <= ShellLogLevel.notice + this.#verbosity;
  }

  log(level: number, message: string, component?: string): void {
    if (!this.logs(level)) return;
    const entry = { timestamp: this.clock.now(), level, message, component: component ?? null };
    if (this.#earlyLog === null) this.#writeLog(entry);
    else this.#earlyLog.push(entry);
  }

  #writeLog(entry: ShellLogEntry): void {
    for (const { plugin } of this.#plugins) if (plugin.log?.(entry) === true) return;
    const { timestamp, level, message, component } = entry;
    const context = { rank: this.plan.shellRank, level, message, ...(component === null ? {} : { component }) };
    this.host.batch.append(`${this.guestKey}.output`, encodeEvent({ timestamp, name: "log", context }));
  }

  #openLog(): void {
    const early = this.#earlyLog ?? [];
    this.#earlyLog = null;
    for (const entry of early) this.#writeLog(entry);
  }

  event(name: string, context: JsonObject): void {
    const event = { timestamp: this.clock.now(), name, context };
    this.#surroundings.report({ type: "log", id: this.plan.id, event });
  }

  exception(severity: number, type: string, note: string, waitStatus?: number): void {
    const event = { type: "exception", id: this.plan.id, severity, kind: type, note } as const;
    this.#surroundings.report(waitStatus === undefined ? event : { ...event, waitStatus });
  }

  die(note: string, component?: string, waitStatus?: number): void {
    if (this.#phase === "done" || this.#isGivenUp) return;
    this.log(ShellLogLevel.fatal, note, component);
    this.exception(0, "exec", note, waitStatus);
    this.fail();
    this.#isGivenUp = true;
    this.kill(SIGNALS["SIGKILL"]!);
    if (this.#tasks.size === 0 && !this.#isLaunching) this.#finish();
  }

  /** Throws FluxError EINVAL. */
  #checkOptions(): void {
    for (const name of ["verbose", "nosetpgrp"])
      if (!Number.isInteger(Number(this.plan.options.value(name) ?? 0)))
        throw new FluxError("EINVAL", `failed to parse attributes.system.shell.${name}: an integer is wanted`);
  }

  #launch(): void {
    if (this.#phase !== "init") return;
    this.#openLog();
    this.#phase = "running";
    if (this.logs(ShellLogLevel.debug)) for (const text of planTexts(this.plan)) this.log(ShellLogLevel.debug, text);
    if (this.isLeader)
      this.event("shell.init", {
        service: this.serviceName,
        "leader-rank": this.host.rank,
        size: this.plan.brokerRanks.length,
        ...Object.assign({}, ...this.#plugins.map(({ plugin: { announcement } }) => announcement ?? {})),
      });
    if (this.#earlySignal !== null) {
      this.#exitCode = 128 + this.#earlySignal;
      return this.#finish();
    }
    this.#isLaunching = true;
    this.#spawnFrom(0);
  }

  /** Starts tasks for a while, and the rest in later turns: a host has the jobs of others, too. */
  #spawnFrom(first: number): void {
    if (this.#phase !== "running") return;
    const { tasks } = this.plan;
    const beganMs = this.clock.monotonicMs();
    let isWhole = true;
    for (let index = first; index < tasks.length; index++) {
      isWhole = !this.#isTerminating && !this.#isGivenUp && this.#spawn(tasks[index]!);
      if (!isWhole) break;
      const isLong = index - first + 1 >= SLICE_TASKS || this.clock.monotonicMs() - beganMs >= SLICE_MS;
      if (isLong && index + 1 < tasks.length) return this.clock.defer(() => this.#spawnFrom(index + 1));
    }
    this.#isLaunching = false;
    if (isWhole) {
      const sync = this.plan.options.isOn("stop-tasks-in-exec") ? { sync: true } : {};
      if (this.isLeader) this.event("shell.start", { taskmap: this.plan.taskmap.toWrapped(), ...sync });
      for (const { plugin } of this.#plugins) plugin.started?.();
    }
    this.#tellFirstExit();
    if (this.#tasks.size === 0) this.#finish();
  }

  #tellFirstExit(): void {
    if (this.#firstExit === null) return;
    this.event("shell.task-exit", this.#firstExit);
    this.#firstExit = null;
  }

  /** Returns false where the program could not be started: the job has failed then. */
  #spawn(plan: TaskPlan): boolean {
    const launch: TaskLaunch = {
      argv: this.plan.command.map((word) => this.render(word, plan)),
      env: { ...this.plan.environment },
      cwd: this.#cwd,
      stdin: "pipe",
      cpus: null,
      rlimits: {},
      oomScoreAdjust: null,
      stops: this.plan.options.isOn("stop-tasks-in-exec"),
      channels: [],
      ownGroup: !this.plan.options.isOn("nosetpgrp"),
      pty: null,
    };
    try {
      for (const { plugin } of this.#plugins) plugin.prepare?.(plan, launch);
      const wish = this.#wishes.tasks[plan.rank];
      if (wish?.command !== undefined) launch.argv = wish.command.map((word) => this.render(word, plan));
      apply(launch.env, wish?.environment ?? {});
      const task = new Task(plan, launch, this.host.ports.exec, {
        output: (from, stream, chunk) => this.#output(from, stream, chunk),
        exited: (from, status) => this.#taskExited(from, status),
      });
      this.#tasks.set(plan.rank, task);
      for (const { plugin } of this.#plugins) plugin.spawned?.(task);
      return true;
    } catch (error) {
      if (!isFluxError(error)) throw error;
      const note = `task ${plan.rank} (host ${this.plan.host}): start failed: ${error.message}`;
      this.#exitCode = error.is("ENOENT") ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
      this.log(ShellLogLevel.fatal, note);
      this.exception(0, "exec", note);
      this.kill(9);
      return false;
    }
  }

  #output(task: Task, stream: string, chunk: Uint8Array | null): void {
    try {
      for (const { plugin } of this.#plugins) if (plugin.output?.(task, stream, chunk) === true) return;
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.outputLost(error);
    }
  }

  fail(): void {
    this.#exitCode = Math.max(this.#exitCode, 1);
  }

  /** A file that takes no more (disk full): the job fails, its tasks are ended by the exception. */
  outputLost(error: FluxError): void {
    if (this.#hasLostOutput) return;
    this.#hasLostOutput = true;
    this.fail();
    this.log(ShellLogLevel.fatal, error.message);
    this.exception(0, "exec", error.message);
  }

  #taskExited(task: Task, status: WaitStatus): void {
    if (!this.#tasks.delete(task.plan.rank)) return;
    if (!this.#isGivenUp) this.#exitCode = Math.max(this.#exitCode, exitCodeOfStatus(status));
    if (this.#ends.count === 0) this.#firstExit = task.exitContext(status);
    if (!this.#isLaunching) this.#tellFirstExit();
    this.log(ShellLogLevel.debug, `task ${task.plan.rank} complete status=${exitCodeOfStatus(status)}`);
    this.#ends.add(status, [task.plan.rank]);
    for (const { plugin } of this.#plugins) plugin.exited?.(task.plan, status);
    if (this.#tasks.size === 0 && !this.#isLaunching) this.#finish();
  }

  #finish(): void {
    if (this.#phase === "finishing" || this.#phase === "done") return;
    this.#phase = "finishing";
    const failed = this.plan.taskCount > 1 ? this.#ends.context() : null;
    if (failed !== null) this.event(TASKS_FAILED, failed);
    const pending = this.#plugins.flatMap(({ plugin }) => plugin.finish?.() ?? []);
    if (pending.length === 0) return this.#end();
    void Promise.allSettled(pending).then(() => {
      if (this.#phase === "finishing") this.#end();
    });
  }

  /** The job cannot be started as it asks. */
  #abort(error: unknown): void {
    if (!isFluxError(error)) throw error;
    if (this.#phase !== "init") return;
    this.#openLog();
    this.#exitCode = this.#earlySignal === null ? 1 : 128 + this.#earlySignal;
    // A canceled barrier means that the job has failed elsewhere, and that is known.
    if (!error.is("ECANCELED")) {
      this.log(ShellLogLevel.fatal, error.message);
      this.exception(0, "exec", error.message);
    }
    this.#finish();
  }

  #end(): void {
    this.#phase = "done";
    this.log(ShellLogLevel.debug, `exit ${this.#exitCode}`);
    this.#surroundings.exited(this, statusOfExit(this.#exitCode));
  }

  /** Lets go of what the job has on this node. Until then the shell still answers to other shells of the job. */
  release(): void {
    for (const { plugin } of this.#plugins) plugin.stop?.();
    if (this.#tmpdir !== "") this.host.directories.release(this.#tmpdir);
  }
}
