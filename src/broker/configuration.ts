/**
 * The configuration of an instance: TOML or JSON files, `--conf` values on top (flux-broker(1)). What the keys mean is
 * for the services to say.
 */
import { utf8Decode } from "../base/bytes.ts";
import { errorText, FluxError } from "../base/errors.ts";
import { isJsonObject, jsonOrText, parseJson, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Disk } from "../base/ports.ts";
import { mergeConfig, parseToml } from "../formats/toml.ts";

/** Reads a file (`.json` as JSON, anything else as TOML) or all `*.toml` of a directory. Throws EINVAL with a sentence. */
export function loadConfigPath(disk: Disk, path: string): JsonObject {
  const info = disk.info(path);
  if (info === null) throw new FluxError("ENOENT", `stat: ${path}: No such file or directory`);
  if (info.kind !== "directory") return loadConfigFile(disk, path);
  const tables = disk
    .list(path)
    .filter((name) => name.endsWith(".toml"))
    .map((name) => loadConfigFile(disk, `${path}/${name}`));
  return mergeConfig(tables);
}

function loadConfigFile(disk: Disk, path: string): JsonObject {
  const text = utf8Decode(disk.readFile(path));
  return path.endsWith(".json") ? parseJsonConfig(text, path) : parseToml(text, path);
}

function parseJsonConfig(text: string, where: string): JsonObject {
  let value: JsonValue;
  try {
    value = parseJson(text);
  } catch (error) {
    throw new FluxError("EINVAL", `${where}: ${errorText(error)}`, { cause: error });
  }
  if (!isJsonObject(value)) throw new FluxError("EINVAL", `${where}: not a JSON object`);
  return value;
}

/** Applies one `--conf` value: KEY=VAL, an inline JSON object, inline TOML, or a path. Throws EINVAL, ENOENT. */
export function applyConfValue(disk: Disk, config: JsonObject, value: string): JsonObject {
  if (value.startsWith("{")) return mergeConfig([config, parseJsonConfig(value, "--conf")]);
  if (value.includes("\n")) return mergeConfig([config, parseToml(value, "--conf")]);
  const equals = value.indexOf("=");
  if (equals < 0) return mergeConfig([config, loadConfigPath(disk, value)]);
  const path = value.slice(0, equals).split(".");
  if (path.some((key) => key === "")) throw new FluxError("EINVAL", `--conf: '${value}' has an empty key`);
  const table = path.reduceRight<JsonValue>((inner, key) => ({ [key]: inner }), jsonOrText(value.slice(equals + 1)));
  return mergeConfig([config, table as JsonObject]);
}
