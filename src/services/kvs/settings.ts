/** The configuration table `[kvs]`, and the arguments of the module. */
import { FluxError } from "../../base/errors.ts";
import { isBlobref } from "../../formats/blobref.ts";
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
  if (!isJsonObject(table)) throw new FluxError("EINVAL", "error reading config for kvs: [kvs] is not a table");
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
  throw new FluxError(
    "EINVAL",
    `invalid checkpoint-period config: ${String(value)} (it is a duration, such as "5s" or "30m")`,
  );
}

export interface LeaderOptions {
  /** Whether commits of one turn may share a version. */
  readonly mergesCommits: boolean;
  /** The root to begin with, whatever was saved; null for the last checkpoint. */
  readonly initialRootref: string | null;
}

/** The module arguments. Throws EINVAL for an argument that is unknown, or has a value that makes no sense. */
export function parseArguments(args: readonly string[]): LeaderOptions {
  let mergesCommits = true;
  let initialRootref: string | null = null;
  for (const argument of args) {
    const [, name, value] = /^(transaction-merge|initial-rootref)=(.*)$/.exec(argument) ?? [];
    if (name === "transaction-merge" && (value === "0" || value === "1")) mergesCommits = value === "1";
    else if (name === "initial-rootref" && isBlobref(value)) initialRootref = value;
    else
      throw new FluxError(
        "EINVAL",
        name === undefined
          ? `Invalid argument: unknown option '${argument}'`
          : `Invalid argument: ${name} cannot be '${value}'`,
      );
  }
  return { mergesCommits, initialRootref };
}
