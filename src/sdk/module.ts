/**
 * What a broker service is made of: a definition that starts, given its surroundings, and an instance that stops.
 * The broker loads services by name (`flux module load`); a service knows nothing of the broker but this.
 */
import type { JsonObject } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import type { Handle } from "./handle.ts";
import type { Server } from "./service.ts";

/** Severities of RFC 5424, as the log has them. */
export const LogLevel = {
  emerg: 0,
  alert: 1,
  crit: 2,
  err: 3,
  warning: 4,
  notice: 5,
  info: 6,
  debug: 7,
} as const;
export type LogLevel = (typeof LogLevel)[keyof typeof LogLevel];

export interface ModuleContext {
  /** The name it was loaded under; its service name. */
  readonly name: string;
  /** Arguments of `flux module load`. */
  readonly args: readonly string[];
  readonly rank: number;
  readonly size: number;
  readonly handle: Handle;
  /** Answers requests on `handle`; the service NAME is registered already, more names through `addService`. */
  readonly server: Server;
  readonly ports: Ports;
  /** The value of a broker attribute on this rank, or null. A module in a process of its own knows those that never change. */
  attribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  /** The instance's configuration (TOML tables as objects), as of the last (re)load. */
  config(): JsonObject;
  /** The user id that owns the instance. */
  readonly ownerUserid: number;
  log(level: LogLevel, text: string): void;
  /** Registers a further service name with the broker. Throws EEXIST. */
  addService(name: string): Promise<void>;
  removeService(name: string): Promise<void>;
  /** Stops the broker: state that must not be wrong is wrong. */
  fatal(error: unknown): void;
}

export interface RunningModule {
  /** Takes a new configuration. Throws FluxError to refuse it, with a sentence that names the key. */
  configure?(config: JsonObject): void | Promise<void>;
  /** Ends the service; afterwards it has no timer, no request and no file open. */
  stop(): void | Promise<void>;
}

export interface ModuleDefinition {
  readonly name: string;
  /** Resolves when the service answers requests. Throws FluxError when it cannot start. */
  start(context: ModuleContext): Promise<RunningModule> | RunningModule;
}
