/**
 * Loads services into a broker, and removes them: each gets a port of the router, a Handle and a Server of its own.
 *
 * Invariant: a module is in the list from the moment its start begins until its stop has ended, so a name is never used
 * twice at once; what it had registered or called is cleaned up by its port.
 */
import { isBrokenInvariant } from "../base/assert.ts";
import { FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { Clock, Ports } from "../base/ports.ts";
import { Role, type Message } from "../protocol/message.ts";
import { Handle } from "../sdk/handle.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../sdk/module.ts";
import { Server } from "../sdk/service.ts";
import { describeBug } from "./log-record.ts";
import type { Port } from "./port.ts";
import type { Router } from "./router.ts";

/** What modules need of the broker that hosts them. */
export interface ModuleSurroundings {
  readonly router: Router;
  readonly ports: Ports;
  readonly ownerUserid: number;
  attribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  config(): JsonObject;
  log(component: string, level: LogLevel, text: string): void;
  fatal(component: string, error: unknown): void;
  /** Errors that nobody foresaw end the broker, too: where bugs are searched for. */
  readonly bugsAreFatal: boolean;
  rusage?(): JsonObject;
}

/** Module states as `module.list` numbers them (RFC 5). */
export const ModuleStatus = { Init: 0, Running: 1, Finalizing: 2, Exited: 3 } as const;
export type ModuleStatus = (typeof ModuleStatus)[keyof typeof ModuleStatus];

export interface LoadedModule {
  readonly name: string;
  /** What was asked for: a path, or "builtin". */
  readonly path: string;
  readonly port: Port;
  readonly server: Server;
  status: ModuleStatus;
  running: RunningModule | null;
}

/** Takes a message that a module sent or got. */
export type ModuleTap = (name: string, prefix: "tx" | "rx", message: Message) => void;

export class ModuleHost {
  readonly #surroundings: ModuleSurroundings;
  readonly #modules = new Map<string, LoadedModule>();
  #tap: ModuleTap | null = null;

  constructor(surroundings: ModuleSurroundings) {
    this.#surroundings = surroundings;
  }

  /** Lets somebody look on at the messages of all modules, also of those loaded later; null ends that. */
  setTap(tap: ModuleTap | null): void {
    this.#tap = tap;
    for (const loaded of this.#modules.values()) this.#tapInto(loaded);
  }

  #tapInto({ name, port }: LoadedModule): void {
    const tap = this.#tap;
    port.tap = tap === null ? null : (prefix, message) => tap(name, prefix, message);
  }

  /** In the order of loading. */
  get modules(): Iterable<LoadedModule> {
    return this.#modules.values();
  }

  find(name: string): LoadedModule | null {
    return this.#modules.get(name) ?? null;
  }

  /** Starts a service under a name. Rejects with EEXIST, or with what its start threw. */
  async load(
    definition: ModuleDefinition,
    options: { name?: string; path?: string; args?: readonly string[] } = {},
  ): Promise<LoadedModule> {
    const name = options.name ?? definition.name;
    if (this.#modules.has(name)) throw new FluxError("EEXIST", `module ${name} is already loaded`);
    const { router, ownerUserid, log } = this.#surroundings;
    const port = router.attach({ userid: ownerUserid, rolemask: (Role.Owner | Role.Local) >>> 0 });
    const handle = new Handle(port, {
      badEvent: (topic, error) => log(name, LogLevel.err, `${topic} event: ${error.message}`),
      bug: (where, error) => this.#contain(name, where, error),
    });
    const server = this.#serverFor(name, handle, port);
    const path = options.path ?? "builtin";
    const loaded: LoadedModule = { name, path, port, server, status: ModuleStatus.Init, running: null };
    this.#modules.set(name, loaded);
    if (this.#tap !== null) this.#tapInto(loaded);
    try {
      router.addService(port, name);
      server.add(name, {});
      const context = this.#context(name, options.args ?? [], port, handle, server);
      // Counters are cleared by a request, or everywhere at once by an event.
      await handle.subscribe(`${name}.stats-clear`, () => void server.clearStats(), { ownerOnly: true });
      loaded.running = await definition.start(context);
      loaded.status = ModuleStatus.Running;
      return loaded;
    } catch (error) {
      this.#modules.delete(name);
      handle.close();
      throw error;
    }
  }

  /** Stops a service. Rejects with ENOENT. */
  async remove(name: string): Promise<void> {
    const loaded = this.#modules.get(name);
    if (loaded === undefined || loaded.status !== ModuleStatus.Running)
      throw new FluxError("ENOENT", `module ${name} is not loaded`);
    loaded.status = ModuleStatus.Finalizing;
    try {
      await loaded.running?.stop();
    } finally {
      loaded.status = ModuleStatus.Exited;
      this.#modules.delete(name);
      loaded.port.close();
    }
  }

  /** Hands a new configuration to every service. Rejects with the first refusal. */
  async configure(config: JsonObject): Promise<void> {
    for (const [name, loaded] of this.#modules) {
      try {
        await loaded.running?.configure?.(config);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        throw new FluxError(error.errnum, `error updating ${name}: ${error.message}`, { cause: error });
      }
    }
  }

  /** An error of a module that nobody foresaw: what it came of has failed. A broken invariant ends the broker. */
  #contain(name: string, where: string, error: unknown): void {
    const { fatal, log, bugsAreFatal } = this.#surroundings;
    if (bugsAreFatal || isBrokenInvariant(error)) fatal(name, error);
    else log(name, LogLevel.err, `internal error in ${where}: ${describeBug(error)}`);
  }

  #clockFor(name: string): Clock {
    const { clock } = this.#surroundings.ports;
    const contained = (callback: () => void) => () => {
      try {
        callback();
      } catch (error) {
        this.#contain(name, "a timer", error);
      }
    };
    return {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, callback, options) => clock.after(delayMs, contained(callback), options),
      defer: (callback) => clock.defer(contained(callback)),
    };
  }

  #serverFor(name: string, handle: Handle, port: Port): Server {
    const { router, rusage, fatal } = this.#surroundings;
    return new Server(handle, {
      rank: router.rank,
      traffic: port,
      ...(rusage === undefined ? {} : { rusage }),
      fatal: (error) => fatal(name, error),
      bug: (where, error) => this.#contain(name, where, error),
    });
  }

  #context(name: string, args: readonly string[], port: Port, handle: Handle, server: Server): ModuleContext {
    const { router, ports, ownerUserid, attribute, setAttribute, config, log, fatal } = this.#surroundings;
    return {
      name,
      args,
      rank: router.rank,
      size: router.size,
      handle,
      server,
      ports: { ...ports, clock: this.#clockFor(name) },
      ownerUserid,
      attribute,
      setAttribute,
      config,
      log: (level, text) => log(name, level, text),
      addService: async (service) => router.addService(port, service),
      removeService: async (service) => router.removeService(port, service),
      fatal: (error) => fatal(name, error),
    };
  }
}
