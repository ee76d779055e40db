/**
 * Messages of the service `content-backing` as `content-sqlite` serves it (RFC 10): raw blobs by digest, checkpoints as
 * JSON objects, newest first. Only the instance owner may call.
 *
 * | topic                | request                  | response                                    |
 * |----------------------|--------------------------|---------------------------------------------|
 * | load                 | digest                   | blob, a directory in pieces as one; ENOENT  |
 * | load-stored          | digest                   | blob as it is stored; ENOENT                |
 * | validate             | digest                   | empty where it is there; ENOENT             |
 * | store                | blob                     | digest; ENOSPC                              |
 * | store-batch          | blobs (`sdk/blob-batch`) | empty; ENOSPC                               |
 * | touch, adopt         | digests                  | digests of those that are missing           |
 * | checkpoint-get, -put | none; {value}            | {value}: all that are kept; empty           |
 * | gc-info              | {epoch, get_count?}      | {current_epoch, high_water, candidates?}    |
 * | mark                 | {epoch, hashes}          | {marked}                                    |
 * | sweep                | {epoch, cursor, high_water, delete_cap, window, spare_leased?} | {deleted, cursor} |
 *
 * The last three serve `flux gc`, which removes what is superseded when it is told to; this happens by itself, too. Epochs
 * pass quickly here: `spare_leased` keeps what clients stored lately, to which a commit may refer only later.
 * Under its own name the service answers `stats-get` and `stats-clear`.
 */
import type { JsonObject } from "../../base/json.ts";
import { invalid, tableOf } from "../blob-engine/settings.ts";

/** The name under which the content service finds its backing store. */
export const BACKING_SERVICE = "content-backing";
/** The file in the state directory. */
export const DATABASE_NAME = "content.sqlite";
/** Checkpoints that are kept. */
const CHECKPOINTS_KEPT = 5;

/** A size limit is warned of from this part of it on. */
export const LIMIT_WARNING_FRACTION = 0.9;
/** How often it is looked at. */
export const LIMIT_PERIOD_MS = 1000;

export interface StoreOptions {
  readonly truncate: boolean;
  readonly journalMode: string;
  readonly synchronous: string;
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
  for (const [name, value] of Object.entries(tableOf(config, "content-sqlite"))) setOption(values, name, String(value));
  let truncate = false;
  for (const argument of args) {
    const [name, value] = argument.split("=", 2) as [string, string | undefined];
    if (name === "truncate" && value === undefined) truncate = true;
    else setOption(values, name.replaceAll("-", "_"), value ?? "");
  }
  return {
    truncate,
    journalMode: values.get("journal_mode") ?? (isPersistent ? "WAL" : "OFF"),
    synchronous: values.get("synchronous") ?? (isPersistent ? "NORMAL" : "OFF"),
    checkpointsKept: Number(values.get("max_checkpoints") ?? CHECKPOINTS_KEPT),
  };
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
