/**
 * How the shells of a job are run: by the shell hosts of its ranks, or, where the configuration or the job names a job
 * shell (`exec.job-shell` of flux-config-exec(5), `attributes.system.exec.job_shell`), as a program of its own on each
 * rank, through the subprocess servers.
 *
 * Such a program, which may hand the job on to `flux shell`, is called with the job id as its argument and with
 * FLUX_KVS_NAMESPACE in its environment. It may enter the job's barrier (`job-exec.shell-barrier`), and hears signals for
 * the tasks as the event `shell-<id>.kill`. What it prints is kept in the exec.eventlog.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, statusOfExit } from "../../base/signals.ts";
import { Idset } from "../../formats/idset.ts";
import { ownShellService, type ShellStart } from "../../protocol/shell-host.ts";
import { BulkCommand } from "../../sdk/bulk-command.ts";
import type { JobMethod } from "./host-link.ts";
import type { ExecWorld } from "./world.ts";

/** What a shell says of a program that is not there, or cannot be run. */
const STATUS_NOT_FOUND = statusOfExit(EXIT_NOT_FOUND);
const STATUS_NOT_EXECUTABLE = statusOfExit(EXIT_NOT_EXECUTABLE);
/** Subprocess services that are part of flux-core; who names another has made a mistake. */
const SERVICES: readonly string[] = ["rexec", "sdexec"];

/** `level` as in the shell's log. */
export interface ShellLogLine {
  readonly level: number;
  readonly message: string;
  readonly component: string;
}

export interface Shells {
  /** Hands the job over, on ranks. */
  start(ranks: readonly number[]): void;
  /** Signals the tasks. */
  kill(ranks: readonly number[], signum: number): void;
  /** Gives the shells up. */
  destroy(ranks: readonly number[], signum: number): void;
  setExpiration(ranks: readonly number[], expiration: number): void;
  /** Takes a shell back that has not been handed over. */
  withdraw(rank: number): boolean;
  /** All shells of the job have ended. */
  release(leader: number): void;
  /** A line for the log in the job's output. */
  log(leader: number, line: ShellLogLine): void;
}

/** Throws FluxError EINVAL, ENOSYS where the configured subprocess service cannot be had. */
export function checkService(service: string, where: string): void {
  if (!SERVICES.includes(service))
    throw new FluxError("EINVAL", `failed to initialize implementation: unsupported exec.service value: ${service}`);
  if (service !== "rexec") throw new FluxError("ENOSYS", `${service} service is not loaded on ${where}`);
}

export class HostedShells implements Shells {
  readonly #world: ExecWorld;
  readonly #job: ShellStart;

  constructor(world: ExecWorld, job: ShellStart) {
    this.#world = world;
    this.#job = job;
  }

  start(ranks: readonly number[]): void {
    for (const rank of ranks) this.#world.link(rank).start(this.#job);
  }

  kill(ranks: readonly number[], signum: number): void {
    this.#tell(ranks, "kill", { signum });
  }

  destroy(ranks: readonly number[], signum: number): void {
    this.#tell(ranks, "destroy", { signum });
  }

  setExpiration(ranks: readonly number[], expiration: number): void {
    this.#tell(ranks, "expiration", { expiration });
  }

  withdraw(rank: number): boolean {
    return this.#world.link(rank).withdraw(this.#job.id);
  }

  release(leader: number): void {
    this.#tell([leader], "release", {});
  }

  log(leader: number, line: ShellLogLine): void {
    this.#tell([leader], "log", line);
  }

  #tell(ranks: readonly number[], method: JobMethod, payload: object): void {
    for (const rank of ranks) this.#world.link(rank).tell(method, { id: this.#job.id, ...payload });
  }
}

export interface ProgramShellsListener {
  /** The shells of all ranks run. */
  started(): void;
  /** A shell could not be started: what it would have ended with, and why. */
  failed(rank: number, status: number, why: string): void;
  exited(rank: number, status: number): void;
  /** An entry for the exec.eventlog. */
  log(name: string, context: JsonObject): void;
}

export class ProgramShells implements Shells {
  readonly #world: ExecWorld;
  readonly #id: Integer;
  readonly #command: BulkCommand;
  readonly #notStarted = new Set<number>();
  #isSignaled = false;

  constructor(world: ExecWorld, id: Integer, path: string, ranks: readonly number[], listener: ProgramShellsListener) {
    this.#world = world;
    this.#id = id;
    const component = path.slice(path.lastIndexOf("/") + 1);
    const awaited = new Set(ranks);
    this.#command = new BulkCommand({
      handle: world.context.handle,
      argv: [path, String(id)],
      env: { FLUX_KVS_NAMESPACE: `job-${id}` },
      ranks,
      output: (rank, stream, line) => listener.log("log", { component, stream, rank: String(rank), data: `${line}\n` }),
      started: (rank) => {
        if (awaited.delete(rank) && awaited.size === 0) listener.started();
      },
      failed: (rank, why, error) => {
        this.#notStarted.add(rank);
        listener.failed(rank, error.is("ENOENT") ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE, why);
      },
      ended: (rank, status) => {
        if (!this.#notStarted.has(rank)) listener.exited(rank, status);
      },
      finished: () => undefined,
    });
  }

  start(): void {
    this.#command.start();
  }

  /** The first signal asks the shells to end, later ones are for their tasks. */
  kill(ranks: readonly number[], signum: number): void {
    if (!this.#isSignaled) this.#command.kill(signum, Idset.from(ranks));
    else
      this.#world.context.handle
        .publish(`shell-${this.#id}.kill`, { signum })
        .catch((error: unknown) =>
          this.#world.debug(`signalling job ${this.#world.idText(this.#id)}: ${String(error)}`),
        );
    this.#isSignaled = true;
  }

  destroy(ranks: readonly number[], signum: number): void {
    this.#command.kill(signum, Idset.from(ranks));
  }

  /** For `flux shell`; other programs watch the job's resources themselves. */
  setExpiration(ranks: readonly number[], expiration: number): void {
    for (const rank of ranks) this.#tell(rank, "expiration", { expiration });
  }

  withdraw(): boolean {
    return false;
  }

  release(): void {}

  log(leader: number, line: ShellLogLine): void {
    this.#tell(leader, "log", line);
  }

  #tell(nodeid: number, method: JobMethod, payload: object): void {
    const { handle } = this.#world.context;
    handle.send(`${ownShellService(this.#id)}.${method}`, { id: this.#id, ...payload }, { nodeid });
  }
}
