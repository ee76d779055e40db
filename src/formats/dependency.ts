/**
 * Job dependencies (RFC 26): the URI of the command line, `scheme:value?key=val&key=val`, and the object of jobspec.
 *
 * Does not know which schemes exist.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";

export interface Dependency extends JsonObject {
  readonly scheme: string;
  /** Its meaning is the scheme's: mostly a job id. */
  readonly value: string;
}

/**
 * Reads a dependency URI. A scheme may stand alone (`singleton`): its value is the empty text.
 * Throws FluxError EINVAL where the text is none.
 */
export function parseDependency(uri: string): Dependency {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*)(?::([^?]*)(?:\?(.*))?)?$/s.exec(uri);
  if (match === null)
    throw new FluxError("EINVAL", `dependency '${uri}' must be of the form SCHEME:VALUE[?KEY=VAL[&KEY=VAL]]`);
  const [, scheme = "", value = "", query = ""] = match;
  const options: Record<string, string> = {};
  for (const pair of query.split(/[&;]/)) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    if (at <= 0) throw new FluxError("EINVAL", `dependency '${uri}': '${pair}' is not of the form KEY=VAL`);
    const key = decode(pair.slice(0, at), uri);
    if (key === "scheme" || key === "value")
      throw new FluxError("EINVAL", `dependency '${uri}': '${key}' is given twice`);
    options[key] = decode(pair.slice(at + 1), uri);
  }
  return { ...options, scheme, value: decode(value, uri) };
}

/** Writes a dependency as a URI. A value that is not a text is written as JSON. */
export function formatDependency(dependency: Dependency): string {
  const { scheme, value, ...options } = dependency;
  const pairs = Object.entries(options).map(([key, option]) => {
    const text = typeof option === "string" ? option : JSON.stringify(option);
    return `${encode(key, /[%?&;=#]/g)}=${encode(text, /[%&;#]/g)}`;
  });
  const query = pairs.length === 0 ? "" : `?${pairs.join("&")}`;
  return value === "" && query === "" ? scheme : `${scheme}:${encode(value, /[%?#]/g)}${query}`;
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

function encode(text: string, reserved: RegExp): string {
  return text.replace(reserved, (char) => encodeURIComponent(char));
}
