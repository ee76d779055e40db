/**
 * The parts of a booted broker, put together: router, overlay, log, groups, modules, and the services that are the
 * broker's own. What to do when is decided elsewhere (`broker.ts`, `run-levels.ts`).
 */
import { isBrokenInvariant } from "../base/assert.ts";
import type { JsonObject } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { Idset } from "../formats/idset.ts";
import { FluxError } from "../base/errors.ts";
import { Role } from "../protocol/message.ts";
import { Guard } from "../sdk/guard.ts";
import { Handle } from "../sdk/handle.ts";
import { LogLevel, type ModuleDefinition } from "../sdk/module.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { Server } from "../sdk/service.ts";
import { SubprocessServer } from "../sdk/subprocess-server.ts";
import { accessOf, accessText, checkAccess } from "./access.ts";
import type { Attributes } from "./attributes.ts";
import { builtinMethods, overlayMethods } from "./builtin-methods.ts";
import { LocalConnector } from "./connector-local.ts";
import { Groups } from "./groups.ts";
import { BrokerLog } from "./log.ts";
import { describeBug, messageLines } from "./log-record.ts";
import { ModuleHost, type ModuleTap } from "./module-host.ts";
import type { ModuleRegistry } from "./module-files.ts";
import { moduleMethods } from "./module-service.ts";
import type { Overlay } from "./overlay.ts";
import { BUILTIN_SERVICES } from "./personality.ts";
import { Router } from "./router.ts";
import { isEnding, isOffline, type StateName } from "./state-machine.ts";
import { SharedConfig } from "./shared-config.ts";
import { StateService } from "./state-service.ts";
import { updateTbonConfig } from "./tbon-config.ts";
import { Tracing } from "./tracing.ts";
import type { Tree } from "./tree.ts";

/** What the core tells the broker that drives it. */
export interface CoreEvents {
  /** The members of `broker.online` as known here changed. */
  online(): void;
  /** A client wants the instance to end. Throws EINVAL where it is ending already. */
  shutdown(): void;
  fatal(component: string, error: unknown): void;
  /** A module has failed that runs in a process of its own. */
  moduleFailed(): void;
}

export interface CoreOptions {
  readonly ports: Ports;
  readonly attributes: Attributes;
  readonly registry: ModuleRegistry;
  readonly rusage: (() => JsonObject) | undefined;
  /** What `broker.conf-builtin` tells. */
  readonly builtinValues: Readonly<Record<string, string>>;
  readonly overlay: Overlay;
  readonly tree: Tree;
  readonly rank: number;
  readonly size: number;
  readonly uuid: string;
  readonly config: JsonObject;
  /** Reads the configuration files again. */
  readonly reloadConfig: () => JsonObject;
  readonly environment: Record<string, string>;
  readonly log: BrokerLog;
  /** Whether an error that nobody foresaw ends the broker. */
  readonly bugsAreFatal: boolean;
  readonly events: CoreEvents;
}

const OWN_SERVICES = ["broker", "attr", "event", "module", "log", "runat", "shutdown", "state-machine", "service"];

/** Bits of `connector-local.debug` and `overlay.debug`: faults that tests ask for. */
const CONNECTOR_REFUSES = 1;
const CONNECTOR_TAKES_FOR_GUEST = 4;
const OVERLAY_HANGS = 1;

export class Core {
  readonly options: CoreOptions;
  readonly router: Router;
  readonly handle: Handle;
  readonly modules: ModuleHost;
  readonly groups: Groups;
  readonly states: StateService;
  readonly rexec: SubprocessServer;
  readonly #guard: Guard;
  readonly connector: LocalConnector;
  readonly server: Server;
  /** Modules that clients have loaded. */
  readonly userModules: Set<string> = new Set();
  #online = new Idset();
  /** Commands to run in the cleanup state, in this order. */
  readonly cleanupCommands: string[] = [];
  #connectorFlags: Server | null = null;
  /** Those who look on at the messages of services, and of links. */
  readonly moduleTracing: Tracing;
  readonly linkTracing: Tracing;
  config: JsonObject;
  /** Settled when no configuration is being handed out. */
  #configuring: Promise<void> = Promise.resolve();

  constructor(options: CoreOptions) {
    this.options = options;
    this.config = options.config;
    const { ports, attributes, overlay, rank, size, uuid, log, events } = options;
    const ownerUserid = ports.host.uid;
    this.router = new Router({
      rank,
      size,
      ownerUserid,
      routes: overlay,
      newUuid: () => ports.random.uuid(),
      defer: (callback) => ports.clock.defer(callback),
      failed: (error) => this.bug("broker", "the router", error),
      keepsEvents: options.tree.childrenOf(rank).length > 0,
    });
    overlay.attachRouter(this.router);
    const port = this.router.attach({ userid: ownerUserid, rolemask: Role.Owner | Role.Local });
    this.handle = new Handle(port, { bug: (where, error) => this.bug("broker", where, error) });
    const usage = options.rusage === undefined ? {} : { rusage: options.rusage };
    this.server = new Server(this.handle, {
      rank,
      ...usage,
      traffic: port,
      fatal: (error) => events.fatal("broker", error),
      bug: (where, error) => this.bug("broker", where, error),
    });
    this.states = new StateService(() => ports.clock.monotonicMs());
    this.modules = new ModuleHost({
      router: this.router,
      ports,
      ownerUserid,
      attribute: (name) => attributes.get(name),
      setAttribute: (name, value) => attributes.set(name, value),
      config: () => this.config,
      log: (component, level, text) => log.append(component, level, text),
      fatal: (component, error) => events.fatal(component, error),
      bugsAreFatal: options.bugsAreFatal,
      processes: {
        handle: this.handle,
        uuid,
        environment: options.environment,
        attributes: () => attributes.immutable(),
        ended: (name, isFailure) => this.#moduleEnded(name, isFailure),
      },
      ...usage,
    });
    this.groups = new Groups({
      rank,
      sendUp: (update) => this.handle.send("groups.update", update, { nodeid: rank, upstream: true }),
      ranksBehind: (peer) => overlay.ranksBehind(peer),
      changed: (name, members) => name === "broker.online" && this.#onlineChanged(members),
    });
    this.#guard = new Guard(ports.exec, "programs");
    this.rexec = this.#makeRexec();
    this.connector = new LocalConnector({
      net: ports.net,
      clock: ports.clock,
      pace: overlay.pace,
      router: this.router,
      ownerUserid,
      access: () => accessOf(this.config),
      takeFault: () => this.#takeConnectorFault(),
      isOffline: () => isOffline(this.states.state),
      log: (severity, text) => log.append("connector-local", severity, text),
    });
    ({ moduleTracing: this.moduleTracing, linkTracing: this.linkTracing } = this.#makeTracing());
    attributes.set("broker.uuid", uuid);
    for (const name of OWN_SERVICES) this.router.addService(port, name);
    this.#serveOwn();
  }

  #onlineChanged(members: Idset): void {
    const { rank, log, events } = this.options;
    const gone = this.#online.subtract(members);
    this.#online = members;
    if (rank === 0 && !gone.isEmpty && !isEnding(this.states.state)) {
      const hosts = Hostlist.from([...gone].map((each) => this.hostOf(each))).format();
      log.append("broker", LogLevel.err, `dead to Flux: ${hosts} (rank ${gone.format()})`);
    }
    events.online();
  }

  /** A module's process has ended by itself. */
  #moduleEnded(name: string, isFailure: boolean): void {
    const { attributes, events, log } = this.options;
    this.userModules.delete(name);
    log.append("broker", LogLevel.debug, `module ${name} exited`);
    if (!isFailure) return;
    log.append("broker", LogLevel.crit, `${name} module runtime failure`);
    if ((attributes.get("broker.module-nopanic") ?? "0") === "0") events.moduleFailed();
  }

  /** An error that nobody foresaw: what it came of has failed. A broken invariant ends the broker. */
  bug(component: string, where: string, error: unknown): void {
    const { bugsAreFatal, events, log } = this.options;
    if (bugsAreFatal || isBrokenInvariant(error)) events.fatal(component, error);
    else log.append(component, LogLevel.err, `internal error in ${where}: ${describeBug(error)}`);
  }

  #makeTracing(): { moduleTracing: Tracing; linkTracing: Tracing } {
    const { clock } = this.options.ports;
    const moduleTracing = new Tracing(clock, (isOn) => {
      const show: ModuleTap = (name, prefix, message) => moduleTracing.show(prefix, message, { name });
      this.modules.setTap(isOn ? show : null);
      this.connector.setTap(isOn ? (prefix, message) => show("connector-local", prefix, message) : null);
    });
    const linkTracing = new Tracing(clock, (isOn) => {
      this.router.linkTap = isOn
        ? (prefix, message, rank) => linkTracing.show(prefix, message, rank === undefined ? {} : { rank })
        : null;
    });
    return { moduleTracing, linkTracing };
  }

  #makeRexec(): SubprocessServer {
    const { rank, ports, environment } = this.options;
    return new SubprocessServer({
      rank,
      exec: ports.exec,
      authorize: (request) => this.#authorizeExec(request),
      starting: () => this.postGuard(),
      isDirectory: (path) => ports.disk.info(path)?.kind === "directory",
      cwd: ports.host.cwd,
      environment: () => environment,
      localUri: () => this.options.attributes.require("local-uri"),
      log: (kind, name, text) => {
        for (const line of messageLines(text))
          this.options.log.append("rexec", kind === "stderr" ? LogLevel.err : LogLevel.info, `${name}: ${line}`);
      },
    });
  }

  /** In an instance with guests rank 0 serves requests of its own broker only: a process on another node is not to become one here. */
  #authorizeExec(request: IncomingRequest): void {
    if (this.options.rank === 0 && accessOf(this.config).allowGuestUser && (request.rolemask & Role.Local) === 0)
      throw new FluxError("EPERM", "the subprocess server of rank 0 serves its own broker only");
  }

  /** Programs of users are started from now on: they are not to outlive this broker, though it be killed. */
  postGuard(): void {
    const { attributes, environment } = this.options;
    this.#guard.post(attributes.require("local-uri"), environment["PATH"] ?? "");
  }

  dismissGuard(): void {
    this.#guard.dismiss();
  }

  #serveOwn(): void {
    const { log, registry, ports } = this.options;
    const own = builtinMethods(this);
    for (const [name, methods] of Object.entries(own)) this.server.add(name, methods);
    this.server.add("log", log.methods());
    this.server.add("state-machine", this.states.methods());
    this.server.add("service", {});
    this.server.add(
      "module",
      moduleMethods({
        host: this.modules,
        registry,
        disk: ports.disk,
        searchPath: () => (this.options.environment["FLUX_MODULE_PATH"] ?? "").split(":"),
        tracing: this.moduleTracing,
        now: () => ports.clock.monotonicMs() / 1000,
        loading: (name) => log.append("broker", LogLevel.debug, `insmod ${name}`),
        removing: (name) => log.append("broker", LogLevel.debug, `rmmod ${name}`),
        loaded: (name) => void this.userModules.add(name),
        removed: (name) => void this.userModules.delete(name),
      }),
    );
  }

  /** Flags of `connector-local.debug` hold for one connection. */
  #takeConnectorFault(): "refused" | "guest" | null {
    const flags = this.#connectorFlags?.debugFlags;
    const set = flags?.get("connector-local") ?? 0;
    if (set === 0 || flags === undefined) return null;
    const isRefused = (set & CONNECTOR_REFUSES) !== 0;
    const taken = isRefused ? CONNECTOR_REFUSES : CONNECTOR_TAKES_FOR_GUEST;
    flags.set("connector-local", set & ~taken);
    return isRefused ? "refused" : (set & taken) !== 0 ? "guest" : null;
  }

  /** Loads the builtin modules, and opens the socket for clients. */
  async loadBuiltins(socketPath: string): Promise<void> {
    const { log } = this.options;
    const parts: Readonly<Record<(typeof BUILTIN_SERVICES)[number], ModuleDefinition>> = {
      config: this.#configModule(),
      "connector-local": {
        name: "connector-local",
        start: async ({ server }) => {
          server.add("connector-local", { "stats-get": { roles: Role.All, handler: () => this.connector.stats() } });
          const configure = (config: JsonObject): void => {
            checkAccess(config);
            log.append("connector-local", 7, accessText(accessOf(config)));
          };
          configure(this.config);
          this.#connectorFlags = server;
          await this.connector.listen(socketPath);
          return { configure, stop: () => this.connector.close() };
        },
      },
      groups: builtin(
        "groups",
        (server) => server.add("groups", this.groups.methods()),
        () => this.groups.close(),
      ),
      rexec: builtin(
        "rexec",
        (server) => server.add("rexec", this.rexec.methods()),
        () => this.rexec.close(),
      ),
      overlay: {
        name: "overlay",
        start: ({ server }) => {
          server.add("overlay", overlayMethods(this));
          const hangs = (): boolean => ((server.debugFlags.get("overlay") ?? 0) & OVERLAY_HANGS) !== 0;
          const configure = (config: JsonObject): void => updateTbonConfig(config, this.options.attributes);
          return { configure, stop: () => (hangs() ? new Promise<void>(() => {}) : undefined) };
        },
      },
    };
    for (const name of BUILTIN_SERVICES) await this.loadModule(parts[name]);
  }

  #configModule(): ModuleDefinition {
    const { rank, overlay, log, reloadConfig } = this.options;
    const shared = new SharedConfig({
      rank,
      handle: this.handle,
      current: () => this.config,
      reread: reloadConfig,
      apply: (config) => this.replaceConfig(config),
      announce: (config) => overlay.announceConfig(config),
      log: (severity, text) => log.append("config", severity, text),
    });
    return {
      name: "config",
      start: async ({ server }) => {
        server.add("config", shared.methods());
        await shared.start();
        return { stop: () => {} };
      },
    };
  }

  async loadModule(definition: ModuleDefinition, args: readonly string[] = []): Promise<void> {
    this.options.log.append("broker", 7, `insmod ${definition.name}`);
    await this.modules.load(definition, { args });
  }

  async removeModule(name: string): Promise<void> {
    this.options.log.append("broker", 7, `rmmod ${name}`);
    await this.modules.remove(name);
    this.options.log.append("broker", 7, `module ${name} exited`);
  }

  /** Loaded modules that are not part of the broker itself, in the order of loading. */
  get serviceModules(): string[] {
    const own: readonly string[] = BUILTIN_SERVICES;
    return [...this.modules.modules].map((module) => module.name).filter((name) => !own.includes(name));
  }

  /** Resolves with whether all of them have ended. */
  async unloadBuiltins(): Promise<boolean> {
    let haveAllEnded = true;
    for (const name of BUILTIN_SERVICES.toReversed())
      if (this.modules.find(name) !== null && !(await this.#unload(name))) haveAllEnded = false;
    this.states.close();
    this.moduleTracing.close();
    this.linkTracing.close();
    this.options.log.close();
    return haveAllEnded;
  }

  /** A part that does not end is left behind after `broker.unload-builtins-timeout`. */
  async #unload(name: string): Promise<boolean> {
    const { attributes, ports, log } = this.options;
    const seconds = attributes.seconds("broker.unload-builtins-timeout");
    const removed = this.removeModule(name);
    if (!Number.isFinite(seconds)) return removed.then(() => true);
    return new Promise((resolve, reject) => {
      const timer = ports.clock.after(seconds * 1000, () => {
        log.append("broker", 3, `unloading built-in broker module timed out: ${name}`);
        resolve(false);
      });
      removed.then(() => resolve(true), reject).finally(() => timer.cancel());
    });
  }

  /** The host of a rank. */
  hostOf(rank: number): string {
    const hosts = Hostlist.tryParse(this.options.attributes.get("hostlist") ?? "");
    return hosts?.nth(rank) ?? "unknown";
  }

  /** Which brokers are there, for people. */
  onlineText(): string {
    const online = this.groups.members("broker.online");
    const hosts = Hostlist.tryParse(this.options.attributes.get("hostlist") ?? "");
    const names = Hostlist.from([...online].map((rank) => hosts?.nth(rank) ?? "unknown"));
    return `online: ${names.format()} (ranks ${online.format()})`;
  }

  enterState(state: StateName): void {
    this.states.enter(state);
    this.options.overlay.announceState(state);
  }

  /**
   * Takes a new configuration and hands it to every service, after those that came before. Rejects with the first
   * refusal; then all services have again the one they had.
   */
  replaceConfig(config: JsonObject): Promise<void> {
    const replaced = this.#configuring.then(() => this.#replaceConfig(config));
    this.#configuring = replaced.catch(() => undefined);
    return replaced;
  }

  async #replaceConfig(config: JsonObject): Promise<void> {
    const before = this.config;
    this.config = config;
    try {
      await this.modules.configure(config);
    } catch (error) {
      this.config = before;
      await this.modules.configure(before);
      throw error;
    }
  }
}

function builtin(name: string, serve: (server: Server) => void, stop: () => void = () => {}): ModuleDefinition {
  return {
    name,
    start: ({ server }) => {
      serve(server);
      return { stop };
    },
  };
}
