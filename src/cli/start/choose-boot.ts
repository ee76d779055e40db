/**
 * How a broker process learns its place: by the first of the methods that is usable here. A broker that cannot learn it,
 * and is one of several that a launcher started, does not start.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { Ports } from "../../base/ports.ts";
import { singleBoot, type BootClient } from "../../broker/bootstrap.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import type { CommandContext } from "../framework/command.ts";

const METHODS_DEFAULT = "config simple slurm single";
/** The longest that a launcher, or other brokers, are waited for. */
const TIMEOUT_DEFAULT = "5m";

/** What there is to choose from. */
export interface BootSurroundings {
  readonly context: CommandContext;
  readonly ports: Ports;
  readonly attributes: Readonly<Record<string, string>>;
  readonly config: JsonObject;
}

/** What a method lacks that was asked for by name. */
const MISSING: Readonly<Record<string, string>> = {
  config: "bootstrap configuration not found",
  simple: "PMI_FD not found in environ",
};

/** Throws FluxError where no method is usable, or the chosen one does not work. */
export async function chooseBoot(surroundings: BootSurroundings): Promise<BootClient> {
  const { env } = surroundings.ports.host;
  const forced = surroundings.attributes["broker.boot-method"]?.split(":", 1)[0];
  const listed = env["FLUX_PMI_CLIENT_METHODS"];
  const methods = forced === undefined ? (listed ?? METHODS_DEFAULT).split(/[\s,]+/) : [forced];
  const wantsSingle = methods.join("") === "single";
  const tell = (text: string): void => {
    if (wantsTrace(env)) surroundings.context.err(`bootstrap: ${text}\n`);
  };
  for (const method of methods) {
    tell(`trying '${method}'`);
    if (method === "single" && !wantsSingle) await refuseCopies(env);
    const boot = await bootBy(method, surroundings);
    tell(`${method}: ${boot === null ? "not usable here" : "selected"}`);
    if (boot !== null) return boot;
    if (forced !== undefined) throw new FluxError("ENOENT", MISSING[method] ?? `method '${method}' is not usable here`);
  }
  await refuseCopies(env);
  return singleBoot();
}

const wantsTrace = (env: Readonly<Record<string, string>>): boolean =>
  env["FLUX_PMI_DEBUG"] !== undefined && env["FLUX_PMI_DEBUG"] !== "0";

/** N copies that know nothing of each other would run the initial program N times. */
async function refuseCopies(env: Readonly<Record<string, string>>): Promise<void> {
  const { describeSingletons, launcherOf } = await import("../../broker/launchers.ts");
  const launcher = launcherOf(env);
  if (launcher === null) return;
  throw new FluxError("EINVAL", `this broker is number ${launcher.rank}, ${describeSingletons(launcher)}`);
}

function timeoutOf(env: Readonly<Record<string, string>>): number {
  const text = env["FLUX_BOOT_TIMEOUT"] ?? TIMEOUT_DEFAULT;
  if (text === "none") return Infinity;
  const seconds = tryParseFsd(text);
  if (seconds === null || seconds <= 0)
    throw new FluxError("EINVAL", `FLUX_BOOT_TIMEOUT: '${text}' is not a duration, like "5m", nor "none"`);
  return seconds;
}

async function bootBy(method: string, surroundings: BootSurroundings): Promise<BootClient | null> {
  const { context, ports, attributes, config } = surroundings;
  const { env } = ports.host;
  switch (method) {
    case "config": {
      if (!isJsonObject(config["bootstrap"])) return null;
      const { configBoot } = await import("../../broker/boot-config.ts");
      const hostname = attributes["hostname"] ?? ports.host.hostname;
      return configBoot(ports, config["bootstrap"], hostname);
    }
    case "simple": {
      const { pmiBoot, pmiEnvironment } = await import("../../broker/boot-pmi.ts");
      const place = pmiEnvironment(env);
      if (place === null) return null;
      const { boundedBoot } = await import("../../broker/boot-bounded.ts");
      const trace = wantsTrace(env)
        ? (text: string): void => context.err(`bootstrap: ${place.rank}: ${text}\n`)
        : undefined;
      const boot = pmiBoot(ports.net.openDescriptor(place.descriptor), place, trace);
      return boundedBoot(boot, ports.clock, timeoutOf(env), "FLUX_BOOT_TIMEOUT sets how long to wait");
    }
    case "slurm": {
      if (env["SLURM_STEP_ID"] === undefined) return null;
      const { slurmAdvice, slurmBoot, slurmTask } = await import("../../broker/boot-slurm.ts");
      const task = slurmTask(env);
      if (task === null || task.size === 1) return null;
      const { boundedBoot } = await import("../../broker/boot-bounded.ts");
      return boundedBoot(slurmBoot(ports, task), ports.clock, timeoutOf(env), slurmAdvice(ports, task));
    }
    case "single":
      return singleBoot();
    case "libpmi":
    case "libpmi2":
    case "":
      return null;
    default:
      throw new FluxError("ENOENT", `plugin matching '${method}' not found`);
  }
}
