/**
 * Job dependencies (RFC 26): the URI of the command line, `scheme:value?key=val&key=val`, and the object of jobspec.
 *
 * Does not know which schemes exist.
 */
import { FluxError } from "../base/errors.ts";
import { canonicalInteger, isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";

export interface Dependency extends JsonObject {
  readonly scheme: string;
  /** Its meaning is the scheme's: mostly a job id. */
  readonly value: string;
}

/**
 * Reads a dependency URI. A scheme may stand alone (`singleton`): its value is the empty text. The value is taken as it
 * is; in options, percent signs are decoded and numbers become numbers. An option that is repeated becomes an array, one
 * without a value is ignored.
 * Throws FluxError EINVAL where the text is none. `what`: what such a URI is called there; that of a task map has the same form.
 */
export function parseDependency(uri: string, what = "dependency"): Dependency {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*)(?::([^?]*)(?:\?(.*))?)?$/s.exec(uri);
  if (match === null) {
    const told = uri.includes(":") ? uri : `${uri}:`;
    throw new FluxError("EINVAL", `Invalid ${what} URI "${told}": must be SCHEME:VALUE[?KEY=VAL[&KEY=VAL...]]`);
  }
  const [, scheme = "", value = "", query = ""] = match;
  const options: Record<string, JsonValue> = {};
  for (const pair of query.split(/[&;]/)) {
    const at = pair.indexOf("=");
    if (at <= 0) continue;
    const key = decode(pair.slice(0, at), uri);
    if (key === "scheme" || key === "value")
      throw new FluxError("EINVAL", `dependency '${uri}': '${key}' is given twice`);
    const option = numberOrText(decode(pair.slice(at + 1), uri));
    const known = Object.hasOwn(options, key) ? options[key] : undefined;
    if (known === undefined) options[key] = option;
    else options[key] = Array.isArray(known) ? [...(known as JsonValue[]), option] : [known, option];
  }
  return { scheme: scheme.toLowerCase(), value, ...options };
}

/** Whether a value of `attributes.system.dependencies` is a dependency. */
export function isDependency(value: JsonValue | undefined): value is Dependency {
  return isJsonObject(value) && typeof value["scheme"] === "string" && typeof value["value"] === "string";
}

function decode(text: string, uri: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new FluxError("EINVAL", `dependency '${uri}': '${text}' is not percent-encoded`, { cause: error });
  }
}

function numberOrText(text: string): JsonValue {
  if (/^[+-]?\d{1,18}$/.test(text)) return canonicalInteger(BigInt(text.replace(/^\+/, "")));
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text;
}
