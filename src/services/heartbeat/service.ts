/**
 * The pulse of an instance: the leader publishes the event `heartbeat.pulse` at a fixed period, for work that is to
 * happen at the same time everywhere. Followers count what they hear, and leave an instance whose pulse has stopped.
 *
 * Arguments: `period=FSD`. Configuration: `[heartbeat]` with `period`, `timeout`, `warn_thresh` (flux-config-heartbeat(5)).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { formatDuration, tryParseFsd } from "../../formats/duration.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { ANYONE } from "../../sdk/service.ts";

export const PULSE_TOPIC = "heartbeat.pulse";
const PERIOD_SECONDS = 2;
const TIMEOUT_SECONDS = 300;
const WARN_THRESHOLD = 3;

interface Settings {
  /** Seconds. */
  readonly period: number;
  /** Seconds; Infinity where followers never leave. */
  readonly timeout: number;
  /** Periods. */
  readonly warnThreshold: number;
}

const KEYS = ["period", "timeout", "warn_thresh"];

/** A duration in seconds. Throws EINVAL. */
function secondsOf(config: JsonObject, key: string, fallback: number): number {
  const value = config[key];
  if (value === undefined) return fallback;
  if (typeof value !== "string") throw new FluxError("EINVAL", `heartbeat.${key} must be a duration, like "5s"`);
  const seconds = tryParseFsd(value);
  if (seconds === null) throw new FluxError("EINVAL", `error parsing heartbeat.${key} FSD value '${value}'`);
  return seconds;
}

/** Throws EINVAL with a sentence that names the key. */
export function heartbeatSettings(config: JsonObject, args: readonly string[]): Settings {
  const table = config["heartbeat"] ?? {};
  if (!isJsonObject(table)) throw new FluxError("EINVAL", "error reading [heartbeat] config table: not a table");
  const stray = Object.keys(table).find((key) => !KEYS.includes(key));
  if (stray !== undefined)
    throw new FluxError("EINVAL", `error reading [heartbeat] config table: unknown key ${stray}`);
  const threshold = table["warn_thresh"] ?? WARN_THRESHOLD;
  if (!Number.isInteger(threshold) || (threshold as number) < 1)
    throw new FluxError("EINVAL", "heartbeat.warn_thresh must be an integer of at least 1");
  const timeout = secondsOf(table, "timeout", TIMEOUT_SECONDS);
  const given = args.map((word) => {
    if (!word.startsWith("period=")) throw new FluxError("EINVAL", `heartbeat: ${word}: unknown option`);
    return word.slice("period=".length);
  });
  const period = secondsOf(given.length === 0 ? table : { period: given.at(-1)! }, "period", PERIOD_SECONDS);
  if (period === 0) throw new FluxError("EINVAL", "heartbeat.period must be greater than 0");
  if (timeout !== 0 && timeout <= period)
    throw new FluxError("EINVAL", "heartbeat.timeout must be greater than heartbeat.period, or 0 for none");
  return { period, timeout: timeout === 0 ? Infinity : timeout, warnThreshold: threshold as number };
}

async function start(context: ModuleContext): Promise<RunningModule> {
  const { handle, server, ports, rank, args } = context;
  const state = { settings: heartbeatSettings(context.config(), args), count: 0 };
  let timer: TimerHandle | null = null;
  const listener = rank === 0 ? null : new Listener(context, () => state.settings);
  const beat = (): void => {
    timer = ports.clock.after(state.settings.period * 1000, beat, { background: true });
    if (listener === null) handle.sendEvent(PULSE_TOPIC);
    else listener.look();
  };
  server.add(context.name, {
    "stats-get": {
      roles: ANYONE,
      handler: () => {
        const { period, timeout, warnThreshold } = state.settings;
        return {
          period,
          timeout: Number.isFinite(timeout) ? timeout : 0,
          warn_thresh: warnThreshold,
          count: state.count,
        };
      },
    },
  });
  const hear = (): void => {
    state.count++;
    listener?.hear();
  };
  await handle.subscribe(PULSE_TOPIC, hear, { ownerOnly: true });
  beat();
  return {
    configure: (config) => {
      const before = state.settings;
      state.settings = heartbeatSettings(config, args);
      if (state.settings.period === before.period) return;
      timer?.cancel();
      beat();
    },
    stop: () => timer?.cancel(),
  };
}

/** A follower that waits for pulses: says when they are overdue, and leaves the instance when none has come for too long. */
class Listener {
  readonly #context: ModuleContext;
  readonly #settings: () => Settings;
  #lastMs: number;
  #isOverdue = false;

  constructor(context: ModuleContext, settings: () => Settings) {
    this.#context = context;
    this.#settings = settings;
    this.#lastMs = context.ports.clock.monotonicMs();
  }

  hear(): void {
    if (this.#isOverdue) this.#context.log(LogLevel.warning, "heartbeat received");
    this.#isOverdue = false;
    this.#lastMs = this.#context.ports.clock.monotonicMs();
  }

  /** Called once a period. */
  look(): void {
    const { period, timeout, warnThreshold } = this.#settings();
    const { handle, ports, rank, log } = this.#context;
    const silent = (ports.clock.monotonicMs() - this.#lastMs) / 1000;
    if (!this.#isOverdue && silent > period * warnThreshold) {
      this.#isOverdue = true;
      log(LogLevel.warning, "heartbeat overdue");
    }
    if (silent <= timeout) return;
    const reason = `no heartbeat for ${formatDuration(timeout)}`;
    handle.send("overlay.disconnect-parent", { reason }, { nodeid: rank });
  }
}

export const heartbeatModule: ModuleDefinition = { name: "heartbeat", start };
