/**
 * The methods of the services that are part of every broker: `attr`, `broker`, `event`, `runat`, `shutdown`, `config`,
 * `overlay`.
 */
import { base64Decode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import { MessageFlag, MessageType, Payload } from "../protocol/message.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { ANY_USER, ANYONE, invalidMember, requireInteger, requireString, type Methods } from "../sdk/service.ts";
import type { Core } from "./core.ts";
import { formatLogRecord, type LogRecord } from "./log-record.ts";
import { isEnding, stateNumber } from "./state-machine.ts";

const LOG_CRIT = 2;
const LOG_INFO = 6;

function stringList(body: JsonObject, key: string): string[] {
  const value = body[key];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) throw invalidMember(key);
  return value as string[];
}

export function builtinMethods(core: Core): Readonly<Record<string, Methods>> {
  return {
    attr: attrMethods(core),
    broker: brokerMethods(core),
    event: { publish: { roles: ANY_USER, handler: (request) => publish(core, request) } },
    runat: { push: (request) => pushCleanup(core, request) },
    shutdown: { start: (request) => startShutdown(core, request) },
  };
}

/** Attributes that are told where nobody has set them, with the builtin value that then holds. */
const BUILTIN_ATTRIBUTES: Readonly<Record<string, string>> = {
  "broker.rc1_path": "rc1_path",
  "broker.rc3_path": "rc3_path",
  "conf.shell_initrc": "shell_initrc",
  "conf.shell_pluginpath": "shell_pluginpath",
};

function attrMethods(core: Core): Methods {
  const { attributes, builtinValues } = core.options;
  const builtin = (name: string): string | undefined =>
    attributes.get(name) === null && Object.hasOwn(BUILTIN_ATTRIBUTES, name)
      ? builtinValues[BUILTIN_ATTRIBUTES[name]!]
      : undefined;
  return {
    get: {
      roles: ANYONE,
      handler: (request) => {
        const name = requireString(request.json, "name");
        const value = builtin(name);
        return value === undefined ? attributes.describe(name) : { value, flags: 0 };
      },
    },
    list: {
      roles: ANYONE,
      handler: () => {
        const untold = Object.keys(BUILTIN_ATTRIBUTES).filter((name) => builtin(name) !== undefined);
        return { names: [...attributes.names(), ...untold].sort() };
      },
    },
    set: (request) => {
      const { json } = request;
      attributes.setByClient(requireString(json, "name"), requireString(json, "value"), json["force"] === true);
      return null;
    },
    rm: (request) => {
      attributes.removeByClient(requireString(request.json, "name"));
      return null;
    },
  };
}

function brokerMethods(core: Core): Methods {
  const { environment, builtinValues } = core.options;
  return {
    "conf-builtin": {
      roles: ANY_USER,
      handler: (request) => {
        const values: Record<string, string> = {};
        for (const key of stringList(request.json, "keys")) {
          if (!Object.hasOwn(builtinValues, key)) throw new FluxError("EINVAL", `${key}: invalid key`);
          values[key] = builtinValues[key]!;
        }
        return { values };
      },
    },
    getenv: (request) => {
      const env: Record<string, string> = {};
      for (const name of stringList(request.json, "names"))
        if (environment[name] !== undefined) env[name] = environment[name];
      return { env };
    },
    setenv: (request) => {
      const { env } = request.json;
      if (!isJsonObject(env)) throw invalidMember("env");
      for (const name of Object.keys(env))
        if (name === "" || /[=\0]/.test(name))
          throw new FluxError("EPROTO", `'${name}' cannot be the name of a variable`);
      for (const [name, value] of Object.entries(env))
        if (typeof value === "string") environment[name] = value;
        else if (value === null) delete environment[name];
        else throw new FluxError("EPROTO", `the value of ${name} must be a string or null`);
      return null;
    },
  };
}

/** Publishes at the leader and answers with the number that the event got. */
function publish(core: Core, request: IncomingRequest): object {
  if (core.options.rank !== 0) throw new FluxError("EPROTO", "events are published on rank 0");
  const { payload } = request.json;
  const flags = requireInteger(request.json, "flags");
  if ((flags & ~MessageFlag.Private) !== 0) throw new FluxError("EPROTO", "invalid event flags");
  const bytes = typeof payload === "string" ? base64Decode(payload) : null;
  if (payload !== undefined && payload !== null && bytes === null)
    throw new FluxError("EPROTO", "the event's payload is not base64");
  const seq = core.router.publish({
    type: MessageType.Event,
    topic: requireString(request.json, "topic"),
    payload: bytes === null || bytes.byteLength === 0 ? null : Payload.raw(bytes),
    flags,
    userid: request.userid,
    rolemask: request.rolemask,
    route: [],
    sequence: 0,
  });
  return { seq };
}

function pushCleanup(core: Core, request: IncomingRequest): null {
  const name = requireString(request.json, "name");
  if (name !== "cleanup") throw new FluxError("ENOENT", `there is no list of commands named ${name}`);
  if (stateNumber(core.states.state) >= stateNumber("cleanup"))
    throw new FluxError("EBUSY", "cleanup has begun already");
  const commands = stringList(request.json, "commands");
  if (commands.length === 0) throw new FluxError("EINVAL", "commands array is empty");
  // A stack: what was pushed last runs first, within a block too.
  core.cleanupCommands.unshift(...commands.toReversed());
  return null;
}

function startShutdown(core: Core, request: IncomingRequest): null | undefined {
  if (core.options.rank !== 0) throw new FluxError("EINVAL", "shutdown may only be initiated on rank 0");
  if (isEnding(core.states.state)) throw new FluxError("EINVAL", "shutdown is already in progress");
  const { loglevel } = request.json;
  const level = typeof loglevel === "number" ? loglevel : LOG_INFO;
  core.options.events.shutdown();
  if (!request.isStreaming) return null;
  const { log, ports } = core.options;
  const listener = (record: LogRecord): void => {
    if (record.severity <= level) request.respond({ log: formatLogRecord(record) });
    if (stateNumber(core.states.state) < stateNumber("goodbye")) return;
    log.listeners.delete(listener);
    ports.clock.defer(() => request.end());
  };
  log.listeners.add(listener);
  return undefined;
}

export function overlayMethods(core: Core): Methods {
  const { overlay, rank } = core.options;
  return {
    health: { roles: ANY_USER, handler: () => overlay.health.describe(rank) },
    topology: {
      roles: ANY_USER,
      handler: (request) => {
        const wanted = request.json["rank"];
        return core.options.tree.describe(typeof wanted === "number" ? wanted : rank);
      },
    },
    "disconnect-subtree": (request) => {
      const child = requireInteger(request.json, "rank");
      const known = overlay.health.child(child)?.status;
      if (known === "lost" || known === "offline") throw new FluxError("EINVAL", `rank ${child} is already ${known}`);
      if (!overlay.disconnectChild(child))
        throw new FluxError("ENOENT", "requested rank is not this broker's direct child");
      return null;
    },
    "disconnect-parent": (request) => {
      const reason = requireString(request.json, "reason");
      if (overlay.parent === null) throw new FluxError("EINVAL", "there is no parent to disconnect from");
      core.options.log.append("overlay", LOG_CRIT, `disconnecting: ${reason}`);
      overlay.disconnectParent();
      return null;
    },
    trace: { streaming: true, handler: (request) => core.linkTracing.begin(request) },
    disconnect: { roles: ANYONE, handler: (request) => core.linkTracing.disconnect(request) },
    "stats-get": { roles: ANYONE, handler: () => overlay.stats() },
  };
}
