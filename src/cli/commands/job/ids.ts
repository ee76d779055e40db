/** Job ids and raw submission: id, namespace, last, list, submit. */
import { readFileSync } from "node:fs";
import { utf8Decode } from "../../../base/bytes.ts";
import { FluxError } from "../../../base/errors.ts";
import type { Integer, JsonObject } from "../../../base/json.ts";
import { FLUID_FORMS, formatFluid, tryParseFluid, type FluidForm } from "../../../formats/fluid.ts";
import { parseJobStates } from "../../../formats/job-states.ts";
import { systemError } from "../../../host/errors.ts";
import { JOB_FLAG_NAMES, JobState, URGENCY_DEFAULT } from "../../../sdk/job-protocol.ts";
import { jobInfo, listJobs, submitJob } from "../../../sdk/jobs.ts";
import { CommandExit, type CommandContext } from "../../framework/command.ts";
import { jobIdText } from "../../jobs/client.ts";
import { pythonJson } from "../../output/python-json.ts";
import { ALL_STATES, DEFAULT_STATES, parseFilter, selectionConstraint } from "../../jobs/selection.ts";
import { parseUser } from "../../jobs/users.ts";
import { parseUrgency } from "../../submission/request.ts";

export async function id(context: CommandContext): Promise<number> {
  const form = context.options.text("to") ?? "dec";
  if (!(FLUID_FORMS as readonly string[]).includes(form)) throw new FluxError("EINVAL", `Unknown to=${form}`);
  const render = (value: Integer): string =>
    form === "f58" ? jobIdText(value) : formatFluid(value, form as FluidForm);
  return (await convert(context, render)) > 0 ? 0 : 1;
}

export async function namespace(context: CommandContext): Promise<number> {
  await convert(context, (value) => `job-${formatFluid(value, "dec")}`);
  return 0;
}

/** Prints a form of each id, from the operands or line by line from standard input. Resolves with how many there were. */
async function convert(context: CommandContext, render: (id: Integer) => string): Promise<number> {
  const texts =
    context.operands.length > 0
      ? context.operands
      : utf8Decode(await context.readInput())
          .split("\n")
          .filter((line) => line.trim() !== "");
  for (const text of texts) {
    const value = tryParseFluid(text.trim());
    if (value === null) throw new FluxError("EINVAL", `error parsing jobid: "${text}"`);
    context.out(`${render(value)}\n`);
  }
  return texts.length;
}

export async function last(context: CommandContext): Promise<number> {
  const [slice = "[:1]", ...rest] = context.operands;
  if (rest.length > 0) context.failUsage();
  if (!/^(-?\d+|\[.*)$/.test(slice)) context.failUsage();
  const request = slice.startsWith("[") ? slice : `[:${slice}]`;
  if (!/^\[-?\d*(:-?\d*){1,2}\]$/.test(request))
    throw new FluxError("EINVAL", "could not parse python-style slice expression");
  const handle = await context.open();
  const { jobs } = await handle.rpc<{ jobs: readonly Integer[] }>("job-manager.history.get", { slice: request });
  if (jobs.length === 0) throw new FluxError("ENOENT", "job history is empty");
  for (const job of jobs) context.out(`${jobIdText(job)}\n`);
  return 0;
}

/** Lists of JSON objects are for programs. Ends the command where somebody would read them on a terminal. */
function refuseTerminal(context: CommandContext): void {
  if (!context.stdoutIsTerminal) return;
  context.err("This is not the command you are looking for. Try flux-jobs(1).\n");
  throw new CommandExit(1);
}

function jobLine(job: JsonObject): string {
  return `${pythonJson(job, { unicode: true })}\n`;
}

export async function list(context: CommandContext): Promise<number> {
  refuseTerminal(context);
  if (context.operands.length > 0) context.failUsage();
  const { options, host } = context;
  const user = options.text("user");
  const userid = options.has("all") ? -1 : user === null ? host.uid : parseUser(user);
  const wanted = options.has("states") ? parseFilter(options.list("states")) : { states: DEFAULT_STATES, results: 0 };
  const isAll = options.has("all") || options.has("all-user");
  const constraint = selectionConstraint({
    userid: userid < 0 ? null : userid,
    states: isAll ? ALL_STATES : wanted.states,
    results: isAll ? 0 : wanted.results,
    queues: [],
    name: null,
    include: null,
  });
  const handle = await context.open();
  for await (const job of listJobs(handle, { constraint, maxEntries: options.integer("count") ?? 0 }))
    context.out(jobLine(job));
  return 0;
}

export async function listInactive(context: CommandContext): Promise<number> {
  refuseTerminal(context);
  if (context.operands.length > 0) context.failUsage();
  const { options } = context;
  const since = Number(options.text("since") ?? "0");
  if (Number.isNaN(since)) throw new FluxError("EINVAL", `'${options.text("since")}' is no timestamp`);
  const handle = await context.open();
  const constraint = { states: [JobState.Inactive] };
  const maxEntries = options.integer("count") ?? 0;
  for await (const job of listJobs(handle, { constraint, since, maxEntries })) context.out(jobLine(job));
  return 0;
}

export async function listIds(context: CommandContext): Promise<number> {
  refuseTerminal(context);
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const wanted = options.text("wait-state");
  const state = wanted === null ? 0 : parseJobStates(wanted);
  if (state === null || (state & (state - 1)) !== 0) throw new FluxError("EINVAL", "invalid job state specified");
  const ids = operands.map((text) => {
    const value = tryParseFluid(text);
    if (value === null) throw new FluxError("EINVAL", `error parsing jobid: "${text}"`);
    return value;
  });
  const handle = await context.open();
  const jobs = ids.map((job) => jobInfo(handle, job, { state }));
  // All are asked for at once; one that is not there is told after those before it.
  await Promise.allSettled(jobs);
  for (const job of jobs) context.out(jobLine(await job));
  return 0;
}

export async function submit(context: CommandContext): Promise<number> {
  const { options, operands, host } = context;
  if (operands.length > 1) context.failUsage();
  const urgency = options.text("urgency");
  const flags = flagsOf(options.text("flags"));
  const text =
    operands[0] === undefined || operands[0] === "-" ? utf8Decode(await context.readInput()) : readText(operands[0]);
  if (text.trim() === "") throw new FluxError("EINVAL", "required jobspec is empty");
  const handle = await context.open();
  const job = await submitJob(handle, text.trimEnd(), {
    userid: host.uid,
    urgency: urgency === null ? URGENCY_DEFAULT : parseUrgency(urgency),
    flags,
  });
  context.out(`${jobIdText(job)}\n`);
  return 0;
}

function flagsOf(list: string | null): number {
  let flags = 0;
  for (const name of list === null ? [] : list.split(",")) {
    if (!Object.hasOwn(JOB_FLAG_NAMES, name)) throw new FluxError("EINVAL", `unknown flag: ${name}`);
    flags |= JOB_FLAG_NAMES[name]!;
  }
  return flags;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw systemError(path, error);
  }
}
