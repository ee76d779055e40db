/**
 * Loads services into a broker, and removes them: each gets a port of the router, a Handle and a Server of its own.
 *
 * Invariant: a module is in the list from the moment its start begins until its stop has ended, so a name is never used
 * twice at once; what it had registered or called is cleaned up by its port.
 */
import { isBrokenInvariant } from "../base/assert.ts";
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { Clock, Ports } from "../base/ports.ts";
import { Role, type Message } from "../protocol/message.ts";
import { Handle } from "../sdk/handle.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../sdk/module.ts";
import { Server } from "../sdk/service.ts";
import { describeBug } from "./log-record.ts";
import { loaderCommand } from "./module-files.ts";
import { ModuleProcess, startModuleProcess } from "./module-process.ts";
import { ModuleStatus } from "./module-status.ts";
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
  /** What modules need that run in processes of their own; absent where there can be none. */
  readonly processes?: ProcessSurroundings;
}

export interface ProcessSurroundings {
  /** The broker's own. */
  readonly handle: Handle;
  readonly uuid: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The attributes that never change. */
  attributes(): Readonly<Record<string, string>>;
  /** The process of a module has ended by itself, or by an error. */
  ended(name: string, isFailure: boolean): void;
}

/** A module that is not part of this program: its file, and the `flux` command (or the program) that runs it. */
export interface ModuleFile {
  readonly path: string;
  readonly loader: string;
}

export interface LoadedModule {
  readonly name: string;
  /** What was asked for: a path, or "builtin". */
  readonly path: string;
  readonly port: Port;
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
    const { log } = this.#surroundings;
    const { port, loaded } = this.#begin(name, options.path ?? "builtin");
    const handle = new Handle(port, {
      badEvent: (topic, error) => log(name, LogLevel.err, `${topic} event: ${error.message}`),
      bug: (where, error) => this.#contain(name, where, error),
    });
    const server = this.#serverFor(name, handle, port);
    try {
      this.#surroundings.router.addService(port, name);
      server.add(name, {});
      const context = this.#context(name, options.args ?? [], port, handle, server);
      // Counters are cleared by a request, or everywhere at once by an event.
      await handle.subscribe(`${name}.stats-clear`, () => void server.clearStats(), { ownerOnly: true });
      loaded.running = await definition.start(context);
      loaded.status = ModuleStatus.Running;
      return loaded;
    } catch (error) {
      // Who asked for it is told; others find it in the log.
      log(name, LogLevel.debug, errorText(error));
      this.#modules.delete(name);
      handle.close();
      throw error;
    }
  }

  #begin(name: string, path: string): { port: Port; loaded: LoadedModule } {
    if (this.#modules.has(name)) throw new FluxError("EEXIST", `module ${name} is already loaded`);
    const { router, ownerUserid } = this.#surroundings;
    const port = router.attach({ userid: ownerUserid, rolemask: (Role.Owner | Role.Local) >>> 0 });
    const loaded: LoadedModule = { name, path, port, status: ModuleStatus.Init, running: null };
    this.#modules.set(name, loaded);
    if (this.#tap !== null) this.#tapInto(loaded);
    return { port, loaded };
  }

  /** Starts a module in a process of its own. Rejects with EEXIST, or with why it does not run. */
  async loadProcess(name: string, { path, loader }: ModuleFile, args: readonly string[]): Promise<LoadedModule> {
    const { router, ports, ownerUserid, config, log, processes } = this.#surroundings;
    if (processes === undefined) throw new FluxError("ENOSYS", "this broker starts no processes");
    const { handle, uuid, environment, attributes, ended } = processes;
    const { port, loaded } = this.#begin(name, path);
    try {
      router.addService(port, name);
      const process = await startModuleProcess({
        name,
        path,
        loader,
        args,
        port,
        handle,
        ownerUserid,
        ports,
        env: environment,
        attributes: attributes(),
        config: config(),
        brokerUuid: uuid,
        command: loaderCommand(loader, ports.host.fluxPath, ports.disk, environment),
        spawned: (pid) => log("broker", LogLevel.debug, `${loader} ${name} pid=${pid}`),
        report: (text) => log("broker", LogLevel.err, text),
        ended: (isFailure) => {
          // One that was asked to end is forgotten by who asked.
          if (loaded.status === ModuleStatus.Running) this.#forget(loaded);
          ended(name, isFailure);
        },
      });
      if (process.hasEnded) this.#forget(loaded);
      else Object.assign(loaded, { status: ModuleStatus.Running, running: process });
      return loaded;
    } catch (error) {
      this.#forget(loaded);
      throw error;
    }
  }

  #forget(loaded: LoadedModule): void {
    loaded.status = ModuleStatus.Exited;
    this.#modules.delete(loaded.name);
    loaded.port.close();
  }

  /** Stops a service; `isForced`: whether it wants to or not, where it has a process of its own. Rejects with ENOENT. */
  async remove(name: string, isForced = false): Promise<void> {
    const loaded = this.#modules.get(name);
    const process = loaded?.running instanceof ModuleProcess ? loaded.running : null;
    if (loaded !== undefined && process !== null && isForced) {
      loaded.status = ModuleStatus.Finalizing;
      await process.cancel();
      return this.#forget(loaded);
    }
    if (loaded === undefined || loaded.status !== ModuleStatus.Running)
      throw new FluxError("ENOENT", `module ${name} is not loaded`);
    loaded.status = ModuleStatus.Finalizing;
    try {
      await loaded.running?.stop();
    } finally {
      this.#forget(loaded);
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
      busyMs: () => clock.busyMs(),
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
