/**
 * What went wrong inside an instance, for those outside: a summary of the jobs that failed goes as a memo (RFC 21) to the job
 * that this instance is, with what nested instances told of theirs. `broker.fail-on` decides whether it fails the instance.
 */
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject, type JsonValue } from "../base/json.ts";
import { f58FormOf, formatFluid, parseFluid } from "../formats/fluid.ts";
import { Handle } from "../sdk/handle.ts";
import { jobErrorText, JobResult } from "../sdk/job-protocol.ts";
import { connectLocal } from "../sdk/local-connector.ts";
import type { Core } from "./core.ts";

/** Failures that are told one by one: the first ones. */
const TOLD_MAX = 5;
/** Failed jobs that are looked at, to find the first ones and what nested instances told. */
const LOOKED_AT_MAX = 1000;
const REASON_LENGTH_MAX = 200;
const LOG_ERR = 3;
const EXIT_FAILED = 1;

/** The memo `failures`. */
export interface Failures {
  /** Jobs that failed or ran out of time, here and in nested instances. */
  readonly total: number;
  readonly failed: number;
  readonly timeout: number;
  readonly canceled: number;
  /** Of the total, those in nested instances. */
  readonly nested: number;
  readonly first: readonly { readonly id: string; readonly name: string; readonly reason: string }[];
}

interface ListedJob extends JsonObject {
  readonly id: Integer;
  readonly t_inactive: number;
}

/** How many failures fail the instance: `any`, a number, or `none` (Infinity). Throws FluxError EINVAL. */
export function failureLimit(text: string): number {
  if (text === "none") return Infinity;
  if (text === "any") return 1;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new FluxError("EINVAL", `fail-on: '${text}' is neither 'any' nor 'none' nor a number of failed jobs`);
}

/** Tells of what failed, if anything did. Resolves with the exit code that it means: 0 where it is nobody's business. */
export async function reportFailures(core: Core): Promise<number> {
  const { attributes, log } = core.options;
  try {
    const failures = await gatherFailures(core.handle, (id) => formatFluid(id, f58FormOf(core.options.ports.host.env)));
    if (failures === null) return 0;
    await tellEnclosing(core, failures);
    if (failures.total < failureLimit(attributes.get("broker.fail-on") ?? "none")) return 0;
    const [first] = failures.first;
    const example = first === undefined ? "" : `; the first: ${first.id} (${first.name}): ${first.reason}`;
    log.append("broker", LOG_ERR, `fail-on: ${failures.total} failed inside${example}`);
    return EXIT_FAILED;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    if (!error.is("ENOSYS")) log.append("broker", LOG_ERR, `telling of failed jobs: ${errorText(error)}`);
    return 0;
  }
}

async function gatherFailures(handle: Handle, idText: (id: Integer) => string): Promise<Failures | null> {
  const { failed, timeout, canceled } = await handle.rpc<Record<"failed" | "timeout" | "canceled", number>>(
    "job-list.job-stats",
    {},
  );
  const told = await listJobs(handle, { not: [{ results: [JobResult.Canceled] }] }, ["annotations"]);
  const nested = told.reduce((sum, job) => sum + nestedFailures(job), 0);
  const total = failed + timeout + nested;
  if (total === 0) return null;
  const bad = await listJobs(handle, { results: [JobResult.Failed | JobResult.Timeout] }, [
    "name",
    "waitstatus",
    "exception_occurred",
    "exception_severity",
    "exception_type",
    "exception_note",
    "t_inactive",
    "annotations",
  ]);
  const first = bad
    .sort((left, right) => left.t_inactive - right.t_inactive)
    .slice(0, TOLD_MAX)
    .map((job) => ({ id: idText(job.id), name: String(job["name"] ?? ""), reason: reasonOf(job) }));
  return { total, failed, timeout, canceled, nested, first };
}

async function listJobs(handle: Handle, constraint: JsonObject, attrs: string[]): Promise<ListedJob[]> {
  const inactive = { and: [{ states: ["inactive"] }, constraint] };
  const payload = { max_entries: LOOKED_AT_MAX, attrs, constraint: inactive };
  return (await handle.rpc<{ jobs: ListedJob[] }>("job-list.list", payload)).jobs;
}

/** What a job that was an instance told of its own jobs. */
function failuresOf(annotations: JsonValue | undefined): JsonObject | null {
  const user = isJsonObject(annotations) ? annotations["user"] : null;
  const failures = isJsonObject(user) ? user["failures"] : null;
  return isJsonObject(failures) ? failures : null;
}

function nestedFailures(job: ListedJob): number {
  const total = failuresOf(job["annotations"])?.["total"];
  return typeof total === "number" ? total : 0;
}

function reasonOf(job: ListedJob): string {
  const { waitstatus, exception_type, exception_note, exception_severity } = job;
  const hasException = job["exception_occurred"] === true && exception_severity === 0;
  const exception = hasException
    ? { type: String(exception_type), severity: 0, note: String(exception_note ?? "") }
    : null;
  const text = jobErrorText(typeof waitstatus === "number" ? waitstatus : null, exception);
  return text.length > REASON_LENGTH_MAX ? `${text.slice(0, REASON_LENGTH_MAX - 1)}…` : text;
}

async function tellEnclosing(core: Core, failures: Failures): Promise<void> {
  const { attributes, ports } = core.options;
  const uri = attributes.get("parent-uri");
  const jobid = attributes.get("jobid");
  if (uri === null || jobid === null) return;
  const handle = new Handle(await connectLocal(ports, uri, { retries: 0 }));
  try {
    await handle.rpc("job-manager.memo", {
      id: parseFluid(jobid),
      memo: { failures: failures as unknown as JsonObject },
    });
  } finally {
    handle.close();
  }
}
