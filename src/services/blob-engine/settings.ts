/** The part of the configuration that every backing store reads: `[content] size-limit`. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { parseSize } from "../../formats/size.ts";

/** The configuration key `size-limit` of the table `[content]`, in bytes; null: no limit. Throws EINVAL. */
export function parseSizeLimit(config: JsonObject): number | null {
  const limit = tableOf(config, "content")["size-limit"];
  if (limit === undefined) return null;
  const bytes = typeof limit === "string" ? parseSize(limit) : limit;
  if (typeof bytes !== "number" || !Number.isInteger(bytes) || bytes <= 0)
    throw invalid("[content] size-limit is a size above 0, as 10G");
  return bytes;
}

export function tableOf(config: JsonObject, name: string): JsonObject {
  const table = config[name] ?? {};
  if (!isJsonObject(table)) throw invalid(`[${name}] is not a table`);
  return table;
}

export function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `Invalid argument: ${reason}`);
}
