/** How jobs ended, and what is left of them: status, wait, stats, memo, timeleft, purge. */
import { utf8Decode } from "../../../base/bytes.ts";
import { FluxError, isFluxError } from "../../../base/errors.ts";
import {
  isJsonObject,
  jsonOrText,
  stringifyJson,
  type Integer,
  type JsonObject,
  type JsonValue,
} from "../../../base/json.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "../../../base/signals.ts";
import { formatDuration, tryParseFsd } from "../../../formats/duration.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";
import { jobResult, JobState } from "../../../sdk/job-protocol.ts";
import { addMemo, jobInfo, waitForWaitable } from "../../../sdk/jobs.ts";
import type { Handle } from "../../../sdk/handle.ts";
import type { CommandContext } from "../../framework/command.ts";
import { jobIdText, watchEventlog } from "../../jobs/client.ts";
import { JobOutcome } from "../../jobs/outcome.ts";
import { refuseOption, requireJobId } from "./operands.ts";

const UNLIMITED_SECONDS = 4294967295;
const PURGE_BATCH_DEFAULT = 50;
const EXIT_NOT_WAITABLE = 2;

interface Followed {
  readonly text: string;
  readonly outcome: JobOutcome;
  readonly summary: Record<string, JsonValue>;
}

export async function status(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const ids = operands.map((text) => ({ text, id: requireJobId(text) }));
  const exceptionCode = options.integer("exception-exit-code") ?? 1;
  const handle = await context.open();
  const verbosity = options.count("verbose");
  const tellsProgress = verbosity > 0 && ids.length > 1;
  if (tellsProgress) context.complain(`fetching status for ${ids.length} jobs`);
  const jobs = await Promise.all(ids.map(({ text, id }) => followToEnd(handle, text, id)));
  if (tellsProgress) context.complain("all done.");
  let exitCode = 0;
  for (const { text, outcome, summary } of jobs) {
    if (options.has("json")) context.out(`${stringifyJson(summary)}\n`);
    const end = endText(outcome, verbosity);
    if (end !== null) context.complain(`${text}: ${end}`);
    exitCode = Math.max(exitCode, outcome.exitCode(exceptionCode));
  }
  return exitCode;
}

/** What `-v` says of a job that ran and failed, and `-vv` of any; null where it says nothing. */
function endText({ waitStatus, exception }: JobOutcome, verbosity: number): string | null {
  if (verbosity <= ((waitStatus ?? 0) === 0 ? 1 : 0)) return null;
  if (exception !== null) return `exception type=${exception.type}`;
  return waitStatus === null ? null : statusText(waitStatus);
}

function statusText(waitStatus: number): string {
  const signum = signalOfStatus(waitStatus);
  return signum === 0
    ? `exited with exit code ${exitCodeOfStatus(waitStatus)}`
    : `job shell died by signal ${signum}: ${signalSentence(signum)}`;
}

function followToEnd(handle: Handle, text: string, id: Integer): Promise<Followed> {
  const outcome = new JobOutcome();
  const summary: Record<string, JsonValue> = { id, exception_occurred: false };
  return new Promise((resolve, reject) => {
    watchEventlog(handle, id, "eventlog", {
      event: (event) => {
        outcome.apply(event);
        summarize(summary, event.name, event.timestamp, event.context ?? {});
      },
      end(error) {
        if (error !== null) return reject(statusError(error, text));
        summary["result"] = jobResult(outcome.waitStatus, outcome.exception);
        resolve({ text, outcome, summary });
      },
    });
  });
}

function statusError(error: FluxError, text: string): FluxError {
  if (error.is("ENOENT")) return new FluxError("ENOENT", `${text}: No such job`, { cause: error });
  const sentence = `${text}: flux_job_wait_status_get: ${error.message}`;
  return new FluxError(error.errnum, sentence, { cause: error });
}

function summarize(summary: Record<string, JsonValue>, name: string, timestamp: number, context: JsonObject): void {
  if (name === "submit") summary["t_submit"] = timestamp;
  else if (name === "alloc") summary["t_run"] = timestamp;
  else if (name === "finish") {
    summary["t_cleanup"] ??= timestamp;
    summary["waitstatus"] = context["status"] ?? null;
  } else if (name === "exception") {
    const severity = Number(context["severity"]);
    // The gravest one counts.
    if (summary["exception_occurred"] === true && Number(summary["exception_severity"]) <= severity) return;
    summary["exception_occurred"] = true;
    summary["exception_type"] = context["type"] ?? "";
    summary["exception_note"] = context["note"] ?? "";
    summary["exception_severity"] = severity;
  }
}

export async function wait(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  if (operands.length > 1) context.failUsage();
  if (options.has("all") && operands.length > 0) throw new FluxError("EINVAL", "jobid not supported with --all");
  const id = operands[0] === undefined ? null : requireJobId(operands[0]);
  const handle = await context.open();
  if (options.has("all")) return waitForAll(context, handle);
  try {
    const result = await waitForWaitable(handle, id);
    if (id === null) context.out(`${jobIdText(result.id)}\n`);
    if (!result.success) context.complain(result.errstr);
    return result.success ? 0 : 1;
  } catch (error) {
    // A user who may not ask must not learn whether there is a job to wait for.
    if (!isFluxError(error) || error.is("EPERM")) throw error;
    context.complain(error.message);
    return EXIT_NOT_WAITABLE;
  }
}

async function waitForAll(context: CommandContext, handle: Handle): Promise<number> {
  let exitCode = 0;
  for (;;) {
    let result;
    try {
      result = await waitForWaitable(handle, null);
    } catch (error) {
      if (isFluxError(error, "ECHILD")) return exitCode;
      throw error;
    }
    if (!result.success) exitCode = 1;
    if (!result.success) context.err(`${jobIdText(result.id)}: ${result.errstr}\n`);
    else if (context.options.has("verbose")) context.err(`${jobIdText(result.id)}: job completed successfully\n`);
  }
}

export async function stats(context: CommandContext): Promise<number> {
  const handle = await context.open();
  try {
    context.out(`${stringifyJson(await handle.rpc("job-list.job-stats"))}\n`);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `stats: ${error.message}`, { cause: error });
  }
  return 0;
}

export async function memo(context: CommandContext): Promise<number> {
  const [job, ...pairs] = context.operands;
  if (job === undefined || pairs.length === 0) context.failUsage();
  const id = requireJobId(job);
  let values: JsonObject = {};
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 0) throw new FluxError("EINVAL", `memo: no value for key=${pair}`);
    if (at === 0) throw new FluxError("EINVAL", `failed to set ${pair} in memo object`);
    const text = pair.slice(at + 1);
    // A value of - is what standard input says.
    const value = text === "-" ? utf8Decode(await context.readInput()) : text;
    values = withMember(values, pair.slice(0, at).split("."), jsonOrText(value));
  }
  const handle = await context.open();
  try {
    await addMemo(handle, id, values, context.options.has("volatile"));
    return 0;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `memo: ${error.message}`, { cause: error });
  }
}

/** An object with a member deep in it: what is not an object on the way becomes one. */
function withMember(object: JsonObject, [key = "", ...rest]: readonly string[], value: JsonValue): JsonObject {
  const inner = object[key];
  return { ...object, [key]: rest.length === 0 ? value : withMember(isJsonObject(inner) ? inner : {}, rest, value) };
}

export async function timeleft(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  if (operands.length > 1) context.failUsage();
  const text = operands[0] ?? context.host.env["FLUX_JOB_ID"];
  const id = text === undefined ? null : requireJobId(text);
  const handle = await context.open();
  const expiration = id === null ? await instanceExpiration(handle) : await jobExpiration(handle, id, text!);
  if (expiration === null) {
    context.out(options.has("human") ? "infinity\n" : `${UNLIMITED_SECONDS}\n`);
    return 0;
  }
  const seconds = Math.max(0, expiration - Date.now() / 1000);
  context.out(options.has("human") ? `${formatDuration(seconds)}\n` : `${Math.floor(seconds)}\n`);
  return 0;
}

/** When a job's time is over: 0 for one that is; null for none. */
async function jobExpiration(handle: Handle, id: Integer, text: string): Promise<number | null> {
  let job;
  try {
    job = await jobInfo(handle, id, { attrs: ["state", "expiration"] });
  } catch (error) {
    if (isFluxError(error, "ENOENT")) throw new FluxError("ENOENT", `${text}: no such jobid`, { cause: error });
    throw error;
  }
  const state = Number(job["state"]);
  if (state === JobState.Inactive || state === JobState.Cleanup) return 0;
  if (state !== JobState.Run) throw new FluxError("EINVAL", `job ${text} has not started`);
  const expiration = Number(job["expiration"] ?? 0);
  return expiration === 0 ? null : expiration;
}

async function instanceExpiration(handle: Handle): Promise<number | null> {
  const { R } = await handle.rpc<{ R?: { execution?: { expiration?: number } } }>("resource.status", {}, { nodeid: 0 });
  const expiration = R?.execution?.expiration ?? 0;
  return expiration === 0 ? null : expiration;
}

export async function purge(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const force = options.has("force");
  if (operands.length > 0) return purgeIds(context, operands.map(purgedId), force);
  const age = options.text("age-limit");
  const ageLimit = age === null ? -1 : tryParseFsd(age);
  if (ageLimit === null) refuseOption(context, `purge: Invalid argument for option 'age-limit': '${age}'`);
  const batch = options.integer("batch") ?? PURGE_BATCH_DEFAULT;
  const request = { age_limit: ageLimit, num_limit: options.integer("num-limit") ?? -1, batch, force };
  const handle = await context.open();
  let purged = 0;
  for (;;) {
    const { count } = await asked(handle.rpc<{ count: number }>("job-manager.purge", request, { nodeid: 0 }));
    purged += count;
    if (!force || count < batch) break;
  }
  const left = await inactiveCount(handle);
  if (force) context.out(`purged ${purged} inactive jobs, ${left} remaining\n`);
  else context.out(`use --force to purge ${purged} of ${left} inactive jobs\n`);
  return 0;
}

function purgedId(text: string): Integer {
  const id = tryParseFluid(text);
  if (id === null) throw new FluxError("EINVAL", `failed to parse jobid ${text}`);
  return id;
}

async function purgeIds(context: CommandContext, ids: readonly Integer[], force: boolean): Promise<number> {
  const handle = await context.open();
  let count = 0;
  for (const id of ids)
    count += (await asked(handle.rpc<{ count: number }>("job-manager.purge-id", { id, force }, { nodeid: 0 }))).count;
  if (force) context.out(`purged ${count} inactive jobs\n`);
  else context.out(`use --force to purge ${count} of ${await inactiveCount(handle)} inactive jobs\n`);
  return 0;
}

async function inactiveCount(handle: Handle): Promise<number> {
  return (await handle.rpc<{ inactive_jobs: number }>("job-manager.stats-get", {}, { nodeid: 0 })).inactive_jobs;
}

/** Puts the name of the subcommand before what the job manager says. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    const text = error.is("ENOENT") ? "id not found" : error.message;
    throw new FluxError(error.errnum, `purge: ${text}`, { cause: error });
  }
}
