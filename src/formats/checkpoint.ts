/**
 * Checkpoints of the key-value store: which root it begins with, as content services keep it (an object with the members
 * `version`, `rootref`, `sequence` and `timestamp`; in version 0 only the first two).
 *
 * Content services keep whatever they are given: who reads a checkpoint checks it. Other members are its writer's.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { isBlobref } from "./blobref.ts";

export interface Checkpoint extends JsonObject {
  readonly version: 0 | 1;
  /** As it was put, which may be no blobref. */
  readonly rootref: string;
  /** The version of the primary namespace. */
  readonly sequence?: number;
  /** Seconds since the Unix epoch. */
  readonly timestamp?: number;
}

/** Reads a checkpoint to show it. Throws EINVAL for a version that is not known, EPROTO for what is no checkpoint. */
export function readCheckpoint(value: JsonValue | undefined): Checkpoint {
  if (!isJsonObject(value)) throw malformed("is not an object");
  const { version, rootref, sequence = 0, timestamp = 0 } = value;
  if (typeof version !== "number") throw malformed("has no version");
  if (version !== 0 && version !== 1)
    throw new FluxError("EINVAL", `Invalid argument: checkpoint has version ${version}, known are 0 and 1`);
  if (typeof rootref !== "string") throw malformed("has no rootref");
  if (typeof sequence !== "number" || typeof timestamp !== "number")
    throw malformed("has no numbers where they belong");
  return value as Checkpoint;
}

/** Reads a checkpoint to begin with its root. Throws the same, and EPROTO where that is no blobref. */
export function checkCheckpoint(value: JsonValue | undefined): Checkpoint {
  const checkpoint = readCheckpoint(value);
  if (!isBlobref(checkpoint.rootref)) throw malformed("has no rootref that is a blobref");
  return checkpoint;
}

function malformed(what: string): FluxError {
  return new FluxError("EPROTO", `Protocol error: checkpoint ${what}`);
}

/** Reads the answer to `checkpoint-get`: all that are kept, newest first. What they are has to be checked one by one. */
export function checkpointList(value: JsonValue | undefined): [JsonValue, ...JsonValue[]] {
  if (!Array.isArray(value) || value.length === 0) throw new FluxError("EPROTO");
  return value as [JsonValue, ...JsonValue[]];
}
