/** The methods of the resource service at rank 0: requests in, decisions of the state out. */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import {
  ANY_USER,
  ANYONE,
  requireInteger,
  requireNumber,
  requireObject,
  requireString,
  type Methods,
} from "../../sdk/service.ts";
import { ownTopology } from "./inventory.ts";
import type { DrainMode } from "./protocol.ts";
import type { ResourceService } from "./service.ts";

export function resourceMethods(service: ResourceService): Methods {
  const { state, acquisition, journal, context } = service;
  return {
    acquire: { streaming: true, handler: (request) => void acquisition.open(request) },
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
    get: async () => {
      await service.defined();
      return { R: state.resources!.toJSON(), method: state.method };
    },
    journal: { streaming: true, handler: (request) => void journal.open(request) },
    "journal-cancel": (request) => {
      journal.listeners.takeCanceled(request)?.[0].respondError(new FluxError("ECANCELED"));
      return undefined;
    },
    "topo-get": { roles: ANY_USER, handler: (request) => void request.respond(ownTopology(context)) },
    "topo-reduce": (request) => {
      service.report(ResourceSet.parse(requireObject(request.json, "resource")));
      return null;
    },
    "expiration-update": async (request) => {
      const expiration = requireNumber(request.json, "expiration");
      if (expiration < 0) throw new FluxError("EPROTO", "expiration must not be negative");
      await service.setExpiration(expiration);
      return null;
    },
    "monitor-force-down": (request) => {
      service.forceDown(Idset.parse(requireString(request.json, "ranks")));
      return null;
    },
    "monitor-waitup": (request) => void service.awaitOnline(request, requireInteger(request.json, "up")),
    disconnect: {
      roles: ANYONE,
      handler: (request) => {
        acquisition.forget(request.sender);
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
    R: state.resources!.toJSON(),
    drain: state.drainTable(),
    online: state.online.toString(),
    offline: state.ranks.subtract(state.online).toString(),
    exclude: state.exclude.toString(),
    torpid: state.torpid.toString(),
  };
}

/** What the scheduler says; without one, everything that exists with nothing allocated. */
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
      allocated: all.removeRanks(all.ranks).toJSON(),
    };
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
  if (mode === undefined) throw new FluxError("EINVAL", `invalid ${what} mode '${String(given)}' specified`);
  return mode;
}

function targetsOf(request: IncomingRequest): { targets: string; reason: string | null } {
  const { reason } = request.json;
  return {
    targets: requireString(request.json, "targets"),
    reason: typeof reason === "string" ? reason : null,
  };
}

async function reload(service: ResourceService, request: IncomingRequest): Promise<null> {
  const { path, xml, force } = request.json;
  if (typeof path !== "string") throw new FluxError("EPROTO", "missing or invalid 'path'");
  if (xml === true) throw new FluxError("ENOTSUP", "hwloc XML is not supported: give a file in RFC 20 form");
  if (service.acquisition.isActive) throw new FluxError("EBUSY", "resources are acquired by the scheduler");
  const resources = ResourceSet.parseText(utf8Decode(service.context.ports.disk.readFile(path)));
  const beyond = resources.ranks.subtract(Idset.upTo(service.context.size));
  if (!beyond.isEmpty && force !== true) throw new FluxError("EINVAL", "R contains invalid ranks");
  await service.define(resources, "reload");
  return null;
}

function now(service: ResourceService): number {
  return service.context.ports.clock.now();
}
