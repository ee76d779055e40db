/** `flux job explain`: asks for what `jobs/explain.ts` needs to know of a job. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { base64Decode, concatBytes, utf8Decode } from "../../../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../../../base/errors.ts";
import { isJsonObject, parseJson, type Integer, type JsonObject } from "../../../base/json.ts";
import { formatFluid } from "../../../formats/fluid.ts";
import { jobspecCounts, type JobspecCounts } from "../../../formats/jobspec-counts.ts";
import type { Jobspec } from "../../../formats/jobspec.ts";
import type { ResourceSet } from "../../../formats/resource-set.ts";
import { JobState, parseEventlog } from "../../../sdk/job-protocol.ts";
import { lookupJob } from "../../../sdk/jobs.ts";
import type { Handle } from "../../../sdk/handle.ts";
import { Kvs, valueBytes } from "../../../sdk/kvs.ts";
import { loadBlobs } from "../../../sdk/value-stream.ts";
import type { CommandContext } from "../../framework/command.ts";
import { parseJobId } from "../../jobs/client.ts";
import {
  alternativesIn,
  explainJob,
  type Counts,
  type JobFacts,
  type LoggedEvent,
  type ResourceCounts,
} from "../../jobs/explain.ts";
import { fetchJob, listRecords } from "../../jobs/listing.ts";
import type { JobRecord } from "../../jobs/record.ts";
import type { QueueStatus } from "../../queues/listing.ts";
import { resourcesIn, schedulerView } from "../../resource/view.ts";
import { requireJobId } from "./operands.ts";

/** Lines of standard error that are shown. */
const TAIL_LINES = 10;
/** The end of a file of output that is looked through for them. */
const TAIL_BYTES = 16 * 1024;
/** Blobs at the end of the output that are looked through for them. */
const TAIL_BLOBS = 32;

export async function explain(context: CommandContext): Promise<number> {
  if (context.operands.length === 0) return context.failUsage();
  const ids = context.operands.map((word) => {
    try {
      return requireJobId(word);
    } catch (error) {
      return context.fail(errorText(error));
    }
  });
  const handle = await context.open();
  let exitCode = 0;
  for (const [index, id] of ids.entries()) {
    try {
      const lines = explainJob(await factsOf(handle, id));
      context.out(`${index > 0 ? "\n" : ""}${lines.join("\n")}\n`);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      const isUnknown = isFluxError(error, "ENOENT");
      context.complain(`${context.operands[index]}: ${isUnknown ? "there is no such job" : errorText(error)}`);
      exitCode = 1;
    }
  }
  return exitCode;
}

async function factsOf(handle: Handle, id: Integer): Promise<JobFacts> {
  const job = await fetchJob(handle, id, ["all"]);
  const isWaiting = job.state === JobState.Sched;
  const isRefused = job.isInactive && job.number("t_run") === 0;
  const [logs, output, antecedents, aheadCount, queue, request, resources] = await Promise.all([
    logsOf(handle, id),
    outputEnd(handle, job),
    antecedentsOf(handle, job),
    isWaiting ? countAhead(handle, job) : 0,
    isWaiting ? queueStatus(handle, job.text("queue")) : null,
    isWaiting || isRefused ? requestOf(handle, id) : NO_REQUEST,
    isWaiting ? resourceCounts(handle) : null,
  ]);
  return { job, ...logs, ...output, antecedents, aheadCount, queue, ...request, resources };
}

/** The result, or what is said instead where it cannot be had. */
async function orElse<T>(otherwise: T, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (isFluxError(error)) return otherwise;
    throw error;
  }
}

async function logsOf(
  handle: Handle,
  id: Integer,
): Promise<{ eventlog: readonly LoggedEvent[]; execLog: readonly LoggedEvent[] }> {
  const log = (key: string): Promise<readonly LoggedEvent[]> =>
    orElse<readonly LoggedEvent[]>([], async () => parseEventlog((await lookupJob(handle, id, [key]))[key] ?? ""));
  const [eventlog, execLog] = await Promise.all([log("eventlog"), log("guest.exec.eventlog")]);
  return { eventlog, execLog };
}

/** What the tasks wrote last to standard error. The output may be long: only its end is read. */
async function outputEnd(handle: Handle, job: JobRecord): Promise<Pick<JobFacts, "stderrTail" | "stderrPath">> {
  const text = await orElse("", async () => {
    const kvs = new Kvs(handle);
    const object = await kvs.getTreeObject(`${formatFluid(job.id, "kvs")}.guest.output`);
    if (object.type !== "valref") return utf8Decode(valueBytes(object));
    // The header and notes of redirection are at the beginning.
    const refs = [...new Set([...object.data.slice(0, 4), ...object.data.slice(-TAIL_BLOBS)])];
    const pieces: Uint8Array[] = [];
    for await (const piece of loadBlobs(handle, refs)) pieces.push(piece);
    return utf8Decode(concatBytes(pieces));
  });
  let written = "";
  let stderrPath: string | null = null;
  for (const line of text.split("\n")) {
    const entry = entryOf(line);
    if (entry === null || entry.context["stream"] !== "stderr") continue;
    if (entry.name === "redirect") stderrPath = resolve(job.text("cwd"), String(entry.context["path"]));
    if (entry.name === "data") written += dataOf(entry.context);
  }
  if (stderrPath !== null) written = fileEnd(stderrPath);
  const lines = written.split("\n").filter((line) => line !== "");
  return { stderrTail: lines.slice(-TAIL_LINES), stderrPath };
}

/** The end of a file, which may be a pipe that nobody writes to; nothing where it is on another host, or cannot be read. */
function fileEnd(path: string): string {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = fstatSync(fd);
      const bytes = new Uint8Array(Math.min(size, TAIL_BYTES));
      return utf8Decode(bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, size - bytes.length)));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof Error && "code" in error) return "";
    throw error;
  }
}

/** An entry of an eventlog; null for a part of one. */
function entryOf(line: string): { name: string; context: JsonObject } | null {
  try {
    const entry = line === "" ? null : parseJson(line);
    if (!isJsonObject(entry) || typeof entry["name"] !== "string" || !isJsonObject(entry["context"])) return null;
    return { name: entry["name"], context: entry["context"] };
  } catch (error) {
    if (error instanceof FluxError) return null;
    throw error;
  }
}

function dataOf({ data, encoding }: JsonObject): string {
  if (typeof data !== "string") return "";
  return encoding === "base64" ? utf8Decode(base64Decode(data) ?? new Uint8Array(0)) : data;
}

async function antecedentsOf(handle: Handle, job: JobRecord): Promise<Map<string, JobRecord | null>> {
  const antecedents = new Map<string, JobRecord | null>();
  if (job.state !== JobState.Depend) return antecedents;
  for (const description of job.dependencies.flatMap(alternativesIn)) {
    const value = /^after[^=]*=([^@].*)$/.exec(description)?.[1];
    if (value === undefined) continue;
    const other = await orElse(null, () => fetchJob(handle, parseJobId(value), ["all"]));
    antecedents.set(value, other);
  }
  return antecedents;
}

/** Waiting jobs that the scheduler takes first. */
async function countAhead(handle: Handle, job: JobRecord): Promise<number> {
  const constraint = { and: [{ states: [JobState.Sched] }, { queue: [job.text("queue")] }] };
  const attrs = ["priority", "t_submit", "queue"];
  const waiting = await orElse([], () =>
    listRecords(handle, {
      attrs,
      maxEntries: 0,
      ...(job.text("queue") === "" ? { constraint: { states: [JobState.Sched] } } : { constraint }),
    }),
  );
  const priority = job.number("priority");
  const submitted = job.number("t_submit");
  return waiting.filter((other) => {
    const difference = other.number("priority") - priority;
    return difference > 0 || (difference === 0 && other.number("t_submit") < submitted);
  }).length;
}

function queueStatus(handle: Handle, name: string): Promise<QueueStatus | null> {
  const request = name === "" ? {} : { name };
  return orElse<QueueStatus | null>(null, () => handle.rpc<QueueStatus>("job-manager.queue-status", request));
}

type Request = Pick<JobFacts, "request" | "constraint">;
const NO_REQUEST: Request = { request: null, constraint: null };

function requestOf(handle: Handle, id: Integer): Promise<Request> {
  return orElse<Request>(NO_REQUEST, async () => {
    const { jobspec = "" } = await lookupJob(handle, id, ["jobspec"]);
    const parsed = parseJson(jobspec) as unknown as Jobspec;
    const constraint = parsed.attributes.system?.["constraints"];
    const request = await orElse<JobspecCounts | null>(null, async () => jobspecCounts(parsed));
    return { request, constraint: constraint ?? null };
  });
}

function resourceCounts(handle: Handle): Promise<ResourceCounts | null> {
  const counts = ({ nnodes, ncores }: ResourceSet): Counts => ({ nnodes, ncores });
  return orElse<ResourceCounts | null>(null, async () => {
    const view = await schedulerView(handle);
    return {
      all: counts(view.all),
      up: counts(resourcesIn(view, "up")),
      free: counts(resourcesIn(view, "free")),
    };
  });
}
