/**
 * A broker as a process: finds how to boot in the environment, gives the broker its ports, and carries signals and the
 * exit code between it and the operating system.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { utf8Encode } from "../../base/bytes.ts";
import type { ByteStream, Exec, Ports } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import { Broker } from "../../broker/broker.ts";
import type { BootClient } from "../../broker/bootstrap.ts";
import { formatForStderr } from "../../broker/log-record.ts";
import { BUILTIN_MODULES } from "../../broker/personality.ts";
import { resourceUsage } from "../../host/resource-usage.ts";
import { returnMemoryInQuiet } from "../../host/memory.ts";
import { chooseBoot } from "./choose-boot.ts";
import {
  keepDirectory,
  linkCommand,
  markDirectory,
  removeStaleDirectories,
  unlinkCommand,
  unmarkDirectory,
} from "./directory-marks.ts";
import { builtinValues } from "../framework/builtin-values.ts";
import type { CommandContext } from "../framework/command.ts";

const LOG_CRIT = 2;
const HANDLED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2"];
/** A descriptor whose other end is held by `flux start`: when it closes, that process is gone. */
export const LIFELINE_VARIABLE = "FLUX_START_LIFELINE_FD";

export interface BrokerCommandLine {
  readonly attributes: Readonly<Record<string, string>>;
  readonly configPath: string | null;
  /** Values of `--conf`. */
  readonly conf: readonly string[];
  readonly initialProgram: readonly string[];
}

/** Runs a broker in this process. Resolves with its exit code. */
export async function runBrokerProcess(context: CommandContext, line: BrokerCommandLine): Promise<number> {
  const lifeline = openLifeline(await context.ports());
  const ports = withReports(await context.ports(), lifeline);
  const stderr = (text: string): void => context.err(text);
  const complain = (text: string): number => {
    const { clock, host } = ports;
    const rank = line.attributes["hostname"] ?? host.hostname;
    const record = { timestamp: clock.now(), severity: LOG_CRIT, rank, appname: "broker", procid: "-", text };
    stderr(formatForStderr(record));
    return 1;
  };
  const path = line.configPath ?? ports.host.env["FLUX_CONF_DIR"] ?? null;
  const attributes = path === null ? line.attributes : { ...line.attributes, "config.path": path };
  let config: JsonObject = {};
  if (path !== null || line.conf.length > 0) {
    try {
      config = await readConfig(ports, path, line.conf);
    } catch (error) {
      if (error instanceof FluxError) return complain(`Config file error: ${error.message}`);
      throw error;
    }
  }
  let boot: BootClient;
  try {
    boot = await chooseBoot({ context, ports, attributes, config });
  } catch (error) {
    if (error instanceof FluxError) return complain(`bootstrap: ${error.message}`);
    throw error;
  }
  const reload = path === null ? null : await import("../../broker/configuration.ts");
  const broker = new Broker({
    ports,
    boot,
    attributes,
    config,
    ...(reload === null || path === null ? {} : { reloadConfig: () => reload.loadConfigPath(ports.disk, path) }),
    initialProgram: line.initialProgram,
    modules: BUILTIN_MODULES,
    stderr,
    rusage: resourceUsage,
    builtinValues: builtinValues(),
    booted: () => {
      linkCommand(broker.attribute("rundir")!, ports.host.fluxPath);
      markDirectories(broker, line.attributes, lifeline);
    },
    sharesGroup: context.stdinIsTerminal,
  });
  // What is caught here was about to end this process with its sockets, its directories and no word in the log.
  process.on("uncaughtException", (error, origin) =>
    origin === "unhandledRejection" ? broker.strayFailure(error) : broker.fault(error),
  );
  for (const name of HANDLED_SIGNALS) context.onSignal(name, () => broker.signal(SIGNALS[name]!));
  watchLifeline(lifeline, broker);
  if (lifeline === null) sweepDirectories(ports);
  returnMemoryInQuiet();
  const exitCode = await broker.run();
  leaveRundir(broker);
  return exitCode;
}

/** A run directory that stays, stays as it was. */
function leaveRundir(broker: Broker): void {
  const rundir = broker.attribute("rundir");
  if (rundir === null || broker.attribute("rundir-cleanup") !== "0") return;
  unmarkDirectory(rundir);
  if (broker.attribute("rank") === "0") unlinkCommand(rundir);
}

/** Lets others see which directories can go when this process has died: the next start, or `flux start` beside it. */
function markDirectories(broker: Broker, given: Readonly<Record<string, string>>, lifeline: ByteStream | null): void {
  for (const name of ["rundir", "statedir"]) {
    const path = broker.attribute(name);
    if (path === null) continue;
    if (path !== given[name] && broker.attribute(`${name}-cleanup`) === "1") {
      markDirectory(path, "owner");
      lifeline?.write(utf8Encode(`=${path}\n`));
    } else if (name === "rundir") markDirectory(path, "user");
    else keepDirectory(path);
  }
}

/** Removes, in the background, what brokers that were killed have left behind. */
export function sweepDirectories(ports: Ports): void {
  removeStaleDirectories([ports.host.temporaryDirectory, "/var/tmp"]).catch((error: unknown) =>
    ports.trace.event("broker", "sweep-failed", { reason: String(error) }),
  );
}

async function readConfig(ports: Ports, path: string | null, conf: readonly string[]): Promise<JsonObject> {
  const { applyConfValue, loadConfigPath } = await import("../../broker/configuration.ts");
  const config = path === null ? {} : loadConfigPath(ports.disk, path);
  return conf.reduce((merged, value) => applyConfValue(ports.disk, merged, value), config);
}

function openLifeline(ports: Ports): ByteStream | null {
  const descriptor = ports.host.env[LIFELINE_VARIABLE];
  return descriptor === undefined ? null : ports.net.openDescriptor(Number(descriptor));
}

/**
 * Tells `flux start` of every process group that is to die with this broker: it ends them where the broker cannot any
 * more. Shell hosts and guards see its end themselves, and have something to do then.
 */
function withReports(ports: Ports, lifeline: ByteStream | null): Ports {
  if (lifeline === null) return ports;
  const report = (mark: string, pid: number): void => void lifeline.write(utf8Encode(`${mark}${pid}\n`));
  const spawn: Exec["spawn"] = (options, events) => {
    const child = ports.exec.spawn(options, {
      ...events,
      output: (stream, chunk) => events.output(stream, chunk),
      exit: (status) => {
        if (options.diesWithParent === true) report("-", child.pid);
        events.exit(status);
      },
    });
    if (options.newProcessGroup !== false && options.diesWithParent === true) report("+", child.pid);
    return child;
  };
  return { ...ports, exec: { spawn, kill: (pid, signum, options) => ports.exec.kill(pid, signum, options) } };
}

/** `flux start` that is killed cannot tell its brokers: they see the end of the line. */
function watchLifeline(lifeline: ByteStream | null, broker: Broker): void {
  const cut = (): void => {
    // The leader ends last.
    if (broker.attribute("rank") === "0") broker.adoptRundir();
    broker.signal(SIGNALS["SIGTERM"]!);
  };
  lifeline?.start({ data: () => {}, close: cut });
}
