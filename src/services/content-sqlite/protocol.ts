/**
 * Messages of the service `content-backing` as `content-sqlite` serves it (RFC 10): raw blobs by digest, checkpoints as
 * JSON objects, newest first. Only the instance owner may call.
 *
 * | topic                | request                  | response                                    |
 * |----------------------|--------------------------|---------------------------------------------|
 * | load, validate       | digest                   | blob; empty where it is there; ENOENT       |
 * | store                | blob                     | digest                                      |
 * | store-batch          | blobs (`sdk/blob-batch`) | empty                                       |
 * | checkpoint-get, -put | none; {value}            | {value}: all that are kept; empty           |
 *
 * Under its own name it answers `stats-get` and `stats-clear`.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { BlobDatabaseOptions } from "../../base/ports.ts";

/** The name under which the content service finds its backing store. */
export const BACKING_SERVICE = "content-backing";
/** The file in the state directory. */
export const DATABASE_NAME = "content.sqlite";
/** Checkpoints that are kept. */
const CHECKPOINTS_KEPT = 5;

export interface StoreOptions {
  readonly database: Required<BlobDatabaseOptions>;
  readonly checkpointsKept: number;
}

/** Names of options, in the configuration table `[content-sqlite]` and as module arguments. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  journal_mode: ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"],
  synchronous: ["EXTRA", "FULL", "NORMAL", "OFF"],
};

/**
 * Reads the configuration and the module arguments, which come before it. A store that outlives the instance is written
 * with care by default; one that is removed with it need not survive power loss. Throws EINVAL.
 */
export function parseOptions(args: readonly string[], config: JsonObject, isPersistent: boolean): StoreOptions {
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(tableOf(config))) setOption(values, name, String(value));
  let truncate = false;
  for (const argument of args) {
    const [name, value] = argument.split("=", 2) as [string, string | undefined];
    if (name === "truncate" && value === undefined) truncate = true;
    else setOption(values, name.replaceAll("-", "_"), value ?? "");
  }
  return {
    database: {
      truncate,
      journalMode: values.get("journal_mode") ?? (isPersistent ? "WAL" : "OFF"),
      synchronous: values.get("synchronous") ?? (isPersistent ? "NORMAL" : "OFF"),
    },
    checkpointsKept: Number(values.get("max_checkpoints") ?? CHECKPOINTS_KEPT),
  };
}

function tableOf(config: JsonObject): JsonObject {
  const table = config["content-sqlite"] ?? {};
  if (!isJsonObject(table)) throw invalid("[content-sqlite] is not a table");
  return table;
}

function setOption(values: Map<string, string>, name: string, value: string): void {
  const choices = CHOICES[name];
  if (choices !== undefined && !choices.includes(value))
    throw invalid(`${name} is one of ${choices.join(", ")}, not '${value}'`);
  if (choices === undefined && !(name === "max_checkpoints" && /^[1-9]\d*$/.test(value)))
    throw invalid(
      name === "max_checkpoints" ? `${name} is a number above 0, not '${value}'` : `unknown option '${name}'`,
    );
  values.set(name, value);
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `Invalid argument: ${reason}`);
}
