/**
 * All brokers of an instance on this machine (`flux start --test-size=N`): starts them, tells them of each other as a PMI
 * server, and cleans up after them.
 *
 * Invariants: when this process ends, no broker is left; the directory that it made is gone.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { ChildProcess, Ports } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence, SIGNALS } from "../../base/signals.ts";
import { parseFsd } from "../../formats/duration.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Taskmap } from "../../formats/taskmap.ts";
import { LineReader, PmiServer, type PmiConnection } from "../../protocol/pmi-server.ts";
import { RESPAWNED } from "../../broker/resume.ts";
import { LIFELINE_VARIABLE, sweepDirectories } from "./broker-process.ts";
import { markDirectory } from "./directory-marks.ts";
import type { CommandContext } from "../framework/command.ts";
import { StartServer } from "./start-server.ts";
import { brokerCommandOf, verbosity } from "../commands/start.ts";

const EXIT_TIMEOUT_SECONDS = 20;
const SIGNALLED_EXIT_SECONDS = 2;
/** How often a broker is started again, and how long after its death. */
const RESPAWNS_MAX = 100;
const RESPAWN_DELAY_MS = 1000;
const SIGKILL: number = SIGNALS["SIGKILL"]!;

interface Member {
  readonly rank: number;
  child: ChildProcess | null;
  pmi: PmiConnection | null;
  exitCode: number | null;
  /** Process groups that the broker has started. */
  readonly groups: Set<number>;
  /** Temporary directories that the broker has made. */
  readonly directories: Set<string>;
  readonly reports: LineReader;
  /** How often it was started again. */
  respawns: number;
  /** It is about to be started again. */
  isRespawning: boolean;
}

/** Starts the brokers and waits for them. Resolves with the exit code of the instance. */
export async function startMany(
  context: CommandContext,
  size: number,
  words: readonly string[],
  program: readonly string[],
): Promise<number> {
  const ports = await context.ports();
  const given = context.options.text("test-rundir") ?? context.options.text("rundir");
  const isNew = given === null || ports.disk.info(given) === null;
  if (given !== null && isNew && context.options.has("test-rundir"))
    context.fail(`${given}: No such file or directory`);
  if (given !== null && !isNew && ports.disk.info(given)?.kind !== "directory")
    context.fail(`${given}: not a directory`);
  const rundir = given ?? ports.disk.makeTemporaryDirectory(`${ports.host.temporaryDirectory}/flux-`);
  if (given !== null && isNew) ports.disk.makeDirectory(given, { mode: 0o700 });
  if (given === null) markDirectory(rundir, "owner");
  sweepDirectories(ports);
  const isRemoved =
    given === null || context.options.has("test-rundir-cleanup") || (isNew && context.options.has("rundir"));
  try {
    const own = isRemoved ? words : ["--setattr=rundir-cleanup=0", ...words];
    return await new TestInstance(context, ports, size, rundir, own, program).run();
  } finally {
    if (isRemoved) ports.disk.remove(rundir);
  }
}

/** Runs a broker under another program (`--wrap`). */
export async function runWrapped(context: CommandContext, argv: readonly string[]): Promise<number> {
  const ports = await context.ports();
  const { env, cwd } = ports.host;
  return new Promise((resolve) => {
    const child = ports.exec.spawn(
      { argv, env, cwd, stdin: "inherit", stdout: "inherit", stderr: "inherit", newProcessGroup: false },
      { output: () => {}, exit: (status) => resolve(exitCodeOfStatus(status)) },
    );
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) context.onSignal(name, () => child.kill(SIGNALS[name]!));
  });
}

class TestInstance {
  readonly #context: CommandContext;
  readonly #ports: Ports;
  readonly #size: number;
  readonly #rundir: string;
  readonly #words: readonly string[];
  readonly #program: readonly string[];
  readonly #members: Member[];
  readonly #server: PmiServer;
  readonly #verbosity: number;
  #exitTimer: { cancel(): void } | null = null;
  #isSignalled = false;
  /** No broker is started any more. */
  #isEnding = false;
  #resolve: (exitCode: number) => void = () => {};
  #control: StartServer | null = null;

  constructor(
    context: CommandContext,
    ports: Ports,
    size: number,
    rundir: string,
    words: readonly string[],
    program: readonly string[],
  ) {
    this.#context = context;
    this.#ports = ports;
    this.#size = size;
    this.#rundir = rundir;
    this.#words = words;
    this.#program = program;
    this.#verbosity = verbosity(context);
    this.#members = Array.from({ length: size }, (_, rank) => ({
      rank,
      child: null,
      pmi: null,
      exitCode: null,
      groups: new Set(),
      directories: new Set(),
      reports: new LineReader(),
      respawns: 0,
      isRespawning: false,
    }));
    this.#server = this.#makeServer();
  }

  run(): Promise<number> {
    const { options } = this.#context;
    const onlyLeader = options.text("test-start-mode") === "leader";
    const timeout = this.#exitTimeout();
    const starting = this.#members.filter(({ rank }) => rank === 0 || !onlyLeader);
    if (this.#verbosity > 0) for (const { rank } of starting) this.#say(`${rank}: ${this.#argv(rank).join(" ")}`);
    if (options.has("noexec")) return Promise.resolve(0);
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) this.#context.onSignal(name, () => this.#passSignal(name));
    return this.#serveControl(timeout).then(
      () =>
        new Promise((resolve) => {
          this.#resolve = resolve;
          for (const member of starting) this.#start(member, timeout);
        }),
    );
  }

  /** Lets programs ask for the brokers' state, and start, signal and await them (`FLUX_START_URI`). */
  async #serveControl(timeout: number): Promise<void> {
    const memberOf = (rank: number): Member => {
      const member = this.#members[rank];
      if (member === undefined) throw new FluxError("ESRCH", `rank ${rank} broker process not found`);
      return member;
    };
    this.#control = new StartServer(this.#ports, {
      pids: () => this.#members.map(({ child }) => child?.pid ?? -1),
      // A broker that is gone, or was never started, needs no signal.
      kill: (rank, signum) => void memberOf(rank).child?.kill(signum),
      exitCode: (rank) => memberOf(rank).exitCode,
      say: (text) => {
        if (this.#verbosity > 0) this.#say(text);
      },
      isRunning: (rank) => memberOf(rank).child !== null,
      run: (rank) => {
        const member = memberOf(rank);
        if (member.child !== null) throw new FluxError("EEXIST", `rank ${rank} is already running`);
        member.exitCode = null;
        this.#start(member, timeout);
      },
    });
    await this.#control.listen(this.#controlPath);
  }

  get #controlPath(): string {
    return `${this.#rundir}/start`;
  }

  #say(text: string): void {
    this.#context.err(`flux-start: ${text}\n`);
  }

  #exitTimeout(): number {
    const text = this.#context.options.text("test-exit-timeout");
    try {
      return text === null ? EXIT_TIMEOUT_SECONDS : parseFsd(text);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      return this.#context.fail(`Invalid argument for option 'test-exit-timeout': '${text}'`);
    }
  }

  /** A terminal's signals reach the leader by themselves where it shares the terminal. */
  #passSignal(name: string): void {
    const leader = this.#members[0]!;
    this.#isSignalled = true;
    if (name === "SIGINT" && this.#sharesTerminal(leader.rank)) return;
    leader.child?.kill(SIGNALS[name]!);
  }

  #sharesTerminal(rank: number): boolean {
    return rank === 0 && this.#context.stdinIsTerminal;
  }

  #makeServer(): PmiServer {
    const clique = this.#context.options.text("test-pmi-clique") ?? "single";
    const mapping: Readonly<Record<string, string>> = {
      single: `(vector,(0,1,${this.#size}))`,
      "per-broker": `(vector,(0,${this.#size},1))`,
      none: "",
    };
    const value = mapping[clique] ?? Taskmap.parse(clique).toPmi();
    return new PmiServer({
      kvsname: "-",
      universeSize: this.#size,
      localSize: this.#size,
      preset: value === "" ? {} : { PMI_process_mapping: value },
      abort: (rank, exitCode, message) => {
        this.#say(`${rank}: PMI_Abort()${message === null ? "" : `: ${message}`}`);
        const member = this.#members[rank]!;
        member.exitCode ??= exitCode;
        this.#killAll();
      },
      ...(this.#verbosity > 1
        ? { trace: (rank, direction, line) => this.#context.err(`${rank}: ${direction}: ${line}\n`) }
        : {}),
    });
  }

  #argv(rank: number): string[] {
    const { options } = this.#context;
    const wrap = (options.text("wrap") ?? "").split(",").filter((word) => word !== "");
    const hosts = options.text("test-hosts");
    const hostname = hosts === null ? undefined : Hostlist.parse(hosts).nth(rank);
    const isAgain = this.#members[rank]!.respawns > 0;
    const own = [`--setattr=rundir=${this.#rundir}`];
    if (options.has("respawn"))
      own.push(`--setattr=broker.respawn=${isAgain ? RESPAWNED : "first"}`, `--setattr=statedir=${this.#rundir}/state`);
    if (hostname !== undefined) own.push(`--setattr=hostname=${hostname}`);
    return [...wrap, ...brokerCommandOf(this.#context), ...own, ...this.#words, ...(rank === 0 ? this.#program : [])];
  }

  #start(member: Member, timeout: number): void {
    const { rank } = member;
    const { env, cwd } = this.#ports.host;
    try {
      member.child = this.#ports.exec.spawn(
        {
          argv: this.#argv(rank),
          env: {
            ...env,
            PMI_RANK: String(rank),
            PMI_SIZE: String(this.#size),
            FLUX_START_URI: `local://${this.#controlPath}`,
          },
          cwd,
          stdin: rank === 0 ? "inherit" : "null",
          stdout: "inherit",
          stderr: "inherit",
          channels: ["PMI_FD", LIFELINE_VARIABLE],
          newProcessGroup: !this.#sharesTerminal(rank),
        },
        {
          output: (stream, chunk) => this.#receive(member, stream, chunk),
          exit: (status) => this.#ended(member, status, timeout),
        },
      );
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#say(`${rank}: ${error.message}`);
      member.exitCode = 127;
      this.#killAll();
      return this.#checkEnd();
    }
    const { child } = member;
    member.pmi = this.#server.connect(rank, (bytes) => void child.write("PMI_FD", bytes), member.respawns > 0);
  }

  #receive(member: Member, stream: string, chunk: Uint8Array | null): void {
    if (chunk === null) return;
    if (stream === LIFELINE_VARIABLE) return this.#takeReports(member, chunk);
    if (stream !== "PMI_FD" || member.pmi === null) return;
    try {
      member.pmi.feed(chunk);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#say(`${member.rank}: ${error.message}`);
      member.child?.kill(SIGKILL);
    }
  }

  /** `+PID` and `-PID`: process groups begun and ended; `=PATH`: a temporary directory made. */
  #takeReports(member: Member, chunk: Uint8Array): void {
    for (const line of member.reports.feed(chunk)) {
      if (line.startsWith("=")) {
        member.directories.add(line.slice(1));
        continue;
      }
      const pid = Number(line.slice(1));
      if (line.startsWith("+")) member.groups.add(pid);
      else member.groups.delete(pid);
    }
  }

  #ended(member: Member, status: number, timeout: number): void {
    const pid = member.child?.pid ?? 0;
    member.child = null;
    member.exitCode ??= exitCodeOfStatus(status);
    const signum = signalOfStatus(status);
    if (signum !== 0) {
      this.#say(`${member.rank} (pid ${pid}) ${signalSentence(signum)}`);
      // It could not end what it had started.
      for (const group of member.groups) this.#ports.exec.kill(group, SIGKILL, { group: true });
      for (const path of member.directories) this.#ports.disk.remove(path);
    }
    if (signum === 0 && status !== 0)
      this.#say(`${member.rank} (pid ${pid}) exited with rc=${exitCodeOfStatus(status)}`);
    if (signum !== 0 && this.#respawn(member, timeout)) return;
    // Until the brokers know each other none can go on without it.
    if (member.pmi?.isActive === true) this.#killAll();
    const isTrigger = member.rank === 0 || this.#context.options.text("test-exit-mode") !== "leader";
    // A leader that a signal has ended before it could take others along.
    const seconds = this.#isSignalled && signum !== 0 ? Math.min(timeout, SIGNALLED_EXIT_SECONDS) : timeout;
    if (isTrigger && this.#exitTimer === null && Number.isFinite(seconds))
      this.#exitTimer = this.#ports.clock.after(seconds * 1000, () => this.#killAll());
    this.#control?.ended(member.rank, member.exitCode);
    this.#checkEnd();
  }

  /** Starts a broker that died again, where that was asked for. Returns whether it does. */
  #respawn(member: Member, timeout: number): boolean {
    const mayRespawn = this.#context.options.has("respawn") && !this.#isSignalled && !this.#isEnding;
    if (!mayRespawn || member.pmi?.isActive === true || member.respawns >= RESPAWNS_MAX) return false;
    member.respawns++;
    member.isRespawning = true;
    member.exitCode = null;
    member.groups.clear();
    this.#say(`${member.rank}: starting it again`);
    // What it had started is being ended meanwhile.
    this.#ports.clock.after(RESPAWN_DELAY_MS, () => {
      member.isRespawning = false;
      if (!this.#isEnding) this.#start(member, timeout);
      this.#checkEnd();
    });
    return true;
  }

  #killAll(): void {
    this.#isEnding = true;
    for (const { child } of this.#members) child?.kill(SIGKILL);
  }

  #checkEnd(): void {
    if (this.#members.some(({ child, isRespawning }) => child !== null || isRespawning)) return;
    this.#exitTimer?.cancel();
    void this.#control?.close();
    const codes = this.#members.map(({ exitCode }) => exitCode ?? 0);
    const isLeaderMode = this.#context.options.text("test-exit-mode") === "leader";
    this.#resolve(isLeaderMode ? codes[0]! : Math.max(...codes));
  }
}
