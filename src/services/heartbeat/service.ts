/**
 * The pulse of an instance: the leader publishes the event `heartbeat.pulse` at a fixed period, for work that is to
 * happen at the same time everywhere. Followers count what they hear, and leave an instance whose pulse has stopped.
 *
 * Arguments: `period=FSD`. Configuration: `[heartbeat]` with `period`, `timeout`, `warn_thresh` (flux-config-heartbeat(5)).
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, realNumber, type JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { formatDuration, tryParseFsd } from "../../formats/duration.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import { ANYONE } from "../../sdk/service.ts";

export const PULSE_TOPIC = "heartbeat.pulse";
const PERIOD_SECONDS = 2;
const TIMEOUT_SECONDS = 300;
const WARN_THRESHOLD = 3;
/** How "never" is told. */
const NO_TIMEOUT = -1;

interface Settings {
  /** Seconds. */
  readonly period: number;
  /** Seconds; Infinity where followers never leave. */
  readonly timeout: number;
  /** Periods. */
  readonly warnThreshold: number;
}

const KEYS = ["period", "timeout", "warn_thresh"];

function refusal(reason: string): FluxError {
  return new FluxError("EINVAL", reason);
}

/** A duration in seconds. Throws EINVAL. */
function secondsOf(config: JsonObject, key: string, fallback: number): number {
  const value = config[key];
  if (value === undefined) return fallback;
  if (typeof value !== "string")
    throw refusal(`error reading [heartbeat] config table: ${key}: Expected string, like "5s"`);
  const seconds = tryParseFsd(value);
  if (seconds === null) throw refusal(`error parsing heartbeat.${key} FSD value '${value}'`);
  return seconds;
}

/** The period that `period=FSD` asks for; null where no argument does. Throws EINVAL. */
function periodOf(args: readonly string[]): number | null {
  let period: number | null = null;
  for (const word of args) {
    if (!word.startsWith("period=")) throw refusal(`${word}: unknown option`);
    period = tryParseFsd(word.slice("period=".length));
    if (period === null) throw refusal("period: error parsing FSD: Invalid argument");
  }
  return period;
}

/** Throws EINVAL with a sentence that names the key. */
export function heartbeatSettings(config: JsonObject, args: readonly string[]): Settings {
  const table = config["heartbeat"] ?? {};
  if (!isJsonObject(table)) throw refusal("error reading [heartbeat] config table: Expected object");
  const stray = Object.keys(table).find((key) => !KEYS.includes(key));
  if (stray !== undefined) throw refusal(`error reading [heartbeat] config table: unknown key ${stray}`);
  const threshold = table["warn_thresh"] ?? WARN_THRESHOLD;
  if (!Number.isInteger(threshold))
    throw refusal("error reading [heartbeat] config table: warn_thresh: Expected integer");
  if ((threshold as number) < 1) throw refusal("heartbeat.warn_thresh must be positive");
  const timeout = secondsOf(table, "timeout", TIMEOUT_SECONDS) || Infinity;
  const period = periodOf(args) ?? secondsOf(table, "period", PERIOD_SECONDS);
  if (period === 0 || period === Infinity) throw refusal("heartbeat.period must be a positive FSD value");
  if (timeout < 2 * period) throw refusal("heartbeat.timeout must be >= 2*heartbeat.period, infinity, or 0");
  return { period, timeout, warnThreshold: threshold as number };
}

async function start(context: ModuleContext): Promise<RunningModule> {
  const { handle, server, ports, rank, args } = context;
  const state = { settings: heartbeatSettings(context.config(), args), count: 0 };
  let timer: TimerHandle | null = null;
  const listener = rank === 0 ? null : new Listener(context, () => state.settings);
  const beat = (): void => {
    timer = ports.clock.after(state.settings.period * 1000, beat, { background: true });
    if (listener !== null) return listener.look();
    handle.publish(PULSE_TOPIC).then(
      () => state.count++,
      (error: unknown) => context.log(LogLevel.err, `error publishing ${PULSE_TOPIC}: ${errorText(error)}`),
    );
  };
  server.add(context.name, {
    "stats-get": {
      roles: ANYONE,
      handler: () => {
        const { period, timeout, warnThreshold } = state.settings;
        return {
          period: realNumber(period),
          timeout: realNumber(Number.isFinite(timeout) ? timeout : NO_TIMEOUT),
          count: state.count,
          warn_thresh: warnThreshold,
        };
      },
    },
  });
  const hear = (): void => {
    state.count++;
    listener?.hear();
  };
  if (listener !== null) await handle.subscribe(PULSE_TOPIC, hear, { ownerOnly: true });
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
