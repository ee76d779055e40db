/** What is stored with a job, and waiting for it: eventlogs, single events, keys. */
import { errnoSentence, FluxError, isFluxError } from "../../../base/errors.ts";
import { type Integer, stringifyJson } from "../../../base/json.ts";
import { tryParseFsd } from "../../../formats/duration.ts";
import { lookupJob } from "../../../sdk/jobs.ts";
import { unwrapJobspec } from "../../../sdk/job-envelope.ts";
import type { JobEvent } from "../../../sdk/job-protocol.ts";
import type { Handle } from "../../../sdk/handle.ts";
import type { CommandContext } from "../../framework/command.ts";
import { readEventlog, watchEventlog } from "../../jobs/client.ts";
import { EventlogFormatter, splitEventlog, type EventLine } from "../../output/eventlog-text.ts";
import { refuseOption, requireJobId } from "./operands.ts";

const INFO_USAGE = `Usage: flux job info id key
some useful keys are:
  J                    - signed jobspec
  R                    - allocated resources
  eventlog             - primary job eventlog
  jobspec              - job specification
  guest.exec.eventlog  - execution eventlog
  guest.input          - job input log
  guest.output         - job output log
Use flux job info -h to list available options
`;

/** Short names of eventlogs. */
const PATHS: Readonly<Record<string, string>> = {
  exec: "guest.exec.eventlog",
  input: "guest.input",
  output: "guest.output",
};

function pathOf(context: CommandContext): string {
  const path = context.options.text("path") ?? "eventlog";
  return PATHS[path] ?? path;
}

function formatterOf(context: CommandContext): EventlogFormatter {
  const { options } = context;
  const format = options.text("format") ?? "text";
  if (format !== "text" && format !== "json") throw new FluxError("EINVAL", `invalid format type '${format}'`);
  const time = options.text("time-format") ?? "raw";
  if (!["raw", "iso", "offset", "human"].includes(time))
    throw new FluxError("EINVAL", `invalid time-format type '${time}'`);
  const when = options.has("color") ? (options.text("color") ?? "always") : "auto";
  if (!["always", "never", "auto"].includes(when)) refuseOption(context, `Invalid argument to --color: '${when}'`);
  return new EventlogFormatter({
    unformatted: format === "json",
    human: options.has("human") || time === "human",
    color: when === "always" || (when === "auto" && context.stdoutIsTerminal),
    ...((time === "iso" || time === "offset") && { time }),
  });
}

/** What went wrong with a log, in words. */
function logError(error: unknown, job: string, path: string, call: string): unknown {
  if (!isFluxError(error)) return error;
  if (error.is("EPERM")) return new FluxError("EPERM", `${call}: ${errnoSentence(error.errnum)}`, { cause: error });
  if (!error.is("ENOENT")) return error;
  return path === "eventlog"
    ? new FluxError("ENOENT", `job ${job} not found`, { cause: error })
    : new FluxError("ENOENT", `eventlog path ${path} not found`, { cause: error });
}

export async function eventlog(context: CommandContext): Promise<number> {
  const [job] = context.operands;
  if (job === undefined || context.operands.length !== 1) context.failUsage();
  const id = requireJobId(job);
  const formatter = formatterOf(context);
  const path = pathOf(context);
  const handle = await context.open();
  try {
    if (context.options.has("follow"))
      await followLog(handle, id, path, (event) => context.out(formatter.format(event)));
    else if (!path.startsWith("guest."))
      printLog(context, formatter, (await lookupJob(handle, id, [path]))[path] ?? "");
    // What shells write may be of any length.
    else await readEventlog(handle, id, path, (line) => printLog(context, formatter, `${line}\n`));
    return 0;
  } catch (error) {
    throw logError(
      error,
      job,
      path,
      `flux_job_${context.options.has("follow") ? "event_watch" : "eventlog_lookup"}_get`,
    );
  }
}

/** Throws FluxError EINVAL for what is no log. */
function printLog(context: CommandContext, formatter: EventlogFormatter, text: string): void {
  const events = splitEventlog(text);
  if (events === null) throw new FluxError("EINVAL", "eventlog_decode: Invalid argument");
  for (const event of events) context.out(formatter.format(event));
}

/** Calls back for every event until the log ends, or until `see` returns false. */
function followLog(
  handle: Handle,
  id: Integer,
  path: string,
  see: (event: EventLine, entry: JobEvent) => boolean | void,
  waitcreate = false,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let done = false;
    const stream = watchEventlog(
      handle,
      id,
      path,
      {
        event(entry, line) {
          const [event] = splitEventlog(`${line}\n`) ?? [];
          if (done || event === undefined || see(event, entry) !== false) return;
          done = true;
          stream.cancel();
          resolve(true);
        },
        end: (error) => (error === null ? resolve(false) : reject(error)),
      },
      { waitcreate },
    );
  });
}

export async function waitEvent(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [job, name] = operands;
  if (job === undefined || name === undefined || operands.length !== 2) context.failUsage();
  const id = requireJobId(job);
  const formatter = formatterOf(context);
  const path = pathOf(context);
  const wanted = options.list("match-context").map(contextMatch);
  let missing = options.integer("count") ?? 1;
  if (missing < 1) throw new FluxError("EINVAL", "count must be > 0");
  const seconds = timeoutOf(context);
  const handle = await context.open();
  const see = (event: EventLine, entry: JobEvent): boolean => {
    const matches = entry.name === name && wanted.every((match) => match(event));
    if (matches) missing--;
    formatter.skip(event);
    if (missing === 0 ? !options.has("quiet") : options.has("verbose")) context.out(formatter.format(event));
    return missing > 0;
  };
  try {
    const waitcreate = options.has("waitcreate") || path.startsWith("guest.");
    const found = await Promise.race([followLog(handle, id, path, see, waitcreate), expiry(seconds, name)]);
    if (!found) throw new FluxError("ENODATA", `event '${name}' never received`);
    return 0;
  } catch (error) {
    throw logError(error, job, path, "flux_job_event_watch_get");
  }
}

/** `KEY=VAL`: VAL as JSON, or as the text that it is. */
function contextMatch(argument: string): (event: EventLine) => boolean {
  const at = argument.indexOf("=");
  if (at < 1) throw new FluxError("EINVAL", "must specify a context test as key=value");
  const key = argument.slice(0, at);
  const value = argument.slice(at + 1);
  return ({ context }) => {
    const json = context.find(([name]) => name === key)?.[1];
    if (json === undefined) return false;
    // Numbers are equal however they are written.
    const isNumber = /^-?\d/.test(json) && value.trim() !== "";
    return json === value || json === stringifyJson(value) || (isNumber && Number(json) === Number(value));
  };
}

/** How long to wait, in seconds. */
function timeoutOf(context: CommandContext): number {
  const text = context.options.text("timeout");
  if (text === null) return Infinity;
  const seconds = tryParseFsd(text);
  if (seconds === null) refuseOption(context, `wait-event: Invalid argument for option 'timeout': '${text}'`);
  return seconds;
}

/** Rejects after so many seconds; never settles where there is no end to them. */
function expiry(seconds: number, name: string): Promise<never> {
  return new Promise((_, reject) => {
    const expire = (): void => reject(new FluxError("ETIMEDOUT", `wait-event timeout on event '${name}'`));
    if (Number.isFinite(seconds)) setTimeout(expire, seconds * 1000).unref();
  });
}

export async function info(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [job, key] = operands;
  if (job === undefined || key === undefined || operands.length !== 2) {
    context.err(INFO_USAGE);
    return 1;
  }
  const id = requireJobId(job);
  const handle = await context.open();
  const original = options.has("original") && key === "jobspec";
  const stored = original ? "J" : key;
  const current = !options.has("base") && !original && (key === "jobspec" || key === "R");
  try {
    const text = (await lookupJob(handle, id, [stored], { current }))[stored];
    const value = typeof text === "string" ? text : stringifyJson(text);
    context.out(`${original ? unwrapJobspec(value).jobspec : value}\n`);
    return 0;
  } catch (error) {
    if (!isFluxError(error, "ENOENT") || error.message === "invalid job id") throw error;
    throw new FluxError("ENOENT", `${key}: key not found`, { cause: error });
  }
}
