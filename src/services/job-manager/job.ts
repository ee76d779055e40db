/**
 * A job as the job manager holds it while it is active: what its eventlog says (`Folded`, made by `fold.ts` alone), and
 * what is under way for it with other services (`Job`), which is lost and found again when the service restarts.
 */
import type { Integer, JsonObject } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { JobState, type JobEvent, type JobException } from "../../sdk/job-protocol.ts";

/** What the eventlog says of a job. Only `apply` writes here. */
export interface Folded {
  state: JobState;
  userid: number;
  urgency: number;
  /** JobFlag bits. */
  flags: number;
  /** Seconds since the epoch. */
  tSubmit: number;
  /** -1 until one is assigned. */
  priority: number;
  /** Dependencies that hold the job back; null = none yet. */
  dependencies: Set<string> | null;
  /** Dependencies that held the job back. */
  satisfied: Set<string> | null;
  /** Prologs and epilogs under way, by description. */
  prologs: Set<string> | null;
  epilogs: Set<string> | null;
  /** Whether resources are allocated. */
  hasResources: boolean;
  /** Whether resources were allocated to this attempt. */
  wasAllocated: boolean;
  /** Which attempt this is, from 1. */
  attempt: number;
  started: boolean;
  /** wait(2) status; null until the job finished. */
  waitStatus: number | null;
  /** Idsets of ranks whose resources went back, and whether all have. */
  releasedRanks: string[] | null;
  released: boolean;
  /** The first exception of severity 0. */
  exception: JobException | null;
  /** What `memo` events and the allocation say (RFC 27). */
  annotations: JsonObject | null;
  /** Whether the instance owner changed the jobspec of a guest's job. */
  immutable: boolean;
  /** Whether its resources came from elsewhere than the scheduler. */
  isUnscheduled: boolean;
  /** Jobspec keys that were updated, with their values. */
  updates: Record<string, unknown> | null;
  /** Seconds since the epoch, where `resource-update` set one. */
  expiration: number | null;
}

/** Where a job stands with the scheduler. */
export type AllocationStage = "none" | "queued" | "pending" | "canceling";

export interface Job extends Folded {
  readonly id: Integer;
  /** The eventlog so far. */
  readonly events: JobEvent[];
  /** How many of the events are on their way to the KVS, or there: what is committed later comes after them. */
  sentCount: number;
  /** How many of the events are in the KVS for certain, and were shown to watchers. */
  durableCount: number;
  /** The jobspec with its updates; null only while a job is read back. */
  jobspec: Jobspec | null;
  /** The allocated resource set (RFC 20); null before the allocation, or until it has been read back. */
  R: JsonObject | null;
  allocation: AllocationStage;
  /** Its place in the queue for the scheduler. */
  ticket: object | null;
  /** Whether the execution service has a start request open. */
  startRequested: boolean;
  /** Whether shells were started by an earlier execution service or before a restart. */
  reattach: boolean;
  /** Whether housekeeping still has resources of it. */
  isTidying: boolean;
  /** Something went wrong with it that not even an exception could end: it is left alone. */
  isStuck: boolean;
}

export function newFolded(): Folded {
  return {
    state: JobState.New,
    userid: -1,
    urgency: 0,
    flags: 0,
    tSubmit: 0,
    priority: -1,
    dependencies: null,
    satisfied: null,
    prologs: null,
    epilogs: null,
    hasResources: false,
    wasAllocated: false,
    attempt: 1,
    started: false,
    waitStatus: null,
    releasedRanks: null,
    released: false,
    exception: null,
    annotations: null,
    immutable: false,
    isUnscheduled: false,
    updates: null,
    expiration: null,
  };
}

export function newJob(id: Integer, jobspec: Jobspec | null): Job {
  return {
    ...newFolded(),
    id,
    events: [],
    sentCount: 0,
    durableCount: 0,
    jobspec,
    R: null,
    allocation: "none",
    ticket: null,
    startRequested: false,
    reattach: false,
    isTidying: false,
    isStuck: false,
  };
}

/** The queue that a job names; empty for the anonymous one. */
export function queueOf(job: Job): string {
  return job.jobspec?.attributes.system?.queue ?? "";
}
