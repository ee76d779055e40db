/**
 * What of resource events outlives a restart (RFC 44): the eventlog `resource.eventlog` and a checkpoint of who is
 * drained, `checkpoint.resource`, from which a restart goes on. What happened before the checkpoint is kept for reading
 * only, for as long as `[resource] history` says.
 *
 * Invariant: the checkpoint and the events after it give the state; without a checkpoint all events do.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import type { ResourceEvent, ResourceState } from "./core.ts";

export interface Checkpoint {
  /** Seconds since the epoch. */
  readonly timestamp: number;
  /** Events that drain whoever was drained. */
  readonly events: readonly ResourceEvent[];
}

/** Throws FluxError EINVAL where the text is no checkpoint. */
export function parseCheckpoint(text: string): Checkpoint {
  const value = parseJson(text);
  const drains = isJsonObject(value) ? value["drain_state"] : undefined;
  const timestamp = isJsonObject(value) ? value["timestamp"] : undefined;
  if (!isJsonObject(drains) || typeof timestamp !== "number")
    throw new FluxError("EINVAL", "checkpoint.resource: timestamp or drain_state is missing or invalid");
  const events = Object.entries(drains).map(([idset, drain]) => {
    if (!isJsonObject(drain) || typeof drain["timestamp"] !== "number")
      throw new FluxError("EINVAL", `checkpoint.resource: what is said of ${idset} is invalid`);
    const { reason, nodelist } = drain;
    const context = {
      idset,
      ...(nodelist !== undefined && { nodelist }),
      ...(typeof reason === "string" && reason !== "" && { reason }),
      overwrite: 2,
    };
    return { timestamp: drain["timestamp"], name: "drain", context };
  });
  return { timestamp, events };
}

/** The state as a checkpoint. */
export function checkpointText(state: ResourceState, timestamp: number): string {
  const drains: [string, JsonObject][] = Object.entries(state.drainTable()).map(([idset, drain]) => [
    idset,
    { ...(drain as JsonObject), nodelist: state.hostsOf(Idset.parse(idset)) },
  ]);
  return stringifyJson({ timestamp, drain_state: Object.fromEntries(drains) });
}

/** What leads from a checkpoint (null = the beginning) to the state of today. */
export function eventsToReplay(checkpoint: Checkpoint | null, events: readonly ResourceEvent[]): ResourceEvent[] {
  if (checkpoint === null) return [...events];
  return [...checkpoint.events, ...events.filter(({ timestamp }) => timestamp > checkpoint.timestamp)];
}

/** The events that stay in the eventlog: those after the checkpoint, and older ones within `historySec`. */
export function eventsToKeep(
  checkpoint: Checkpoint | null,
  events: readonly ResourceEvent[],
  { now, historySec }: { readonly now: number; readonly historySec: number },
): ResourceEvent[] {
  if (checkpoint === null) return [...events];
  const since = Math.min(checkpoint.timestamp, now - historySec);
  return events.filter(({ timestamp }) => timestamp > since);
}
