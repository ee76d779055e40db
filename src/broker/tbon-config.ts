/**
 * The table `[tbon]` of the configuration (flux-config-tbon(5)): what it sets, and that it is well formed. The command
 * line goes before it. Pure.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { tryParseFsd } from "../formats/duration.ts";
import { ATTRIBUTE_RULES } from "./attribute-table.ts";
import type { Attributes } from "./attributes.ts";
import type { PulseLimits } from "./pulse.ts";

type Kind = "integer" | "string" | "duration";

const KEYS: Readonly<Record<string, Kind>> = {
  topo: "string",
  zmqdebug: "integer",
  zmq_io_threads: "integer",
  child_rcvhwm: "integer",
  torpid_min: "duration",
  torpid_max: "duration",
  rejoin_timeout: "duration",
  tcp_user_timeout: "duration",
  connect_timeout: "duration",
  "interface-hint": "string",
};
/** The leader alone has many children: for the others the default is right. */
const LEADER_ONLY = "tbon.zmq_io_threads";

function typeOf(value: JsonValue): string {
  if (Array.isArray(value)) return "array";
  if (value === null || typeof value === "object") return "object";
  return typeof value === "number" ? (Number.isInteger(value) ? "integer" : "real") : typeof value;
}

function textOf(key: string, kind: Kind, value: JsonValue): string {
  const wanted = kind === "integer" ? "integer" : "string";
  const refuse = (why: string): never => {
    throw new FluxError("EINVAL", `Config file error [tbon] ${key}: ${why}`);
  };
  if (typeOf(value) !== wanted) return refuse(`Expected ${wanted}, got ${typeOf(value)}`);
  const text = String(value);
  if (kind === "duration" && tryParseFsd(text) === null)
    throw new FluxError("EINVAL", `Config file error parsing tbon.${key}: '${text}' is not a duration, like "30s"`);
  return text;
}

/** Sets the attributes `tbon.*` from the configuration. Throws FluxError EINVAL. */
export function applyTbonConfig(config: JsonObject, attributes: Attributes, rank: number): void {
  for (const [name, value] of configured(config)) attributes.setConfigured(name, value);
  checkTorpid(attributes.seconds("tbon.torpid_min"), attributes.seconds("tbon.torpid_max"));
  if (rank !== 0) attributes.set(LEADER_ONLY, "1");
  // A queue of one message is of no use: 0 is none at all.
  if (attributes.get("tbon.child_rcvhwm") === "1")
    throw new FluxError("EINVAL", "tbon.child_rcvhwm must be 0 (unlimited) or >= 2");
}

/** What a running broker takes of a new configuration: when silent neighbours are torpid. Throws FluxError EINVAL. */
export function updateTbonConfig(config: JsonObject, attributes: Attributes): void {
  const values = new Map(configured(config));
  const wanted = TORPID.map((name) => {
    if (attributes.isGiven(name)) return attributes.require(name);
    return values.get(name) ?? ATTRIBUTE_RULES[name]!.initial!;
  });
  const [min, max] = wanted.map((value) => tryParseFsd(value) ?? 0);
  checkTorpid(min!, max!);
  TORPID.forEach((name, index) => attributes.setConfigured(name, wanted[index]!));
}

export function pulseLimits(attributes: Attributes): PulseLimits {
  return {
    torpidMin: attributes.seconds("tbon.torpid_min"),
    torpidMax: attributes.seconds("tbon.torpid_max"),
    tcpUserTimeout: attributes.seconds("tbon.tcp_user_timeout"),
  };
}

const TORPID = ["tbon.torpid_min", "tbon.torpid_max"];

/** Attributes and values that a table names. */
function configured(config: JsonObject): [name: string, value: string][] {
  const table = config["tbon"];
  if (table !== undefined && !isJsonObject(table))
    throw new FluxError("EINVAL", `Config file error [tbon]: Expected object, got ${typeOf(table)}`);
  return Object.entries(KEYS).flatMap(([key, kind]): [string, string][] => {
    const value = table?.[key];
    return value === undefined ? [] : [[`tbon.${key}`, textOf(key, kind, value)]];
  });
}

/** In seconds. */
function checkTorpid(min: number, max: number): void {
  if (min === 0) throw new FluxError("EINVAL", "tbon.torpid_min must be nonzero");
  // No maximum: nobody is ever torpid.
  if (max !== 0 && min >= max) throw new FluxError("EINVAL", "tbon.torpid_min must be less than torpid_max");
}
