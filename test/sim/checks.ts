/** What must hold of a simulated instance: looked at from outside, through the services that users have. */
import { isFluxError } from "../../src/base/errors.ts";
import { parseJson, type Integer, type JsonObject } from "../../src/base/json.ts";
import { fluidKvsPath } from "../../src/formats/fluid.ts";
import { Idset } from "../../src/formats/idset.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import { Kvs } from "../../src/sdk/kvs.ts";
import type { World } from "../../src/testkit/world.ts";

export interface JobEvent {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject;
}
export interface JobRecord {
  readonly id: Integer;
  readonly events: readonly JobEvent[];
  readonly R: JsonObject | null;
}

/** RFC 21: which events may follow in which state, and the state they lead to. Events absent here may come any time. */
const TRANSITIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  none: { submit: "NEW" },
  NEW: { "dependency-add": "NEW", "dependency-remove": "NEW", validate: "DEPEND", invalidate: "INACTIVE" },
  DEPEND: { depend: "PRIORITY", "dependency-add": "DEPEND", "dependency-remove": "DEPEND" },
  PRIORITY: { priority: "SCHED" },
  SCHED: { alloc: "RUN", priority: "SCHED" },
  RUN: { start: "RUN", finish: "CLEANUP", release: "RUN", "resource-update": "RUN" },
  CLEANUP: { finish: "CLEANUP", release: "CLEANUP", free: "CLEANUP", start: "CLEANUP", clean: "INACTIVE" },
  INACTIVE: {},
};
const ANYTIME = new Set(["exception", "urgency", "memo", "flux-restart", "jobspec-update", "annotations"]);

/** Follows an eventlog; a sentence where it is not a legal path. */
export function illegalStep(events: readonly JobEvent[]): string | null {
  let state = "none";
  for (const { name, context } of events) {
    if (name === "exception") {
      if (context?.["severity"] === 0 && state !== "INACTIVE") state = "CLEANUP";
      continue;
    }
    if (ANYTIME.has(name)) continue;
    const next = TRANSITIONS[state]?.[name];
    if (next === undefined) return `event ${name} in state ${state}`;
    state = next;
  }
  return null;
}

export async function readJob(handle: Handle, id: Integer): Promise<JobRecord> {
  const kvs = new Kvs(handle);
  const path = fluidKvsPath(id);
  const text = await kvs.getText(`${path}.eventlog`);
  const events = text
    .trim()
    .split("\n")
    .map((line) => parseJson(line) as unknown as JobEvent);
  const R = await kvs.get(`${path}.R`).catch((error: unknown) => {
    if (isFluxError(error, "ENOENT")) return null;
    throw error;
  });
  return { id, events, R: R as JsonObject | null };
}

/** Every eventlog is legal, complete, with one free per alloc. */
export function checkEventlogs(jobs: readonly JobRecord[]): void {
  for (const { id, events } of jobs) {
    const fault = illegalStep(events);
    const names = events.map(({ name }) => name);
    if (fault !== null) throw new Error(`job ${id}: ${fault}: ${names.join(" ")}`);
    if (names.at(-1) !== "clean") throw new Error(`job ${id} is not inactive: ${names.join(" ")}`);
    const count = (name: string): number => names.filter((each) => each === name).length;
    if (count("alloc") !== count("free")) throw new Error(`job ${id}: ${count("alloc")} alloc, ${count("free")} free`);
  }
}

interface Interval {
  readonly id: Integer;
  readonly from: number;
  readonly to: number;
  readonly cores: ReadonlySet<string>;
}

function intervalOf({ id, events, R }: JobRecord): Interval | null {
  const from = events.find(({ name }) => name === "alloc")?.timestamp;
  const to = events.find(({ name }) => name === "free")?.timestamp;
  if (from === undefined || to === undefined || R === null) return null;
  const execution = R["execution"] as { R_lite: { rank: string; children: { core?: string } }[] };
  const cores = new Set<string>();
  for (const { rank, children } of execution.R_lite)
    for (const node of Idset.parse(rank))
      for (const core of Idset.parse(children.core ?? "")) cores.add(`${node}/${core}`);
  return { id, from, to, cores };
}

/** No core belongs to two jobs at the same time. */
export function checkDisjoint(world: World, jobs: readonly JobRecord[]): void {
  const intervals = jobs.map(intervalOf).filter((interval) => interval !== null);
  for (const [index, left] of intervals.entries())
    for (const right of intervals.slice(index + 1)) {
      if (left.from >= right.to || right.from >= left.to) continue;
      world.mark("two jobs ran at the same time");
      for (const core of left.cores)
        if (right.cores.has(core)) throw new Error(`jobs ${left.id} and ${right.id} both had core ${core}`);
    }
}

/** No task is started twice, whatever happens to the instance. Counts from now on. */
export function watchTasks(world: World): void {
  const started = new Set<string>();
  world.processes.spawned = ({ env }) => {
    if (env["FLUX_JOB_ID"] === undefined || env["FLUX_TASK_RANK"] === undefined) return;
    const task = `task ${env["FLUX_TASK_RANK"]} of job ${env["FLUX_JOB_ID"]}`;
    if (started.has(task)) throw new Error(`${task} was started twice`);
    started.add(task);
  };
}

/** Every broker numbers events without a gap. Returns what to call at the end. */
export async function watchSequence(handle: Handle, rank: number): Promise<void> {
  let last = 0;
  await handle.subscribe("", (event) => {
    if (last !== 0 && event.sequence !== last + 1)
      throw new Error(`rank ${rank}: event ${event.sequence} after ${last}`);
    last = event.sequence;
  });
}

/** Marks for what happened to jobs. */
export function markOutcomes(world: World, jobs: readonly JobRecord[]): void {
  for (const { events } of jobs) {
    const names = events.map(({ name }) => name);
    const status = events.find(({ name }) => name === "finish")?.context?.["status"];
    if (status === 0) world.mark("a job succeeded");
    else if (status !== undefined) world.mark("a job failed");
    for (const { name, context } of events)
      if (name === "exception" && context?.["severity"] === 0) world.mark(`exception ${String(context["type"])}`);
    if (names.includes("flux-restart")) world.mark("a job saw its instance restart");
    if (names.includes("flux-restart") && names.indexOf("alloc") > names.indexOf("flux-restart"))
      world.mark("a job waited over a restart and ran");
  }
}
