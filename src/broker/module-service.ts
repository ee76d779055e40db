/**
 * Loading, removing and listing of services by clients (`module.*`). The definitions come from a registry; what a path
 * names is its last part without suffix.
 */
import { FluxError } from "../base/errors.ts";
import type { ModuleDefinition } from "../sdk/module.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { ANY_USER, ANYONE, requireString, type Methods } from "../sdk/service.ts";
import type { Tracing } from "./tracing.ts";
import { ModuleStatus, type LoadedModule, type ModuleHost } from "./module-host.ts";

/** The services that a broker can load, by name; each is fetched when it is first wanted. */
export type ModuleRegistry = Readonly<Record<string, () => Promise<ModuleDefinition>>>;

/** `/usr/lib/flux/modules/kvs.so` is `kvs`. */
export function moduleNameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/\.(so[.\d]*|py|ts|js)$/, "");
}

export async function findModule(registry: ModuleRegistry, path: string): Promise<ModuleDefinition> {
  const name = moduleNameOf(path);
  if (!Object.hasOwn(registry, name)) throw new FluxError("ENOENT", "module not found in search path");
  return registry[name]!();
}

export interface ModuleServiceOptions {
  readonly host: ModuleHost;
  readonly registry: ModuleRegistry;
  readonly tracing: Tracing;
  /** Seconds, not going back. */
  now(): number;
  loaded(name: string): void;
  removed(name: string): void;
}

function describe(loaded: LoadedModule): object {
  return {
    name: loaded.name,
    path: loaded.path,
    idle: 0,
    status: loaded.status,
    services: [...loaded.port.services].filter((service) => service !== loaded.name).sort(),
    sendqueue: 0,
    recvqueue: 0,
  };
}

export function moduleMethods(options: ModuleServiceOptions): Methods {
  const { host } = options;
  return {
    list: { roles: ANY_USER, handler: () => ({ mods: [...host.modules].map(describe) }) },
    load: (request) => load(options, request),
    remove: async (request) => {
      const name = requireString(request.json, "name");
      if (host.find(name)?.status !== ModuleStatus.Running) throw new FluxError("ENOENT");
      await host.remove(name);
      options.removed(name);
      return null;
    },
    trace: { streaming: true, handler: (request) => options.tracing.begin(request) },
    disconnect: { roles: ANYONE, handler: (request) => options.tracing.disconnect(request) },
    status: (request) => {
      if (typeof request.json["status"] !== "number")
        throw new FluxError("EPROTO", "error decoding module.status request: 'status' is missing or no integer");
      return null;
    },
    debug: (request) => {
      const loaded = host.find(requireString(request.json, "name"));
      if (loaded === null) throw new FluxError("ENOENT");
      const { defer } = request.json;
      if (typeof defer === "boolean") loaded.port.defer(defer);
      return {};
    },
  };
}

async function load(options: ModuleServiceOptions, request: IncomingRequest): Promise<null> {
  const { args, name } = request.json;
  const path = requireString(request.json, "path");
  const words = Array.isArray(args) ? args.filter((word) => typeof word === "string") : [];
  const definition = await findModule(options.registry, path);
  if (options.host.find(typeof name === "string" ? name : definition.name) !== null) throw new FluxError("EEXIST");
  const wanted = typeof name === "string" ? { name } : {};
  const loaded = await options.host.load(definition, { ...wanted, path, args: words });
  options.loaded(loaded.name);
  return null;
}
