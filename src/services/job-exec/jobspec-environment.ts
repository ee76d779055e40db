/**
 * The environment of a job. The job manager may keep jobspecs without it, for it is the largest part; the whole jobspec
 * is in the KVS (RFC 16).
 */
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import type { ExecRequest } from "./protocol.ts";

/** The jobspec of a request with its environment. Rejects where the KVS does not have it. */
export async function withEnvironment(handle: Handle, { id, jobspec }: ExecRequest): Promise<JsonObject> {
  if (environmentOf(jobspec) !== undefined) return jobspec;
  const whole = parseJson(await lookupText(handle, `${fluidKvsPath(id)}.jobspec`));
  const environment = isJsonObject(whole) ? environmentOf(whole) : undefined;
  const attributes = objectOr(jobspec["attributes"]);
  const system = { ...objectOr(attributes["system"]), environment: environment ?? {} };
  return { ...jobspec, attributes: { ...attributes, system } };
}

function environmentOf(jobspec: JsonObject): JsonObject | undefined {
  const { environment } = objectOr(objectOr(jobspec["attributes"])["system"]);
  return isJsonObject(environment) ? environment : undefined;
}

function objectOr(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}
