/**
 * The subprocess server of a job's shell (`<service>.rexec`, RFC 42): programs that the job's owner starts beside the tasks,
 * with `flux exec --jobid` or a debugger.
 *
 * Invariant: none outlives the shell. When the node's tasks have ended they get SIGTERM, and after `rexec-shutdown-timeout`
 * SIGKILL.
 */
import { FluxError } from "../../base/errors.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import { SubprocessServer } from "../../sdk/subprocess-server.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext, type ShellPlugin } from "../plugin.ts";

const COMPONENT = "rexec";
const PREFIX = `${COMPONENT}.`;
const SHUTDOWN_TIMEOUT_SECONDS = 60;

export const rexecPlugin: PluginFactory = (shell) => {
  const { options } = shell.plan;
  const seconds = options.seconds("rexec-shutdown-timeout", SHUTDOWN_TIMEOUT_SECONDS);
  // A number says no unit.
  if (seconds === null || typeof options.value("rexec-shutdown-timeout") === "number")
    throw new FluxError("EINVAL", "failed to parse rexec-shutdown-timeout");
  shell.log(ShellLogLevel.debug, `registered rexec service as ${shell.serviceName}.${COMPONENT}`, COMPONENT);
  return new RexecPlugin(shell, seconds, options.isOn("rexec.sign-required"));
};

class RexecPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  readonly #shutdownSeconds: number;
  /** Requests are to be signed, which none can be here: all are refused. */
  readonly #isClosed: boolean;
  /** Made for the first request: most jobs get none. */
  #server: SubprocessServer | null = null;
  #emptied: (() => void) | null = null;
  #timer: TimerHandle | null = null;

  constructor(shell: ShellContext, shutdownSeconds: number, isClosed: boolean) {
    this.#shell = shell;
    this.#shutdownSeconds = shutdownSeconds;
    this.#isClosed = isClosed;
  }

  methods(): Methods {
    this.#server ??= this.#make();
    return this.#server.methods({ prefix: PREFIX, roles: ANY_USER });
  }

  #make(): SubprocessServer {
    const { host, plan } = this.#shell;
    const { exec, disk } = host.ports;
    return new SubprocessServer({
      rank: host.rank,
      exec,
      authorize: () => {
        if (this.#isClosed) throw new FluxError("EPERM", "Access denied");
      },
      isDirectory: (path) => disk.info(path)?.kind === "directory",
      cwd: plan.cwd,
      environment: () => plan.environment,
      localUri: () => host.uri,
      log: (kind, name, text) => {
        const level = kind === "stderr" ? ShellLogLevel.error : ShellLogLevel.debug;
        for (const line of text.split("\n")) if (line !== "") this.#shell.log(level, `${name}: ${line}`);
      },
      emptied: () => this.#emptied?.(),
    });
  }

  /** The tasks have ended: so are the programs beside them. */
  finish(): void | Promise<void> {
    const server = this.#server;
    if (server === null || server.count === 0) return;
    const ended = new Promise<void>((resolve) => (this.#emptied = resolve));
    server.killAll(SIGNALS["SIGTERM"]!);
    if (this.#shutdownSeconds < Infinity)
      this.#timer = this.#shell.clock.after(this.#shutdownSeconds * 1000, () => server.killAll(SIGNALS["SIGKILL"]!));
    return ended;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#server?.close();
  }
}
