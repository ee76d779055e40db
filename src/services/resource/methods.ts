/** The methods of the resource service at rank 0: requests in, decisions of the state out. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import {
  ANY_USER,
  ANYONE,
  invalidMember,
  requireInteger,
  requireObject,
  requireString,
  type Methods,
} from "../../sdk/service.ts";
import { ownTopology, resourcesFromFile, resourcesFromXml } from "./inventory.ts";
import type { DrainMode } from "./protocol.ts";
import type { ResourceService } from "./service.ts";

export function resourceMethods(service: ResourceService): Methods {
  const { state, acquisition, journal, context } = service;
  return {
    acquire: (request) => void acquisition.open(request),
    "acquire-cancel": (request) => void acquisition.cancel(request),
    "acquire-mute": () => {
      acquisition.mute();
      return null;
    },
    status: { roles: ANY_USER, handler: () => status(service) },
    "sched-status": { roles: ANY_USER, handler: () => schedStatus(service) },
    drain: (request) => drain(service, request),
    undrain: (request) => undrain(service, request),
    reload: (request) => reload(service, request),
    get: async (request) => {
      if (state.resources === null && request.json["wait"] === false)
        throw new FluxError("ENODATA", "the resources are not known yet");
      await service.defined();
      return { R: state.resources!.toJSON(), method: state.method };
    },
    journal: (request) => {
      if (!request.isStreaming) throw new FluxError("EPROTO", "journal requires streaming RPC flag");
      journal.open(request);
      return undefined;
    },
    "journal-cancel": (request) => {
      journal.listeners.takeCanceled(request)?.[0].respondError(new FluxError("ENODATA"));
      return undefined;
    },
    "topo-get": { roles: ANY_USER, handler: (request) => void request.respond(ownTopology(context)) },
    "topo-reduce": (request) => {
      service.report(ResourceSet.parse(requireObject(request.json, "resource")));
      return null;
    },
    "expiration-update": async (request) => {
      const { expiration } = request.json;
      if (typeof expiration !== "number" || !(expiration >= 0)) throw invalidMember("expiration");
      await service.setExpiration(expiration);
      return null;
    },
    "monitor-force-down": (request) => {
      service.forceDown(Idset.parse(requireString(request.json, "ranks")));
      return null;
    },
    "monitor-waitup": (request) => {
      const count = requireInteger(request.json, "up");
      if (count < 0 || count > state.ranks.count) throw new FluxError("EPROTO", "up value is out of range");
      service.awaitOnline(request, count);
      return undefined;
    },
    disconnect: {
      roles: ANYONE,
      handler: (request) => {
        if (acquisition.forget(request.sender)) context.log(LogLevel.debug, "aborted 1 resource.acquire(s)");
        journal.listeners.takeDisconnected(request);
        service.onlineWaiters.takeDisconnected(request);
        return undefined;
      },
    },
  };
}

async function status(service: ResourceService): Promise<JsonObject> {
  await service.defined();
  const { state } = service;
  return {
    R: state.resources!.with({ scheduling: undefined }).toJSON(),
    drain: state.drainTable(),
    online: state.online.toString(),
    offline: state.ranks.subtract(state.online).toString(),
    exclude: state.exclude.toString(),
    torpid: state.torpid.toString(),
  };
}

/** What the scheduler says; without one, everything that exists, and what jobs hold as the job manager has it. */
async function schedStatus(service: ResourceService): Promise<JsonObject> {
  await service.defined();
  try {
    return await service.context.handle.rpc("sched.resource-status", null, { nodeid: 0 });
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
    const all = service.state.schedulable;
    return {
      all: all.toJSON(),
      down: all.removeRanks(service.state.up).toJSON(),
      allocated: await allocated(service, all),
    };
  }
}

/** What jobs hold of `all`; nothing where nobody manages jobs. */
async function allocated(service: ResourceService, all: ResourceSet): Promise<JsonObject> {
  try {
    const answer = await service.context.handle.rpc("job-manager.resource-status", null, { nodeid: 0 });
    return all.intersect(ResourceSet.parse(answer["allocated"])).toJSON();
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) throw error;
    return ResourceSet.EMPTY.toJSON();
  }
}

async function drain(service: ResourceService, request: IncomingRequest): Promise<null> {
  const { targets, reason } = targetsOf(request);
  await service.change(service.state.planDrain(targets, reason, modeOf(request, "drain"), now(service)));
  return null;
}

async function undrain(service: ResourceService, request: IncomingRequest): Promise<null> {
  const { targets, reason } = targetsOf(request);
  await service.change(service.state.planUndrain(targets, reason, modeOf(request, "undrain"), now(service)));
  return null;
}

function modeOf(request: IncomingRequest, what: string): DrainMode {
  const modes: readonly DrainMode[] = ["default", "update", "overwrite", "force-overwrite"];
  const given = request.json["mode"] ?? "default";
  const mode = modes.find((each) => each === given);
  if (mode === undefined) {
    const text = what === "drain" ? "Invalid mode specified" : `invalid undrain mode '${String(given)}' specified`;
    throw new FluxError("EINVAL", text);
  }
  return mode;
}

function targetsOf(request: IncomingRequest): { targets: string; reason: string | null } {
  const { reason } = request.json;
  if (reason !== undefined && typeof reason !== "string") throw new FluxError("EPROTO", "missing or invalid 'reason'");
  return {
    targets: requireString(request.json, "targets"),
    reason: reason ?? null,
  };
}

async function reload(service: ResourceService, request: IncomingRequest): Promise<null> {
  const { path, xml, force } = request.json;
  if (typeof path !== "string") throw new FluxError("EPROTO");
  const { size } = service.context;
  const { disk } = service.context.ports;
  const resources = xml === true ? resourcesFromXml(disk, path) : resourcesFromFile(disk, path);
  const beyond = resources.ranks.subtract(Idset.upTo(size));
  if (!beyond.isEmpty && force !== true)
    throw new FluxError(
      "EINVAL",
      `resource object contains ranks execeeding size=${size}: ${beyond} (override with -f)`,
    );
  if (!beyond.isEmpty)
    service.context.log(LogLevel.warning, `WARN: resource object contains ranks exceeding size=${size}: ${beyond}`);
  if (service.acquisition.isActive) throw new FluxError("EBUSY", "resources are busy (unload scheduler?)");
  await service.define(resources, "reload", beyond);
  return null;
}

function now(service: ResourceService): number {
  return service.context.ports.clock.now();
}
