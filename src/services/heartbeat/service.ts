/**
 * The pulse of an instance: the leader publishes the event `heartbeat.pulse` at a fixed period, for work that is to
 * happen at the same time everywhere. Followers count what they hear.
 *
 * Arguments: `period=FSD`. Configuration: `[heartbeat]` with `period` and `timeout` (flux-config-heartbeat(5)).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { parseFsd } from "../../formats/duration.ts";
import type { ModuleContext, ModuleDefinition, RunningModule } from "../../sdk/module.ts";
import { ANYONE } from "../../sdk/service.ts";

export const PULSE_TOPIC = "heartbeat.pulse";
const PERIOD_SECONDS = 2;
const TIMEOUT_SECONDS = 300;
const WARN_THRESHOLD = 3;

interface Settings {
  readonly period: number;
  readonly timeout: number;
}

/** A number of seconds, or a duration. Throws EINVAL. */
function secondsOf(config: JsonObject, key: string, fallback: number): number {
  const value = config[key];
  if (value === undefined) return fallback;
  const seconds = typeof value === "number" ? value : typeof value === "string" ? parseFsd(value) : Number.NaN;
  if (!(seconds > 0)) throw new FluxError("EINVAL", `heartbeat.${key} must be a duration greater than 0`);
  return seconds;
}

/** Throws EINVAL with a sentence that names the key. */
export function heartbeatSettings(config: JsonObject, args: readonly string[]): Settings {
  const table = isJsonObject(config["heartbeat"]) ? config["heartbeat"] : {};
  let period = secondsOf(table, "period", PERIOD_SECONDS);
  for (const word of args) {
    if (!word.startsWith("period=")) throw new FluxError("EINVAL", `heartbeat: unknown option '${word}'`);
    period = secondsOf({ period: word.slice("period=".length) }, "period", PERIOD_SECONDS);
  }
  return { period, timeout: secondsOf(table, "timeout", TIMEOUT_SECONDS) };
}

async function start(context: ModuleContext): Promise<RunningModule> {
  const { handle, server, ports, rank, args } = context;
  let settings = heartbeatSettings(context.config(), args);
  let count = 0;
  let timer: TimerHandle | null = null;
  const beat = (): void => {
    timer = ports.clock.after(settings.period * 1000, beat, { background: true });
    handle.sendEvent(PULSE_TOPIC);
  };
  server.add(context.name, {
    "stats-get": {
      roles: ANYONE,
      handler: () => ({ ...settings, count, warn_thresh: WARN_THRESHOLD }),
    },
  });
  await handle.subscribe(PULSE_TOPIC, () => count++, { ownerOnly: true });
  if (rank === 0) timer = ports.clock.after(settings.period * 1000, beat, { background: true });
  return {
    configure: (config) => {
      settings = heartbeatSettings(config, args);
    },
    stop: () => timer?.cancel(),
  };
}

export const heartbeatModule: ModuleDefinition = { name: "heartbeat", start };
