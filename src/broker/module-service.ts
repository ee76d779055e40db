/** Loading, removing and listing of services by clients (`module.*`, RFC 5). */
import { FluxError } from "../base/errors.ts";
import type { Disk } from "../base/ports.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { ANY_USER, ANYONE, requireString, type Methods } from "../sdk/service.ts";
import { builtinModule, findModuleFile, moduleNameOf, type ModuleRegistry } from "./module-files.ts";
import type { LoadedModule, ModuleHost } from "./module-host.ts";
import { ModuleStatus } from "./module-status.ts";
import type { Tracing } from "./tracing.ts";

export interface ModuleServiceOptions {
  readonly host: ModuleHost;
  readonly registry: ModuleRegistry;
  readonly disk: Disk;
  /** Directories in which modules are looked for. */
  searchPath(): readonly string[];
  readonly tracing: Tracing;
  /** Seconds, not going back. */
  now(): number;
  /** A module is about to be loaded; about to be removed. */
  loading(name: string): void;
  removing(name: string): void;
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
      const status = host.find(name)?.status;
      const isForced = request.json["cancel"] === true;
      if (status !== ModuleStatus.Running && !(isForced && status !== undefined)) throw new FluxError("ENOENT");
      options.removing(name);
      await host.remove(name, isForced);
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
      const { defer = false } = request.json;
      if (typeof defer !== "boolean") throw new FluxError("EPROTO");
      loaded.port.defer(defer);
      return {};
    },
  };
}

async function load(options: ModuleServiceOptions, request: IncomingRequest): Promise<null> {
  const { args, name, loader } = request.json;
  const path = requireString(request.json, "path");
  const words = Array.isArray(args) ? args.filter((word) => typeof word === "string") : [];
  const { host, registry, disk } = options;
  const wanted = { path, loader: typeof loader === "string" ? loader : null };
  const file = findModuleFile(wanted, registry, disk, options.searchPath());
  const definition = file === null ? await builtinModule(registry, moduleNameOf(path)) : null;
  const loadedName = typeof name === "string" ? name : (definition?.name ?? moduleNameOf(path));
  if (host.find(loadedName) !== null) throw new FluxError("EEXIST");
  // It is the first word of topics.
  if (loadedName.includes(".")) throw new FluxError("EINVAL");
  options.loading(loadedName);
  if (file !== null) await host.loadProcess(loadedName, file, words);
  if (definition !== null) await host.load(definition, { name: loadedName, path, args: words });
  if (host.find(loadedName) !== null) options.loaded(loadedName);
  return null;
}
