/**
 * The table `[resource]` of the configuration (flux-config-resource(5)), checked as a whole: a wrong one is refused, and
 * nothing of it takes effect.
 *
 * Error texts begin with the words that scripts look for; those about the inventory itself are in
 * `formats/resource-config.ts`.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { parseFsd } from "../../formats/duration.ts";
import { resourcesFromConfig } from "../../formats/resource-config.ts";
import type { ResourceSet } from "../../formats/resource-set.ts";
import { IMPLICIT_VERIFY, isVerifyMode, VERIFIED_TYPES, type VerifyModes } from "./verify.ts";

/** Events that the journal holds where nothing else is said. */
const JOURNAL_MAX = 100_000;
/** How long events stay in the eventlog of the KVS where nothing else is said, in seconds. */
const HISTORY_SEC = 90 * 86_400;

export interface ResourceSettings {
  readonly path: string | null;
  readonly resources: ResourceSet | null;
  /** A file with what schedulers want to know. */
  readonly scheduling: string | null;
  /** An idset or a hostlist; empty = nobody. */
  readonly exclude: string;
  readonly rediscover: boolean;
  /** What each rank compares with its machine; null = nothing at all, not even whether it is there. */
  readonly verify: VerifyModes | null;
  /** Whether that was asked for: as a job, an instance verifies nothing by itself. */
  readonly isVerifyExplicit: boolean;
  readonly journalMax: number;
  /** Seconds. */
  readonly historySec: number;
}

type KeyType = "string" | "boolean" | "integer" | "any";

const KEYS: Readonly<Record<string, KeyType>> = {
  path: "string",
  config: "any",
  scheduling: "string",
  exclude: "string",
  norestrict: "boolean",
  noverify: "boolean",
  rediscover: "boolean",
  verify: "any",
  "journal-max": "integer",
  history: "string",
  // Tells which hosts may run without a broker; read by others.
  "no-update-watch": "boolean",
};

/** Throws FluxError EINVAL with what is wrong. */
export function readResourceSettings(config: JsonObject): ResourceSettings {
  const value = config["resource"] ?? {};
  if (!isJsonObject(value)) throw unpack("Expected object, got " + typeName(value));
  checkTypes(value);
  const resources = value["config"] === undefined ? null : configuredSet(value["config"]);
  const path = (value["path"] as string | undefined) ?? null;
  const scheduling = (value["scheduling"] as string | undefined) ?? null;
  if (scheduling !== null && path === null && resources === null)
    throw new FluxError("EINVAL", "resource.scheduling requires resource.path or [resource.config]");
  return {
    path,
    resources,
    scheduling,
    exclude: (value["exclude"] as string | undefined) ?? "",
    rediscover: value["rediscover"] === true,
    verify: readVerify(value["verify"], value["noverify"] === true),
    isVerifyExplicit: value["verify"] !== undefined,
    journalMax: Math.max(1, (value["journal-max"] as number | undefined) ?? JOURNAL_MAX),
    historySec: readHistory(value["history"] as string | undefined),
  };
}

function checkTypes(table: JsonObject): void {
  for (const [key, type] of Object.entries(KEYS)) {
    const value = table[key];
    if (value === undefined || type === "any") continue;
    const isRight = type === "integer" ? Number.isInteger(value) : typeof value === type;
    const expected = type === "boolean" ? "true or false" : type;
    if (!isRight) throw unpack(`Expected ${expected}, got ${typeName(value)}`);
  }
  const unknown = Object.keys(table).filter((key) => !Object.hasOwn(KEYS, key));
  if (unknown.length > 0) throw unpack(`${unknown.length} object item(s) left unpacked: ${unknown.join(", ")}`);
}

function configuredSet(value: JsonValue): ResourceSet {
  try {
    return resourcesFromConfig(value);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError("EINVAL", `error parsing [resource.config] array: ${error.message}`);
  }
}

function readVerify(value: JsonValue | undefined, isOff: boolean): VerifyModes | null {
  if (value !== undefined && typeof value !== "boolean" && !isJsonObject(value))
    throw new FluxError("EINVAL", "verify must be a table or boolean");
  const modes = isJsonObject(value) ? verifyTable(value) : null;
  if (isOff) return null;
  if (modes !== null) return modes;
  if (value === undefined) return IMPLICIT_VERIFY;
  const mode = value === true ? "strict" : "ignore";
  return { hostname: mode, core: mode, gpu: mode };
}

function verifyTable(table: JsonObject): VerifyModes {
  const unknown = Object.keys(table).find((key) => key !== "default" && !VERIFIED_TYPES.includes(key as "core"));
  if (unknown !== undefined) throw new FluxError("EINVAL", `verify: unsupported resource type: ${unknown}`);
  const mode = (key: string): VerifyModes["core"] | undefined => {
    const value = table[key];
    if (value === undefined) return undefined;
    if (typeof value !== "string") throw new FluxError("EINVAL", `verify.${key} mode must be a string`);
    if (!isVerifyMode(value)) throw new FluxError("EINVAL", `verify.${key}: unknown verify mode '${value}'`);
    return value;
  };
  const otherwise = mode("default") ?? "strict";
  return {
    hostname: mode("hostname") ?? otherwise,
    core: mode("core") ?? otherwise,
    gpu: mode("gpu") ?? otherwise,
  };
}

function readHistory(text: string | undefined): number {
  if (text === undefined) return HISTORY_SEC;
  try {
    return parseFsd(text);
  } catch {
    throw new FluxError("EINVAL", "invalid history time");
  }
}

function unpack(reason: string): FluxError {
  return new FluxError("EINVAL", `error parsing [resource] configuration: ${reason}`);
}

function typeName(value: JsonValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "bigint") return "integer";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "real";
  return typeof value === "boolean" ? String(value) : typeof value;
}
