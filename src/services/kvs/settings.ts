/** The configuration table `[kvs]`. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { parseFsd } from "../../formats/duration.ts";
import { CHECKPOINT_PERIOD_MS } from "./protocol.ts";

export interface Settings {
  /** Acknowledge a commit only once its record survives power loss. */
  readonly syncEachCommit: boolean;
  readonly checkpointPeriodMs: number;
}

/** Reads the table `[kvs]`. Throws EINVAL with the key's name. */
export function parseSettings(config: JsonObject): Settings {
  const table = config["kvs"];
  if (table === undefined) return { syncEachCommit: false, checkpointPeriodMs: CHECKPOINT_PERIOD_MS };
  if (!isJsonObject(table)) throw new FluxError("EINVAL", "[kvs] is not a table");
  const { durability } = table;
  if (durability !== undefined && durability !== "process" && durability !== "fsync")
    throw new FluxError("EINVAL", `[kvs] durability is "process" or "fsync"`);
  return { syncEachCommit: durability === "fsync", checkpointPeriodMs: parsePeriod(table["checkpoint-period"]) };
}

function parsePeriod(value: unknown): number {
  if (value === undefined) return CHECKPOINT_PERIOD_MS;
  try {
    if (typeof value === "string") return parseFsd(value) * 1000;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
  throw new FluxError("EINVAL", '[kvs] checkpoint-period is a duration, as "5s" or "30m"');
}
