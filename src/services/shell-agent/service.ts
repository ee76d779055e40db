/**
 * The agent of one broker that keeps its shell host: starts the process `flux shell-host` when it is first asked for, and
 * tells whoever asked when it is ready and when it has ended. Runs on every rank.
 *
 * Invariants: at most one shell host runs under an agent; a request is answered `ready` once and stays open until the
 * host has ended. The host is started with the address of this broker, and ends when the broker does.
 *
 * | topic             | role  | request    | response                                                            |
 * |-------------------|-------|------------|---------------------------------------------------------------------|
 * | shell-agent.run   | owner | streaming  | {ready: true}; when the host has ended {ended: status}, ECONNRESET  |
 * | shell-agent.ready | owner | {pid}      | empty; from the shell host                                          |
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { ChildProcess, WaitStatus } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence, SIGNALS } from "../../base/signals.ts";
import { SHELL_AGENT_SERVICE, SHELL_HOST_URI } from "../../protocol/shell-host.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANYONE } from "../../sdk/service.ts";

/** How long a host may take to end by itself when the agent stops, in milliseconds. */
const STOP_TIMEOUT_MS = 2000;

export const shellAgentModule: ModuleDefinition = {
  name: SHELL_AGENT_SERVICE,
  start: (context) => new ShellAgent(context),
};

class ShellAgent implements RunningModule {
  readonly #context: ModuleContext;
  readonly #requests = new RequestSet<null>();
  #host: ChildProcess | null = null;
  #isReady = false;
  #ended: (() => void) | null = null;

  constructor(context: ModuleContext) {
    this.#context = context;
    context.server.add(context.name, {
      run: { streaming: true, handler: (request) => this.#run(request) },
      ready: () => this.#ready(),
      disconnect: { roles: ANYONE, handler: (request) => void this.#requests.takeDisconnected(request) },
    });
  }

  /** Ends the host, by force where it does not go. */
  async stop(): Promise<void> {
    const host = this.#host;
    if (host === null) return;
    const ended = new Promise<void>((resolve) => (this.#ended = resolve));
    host.kill(SIGNALS["SIGTERM"]!);
    const timer = this.#context.ports.clock.after(STOP_TIMEOUT_MS, () => host.kill(SIGNALS["SIGKILL"]!));
    await ended;
    timer.cancel();
  }

  #run(request: IncomingRequest): undefined {
    this.#requests.add(request, null);
    if (this.#host === null) this.#spawn();
    else if (this.#isReady) request.respond({ ready: true });
    return undefined;
  }

  #ready(): null {
    this.#isReady = true;
    for (const [request] of this.#requests) request.respond({ ready: true });
    return null;
  }

  #spawn(): void {
    const { host, exec, disk } = this.#context.ports;
    // A job's directory may be relative to that of its broker, which may be gone by now.
    const isThere = disk.info(host.cwd)?.kind === "directory";
    const uri = this.#context.attribute("local-uri");
    try {
      this.#host = exec.spawn(
        {
          argv: [host.fluxPath, "shell-host"],
          env: { ...host.env, ...(uri === null ? {} : { [SHELL_HOST_URI]: uri }) },
          cwd: isThere ? host.cwd : (this.#context.attribute("rundir") ?? "/"),
          stdin: "null",
          stdout: "pipe",
          stderr: "pipe",
        },
        { output: (_stream, chunk) => this.#log(chunk), exit: (status) => this.#exited(status) },
      );
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#requests.failAll(new FluxError(error.errnum, `cannot start the shell host: ${error.message}`));
    }
  }

  #log(chunk: Uint8Array | null): void {
    if (chunk !== null) this.#context.log(LogLevel.err, `shell-host: ${utf8Decode(chunk).trimEnd()}`);
  }

  #exited(status: WaitStatus): void {
    this.#host = null;
    this.#isReady = false;
    this.#ended?.();
    const how =
      signalOfStatus(status) === 0
        ? `exited with exit code ${exitCodeOfStatus(status)}`
        : `ended by a signal: ${signalSentence(signalOfStatus(status))}`;
    for (const [request] of this.#requests) request.respond({ ended: status });
    this.#requests.failAll(new FluxError("ECONNRESET", `shell host ${how}`));
  }
}
