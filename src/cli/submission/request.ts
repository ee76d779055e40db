/**
 * From the options of a command line to what is submitted: a jobspec, an urgency, flags.
 *
 * Pure: environment, limits, files and the time come through `SubmissionSource`.
 */
import { FluxError, errorText } from "../../base/errors.ts";
import { parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { parseRequires } from "../../formats/constraint-query.ts";
import { parseDependency, type Dependency } from "../../formats/dependency.ts";
import { parseKeyValue } from "../../formats/jobspec-attributes.ts";
import { fromCommand, fromPerResource, withResources, type JobspecExtras } from "../../formats/jobspec-build.ts";
import type { Jobspec, ResourceVertex } from "../../formats/jobspec.ts";
import { parseResourceList, parseResourceShape } from "../../formats/resource-shape.ts";
import { parseRetry } from "../../formats/retry.ts";
import { applyRlimitRules } from "../../formats/rlimit.ts";
import {
  JOB_FLAG_NAMES,
  JobFlag,
  URGENCY_DEFAULT,
  URGENCY_EXPEDITE,
  URGENCY_HOLD,
  URGENCY_MAX,
} from "../../sdk/job-protocol.ts";
import type { ParsedOptions } from "../framework/command.ts";
import { parseInteger } from "../framework/parse.ts";
import type { Submission } from "../jobs/client.ts";
import { buildEnvironment } from "./environment.ts";
import { addedFile } from "./files.ts";
import { parseBeginTime, parseSignalOption, parseTimeLimit } from "./times.ts";

/** What a submission reads besides its command line. */
export interface SubmissionSource {
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Soft limits of the submitting process. */
  readonly limits: Readonly<Record<string, number>>;
  /** Seconds since the epoch. */
  readonly now: number;
  /** Content and mode of a file. Throws FluxError. */
  readFile(path: string): { readonly data: Uint8Array; readonly permissions: number };
  readText(path: string): string;
  /** What brokers are told to go on where the instance stopped that left the path. Throws FluxError. */
  resumeOptions(path: string): readonly string[];
  /** Says something that does not stop the submission. */
  warn(message: string): void;
}

/** How output that is not buffered is gathered, in seconds. */
const UNBUFFERED_OUTPUT_BATCH_S = 0.05;
const STREAM_PATHS_OF_KVS = ["none", "kvs"];
const PER_TASK_OPTIONS = ["ntasks", "cores-per-task", "gpus-per-task"];
const PER_RESOURCE_OPTIONS = ["cores", "tasks-per-node", "tasks-per-core", "gpus-per-node"];

/** The jobspec of `flux submit`, `flux run`. Throws FluxError EINVAL. */
export function taskJobspec(options: ParsedOptions, command: readonly string[], source: SubmissionSource): Jobspec {
  if (command.length === 0) throw new FluxError("EINVAL", "job command and arguments are missing");
  const extras = submissionExtras(options, source);
  const given = givenResources(options, source);
  if (given !== null) return withFiles(withResources(fromCommand({ ...extras, command }), given), options, source);
  if (countOption(options, "gpus-per-node") !== undefined && !options.has("nodes"))
    throw new FluxError("EINVAL", "--gpus-per-node requires --nodes");
  const perResource = PER_RESOURCE_OPTIONS.some((name) => options.has(name));
  if (perResource && PER_TASK_OPTIONS.some((name) => options.has(name)))
    throw new FluxError("EINVAL", "Per-resource options can't be used with per-task options. (See --help for details)");
  const jobspec = perResource
    ? perResourceJobspec(options, command, extras)
    : fromCommand({
        ...extras,
        command,
        ...optional("numTasks", countOption(options, "ntasks") || undefined),
        ...optional("coresPerTask", countOption(options, "cores-per-task") || undefined),
        ...optional("gpusPerTask", countOption(options, "gpus-per-task")),
        ...optional("numNodes", countOption(options, "nodes")),
        ...optional("exclusive", options.has("exclusive") || undefined),
      });
  return withFiles(jobspec, options, source);
}

/** The resources of `--resources-shape` or `--resources-json`; null without either. Throws FluxError EINVAL. */
export function givenResources(options: ParsedOptions, source: SubmissionSource): readonly ResourceVertex[] | null {
  const shape = options.text("resources-shape") || null;
  const path = options.text("resources-json") || null;
  if (shape !== null && path !== null)
    throw new FluxError(
      "EINVAL",
      "`--resources-shape` and `--resources-json` are mutually exclusive arguments. Use only one.",
    );
  if (shape !== null) return parseResourceShape(shape);
  return path === null ? null : parseResourceList(source.readText(path));
}

function perResourceJobspec(options: ParsedOptions, command: readonly string[], extras: JobspecExtras): Jobspec {
  const perNode = countOption(options, "tasks-per-node");
  const perCore = countOption(options, "tasks-per-core");
  if (perNode !== undefined && perCore !== undefined)
    throw new FluxError("EINVAL", "Do not specify both the number of tasks per node and per core");
  const perResource =
    perNode !== undefined
      ? ({ type: "node", count: perNode } as const)
      : perCore !== undefined
        ? ({ type: "core", count: perCore } as const)
        : undefined;
  return fromPerResource({
    ...extras,
    command,
    ...optional("numNodes", countOption(options, "nodes")),
    ...optional("numCores", countOption(options, "cores")),
    ...optional("gpusPerNode", countOption(options, "gpus-per-node")),
    ...optional("exclusive", options.has("exclusive") || undefined),
    ...optional("perResource", perResource),
  });
}

/** What all kinds of submissions have in common. Throws FluxError EINVAL. */
export function submissionExtras(options: ParsedOptions, source: SubmissionSource): JobspecExtras {
  const timeLimit = options.text("time-limit");
  const constraints = constraintOf(options.list("requires"));
  return {
    ...optional("duration", timeLimit === null ? undefined : parseTimeLimit(timeLimit)),
    environment: environmentOf(options, source),
    cwd: options.text("cwd") ?? source.cwd,
    ...optional("queue", options.text("queue") ?? undefined),
    ...optional("bank", options.text("bank") ?? undefined),
    ...optional("name", onceName(options) ?? options.text("job-name") ?? undefined),
    dependencies: dependenciesOf(options, source),
    ...optional("constraints", constraints ?? undefined),
    shellOptions: shellOptionsOf(options, source),
    attributes: { ...retryOf(options), ...attributesOf(options, source) },
  };
}

/** A number of an option; undefined where it was not given. Throws FluxError EINVAL. */
export function countOption(options: ParsedOptions, name: string): number | undefined {
  const text = options.text(name);
  if (text === null) return undefined;
  const value = parseInteger(text);
  if (value === null) throw new FluxError("EINVAL", `--${name}: invalid int value '${text}'`);
  return value;
}

function constraintOf(queries: readonly string[]): JsonObject | null {
  try {
    return parseRequires(queries);
  } catch (error) {
    throw new FluxError("EINVAL", `--requires='${queries.join(" ")}': ${errorText(error)}`, { cause: error });
  }
}

/** All rules in the order of the command line, whichever of the three options they came by. */
function environmentOf(options: ParsedOptions, source: SubmissionSource): Record<string, string> {
  const rules = options.given.flatMap(({ name, value }) => {
    if (name === "env") return [value ?? ""];
    if (name === "env-remove") return [`-${value ?? ""}`];
    return name === "env-file" ? [`^${value ?? ""}`] : [];
  });
  return buildEnvironment(rules, { env: source.env, readFile: (path) => source.readText(path) });
}

function dependenciesOf(options: ParsedOptions, source: SubmissionSource): Dependency[] {
  const dependencies = options.list("dependency").map((uri) => parseDependency(uri));
  if (dependencies.some(({ scheme }) => scheme === "after"))
    source.warn("dependency scheme 'after' is deprecated, use 'afterstart'");
  const beginTime = options.text("begin-time");
  if (beginTime !== null)
    dependencies.push({ scheme: "begin-time", value: String(parseBeginTime(beginTime, source.now)) });
  return dependencies;
}

function shellOptionsOf(options: ParsedOptions, source: SubmissionSource): Record<string, JsonValue> {
  const shell: Record<string, JsonValue> = { ...streamOptions(options) };
  const limits = applyRlimitRules(options.list("rlimit"), source.limits);
  if (Object.keys(limits).length > 0) shell["rlimit"] = limits;
  for (const argument of options.list("setopt")) {
    const { key, value } = parseKeyValue(argument);
    delete shell[key];
    shell[key] = value;
  }
  const taskmap = options.text("taskmap");
  if (taskmap !== null) shell["taskmap"] = { ...parseDependency(taskmap, "taskmap") };
  const signal = options.text("signal");
  if (signal !== null) shell["signal"] = parseSignalOption(signal);
  return shell;
}

/** Where standard streams go, and how they are labeled and buffered. */
function streamOptions(options: ParsedOptions): Record<string, JsonValue> {
  const shell: Record<string, JsonValue> = {};
  const input = options.text("input");
  if (input !== null && input !== "" && !isRanks(input)) {
    shell["input.stdin.type"] = "file";
    shell["input.stdin.path"] = input;
  }
  for (const [stream, option] of [
    ["stdout", "output"],
    ["stderr", "error"],
  ] as const) {
    const path = options.text(option);
    if (path !== null && !STREAM_PATHS_OF_KVS.includes(path)) {
      shell[`output.${stream}.type`] = "file";
      shell[`output.${stream}.path`] = path;
      if (options.has("label-io")) shell[`output.${stream}.label`] = true;
    }
    if (options.has("unbuffered")) shell[`output.${stream}.buffer.type`] = "none";
  }
  if (options.has("unbuffered")) {
    shell["output.batch-timeout"] = UNBUFFERED_OUTPUT_BATCH_S;
    shell["input.batch-timeout"] = 0;
  }
  return shell;
}

/** Whether an argument of `--input` names task ranks instead of a file. */
export function isRanks(input: string): boolean {
  return input === "all" || /^\[?\d+([-,]\d+)*\]?$/.test(input);
}

function retryOf(options: ParsedOptions): Record<string, JsonValue> {
  const text = options.text("retry");
  return text === null ? {} : { retry: parseRetry(text) };
}

function attributesOf(options: ParsedOptions, source: SubmissionSource): Record<string, JsonValue> {
  const attributes: Record<string, JsonValue> = {};
  for (const argument of options.list("setattr")) {
    const { key, value } = argument.startsWith("^")
      ? attributeFromFile(argument.slice(1), source)
      : parseKeyValue(argument);
    const name = key.startsWith("attributes.") ? key.slice("attributes".length) : key;
    delete attributes[name];
    attributes[name] = value;
  }
  return attributes;
}

function attributeFromFile(argument: string, source: SubmissionSource): { key: string; value: JsonValue } {
  const at = argument.indexOf("=");
  if (at < 0) throw new FluxError("EINVAL", `--setattr=^${argument}: a file is missing`);
  const path = argument.slice(at + 1);
  const text = source.readText(path);
  try {
    return { key: argument.slice(0, at), value: parseJson(text) };
  } catch (error) {
    throw new FluxError("EINVAL", `--setattr: ${path}: ${errorText(error)}`, { cause: error });
  }
}

/** Adds the files of `--add-file` to a jobspec. Throws FluxError. */
export function withFiles(jobspec: Jobspec, options: ParsedOptions, source: SubmissionSource): Jobspec {
  const given = options.list("add-file");
  if (given.length === 0) return jobspec;
  const files: Record<string, JsonValue> = {
    ...(jobspec.attributes.system?.files as Record<string, JsonValue> | undefined),
  };
  for (const argument of given) {
    const { name, entry } = addedFile(argument, { read: (path) => source.readFile(path) });
    files[name] = entry;
  }
  return withSystem(jobspec, { files });
}

/** A jobspec with further system attributes. */
export function withSystem(jobspec: Jobspec, attributes: JsonObject): Jobspec {
  const { system } = jobspec.attributes;
  return { ...jobspec, attributes: { ...jobspec.attributes, system: { ...system, ...attributes } } };
}

/** A jobspec with what is submitted beside it. Throws FluxError EINVAL. */
export function submissionOf(options: ParsedOptions, jobspec: Jobspec): Submission {
  const once = onceName(options);
  return {
    jobspec,
    urgency: submissionUrgency(options),
    flags: submissionFlags(options),
    ...(once !== undefined && { once }),
  };
}

/** The flags of a submission as a mask. Throws FluxError EINVAL. */
export function submissionFlags(options: ParsedOptions): number {
  let flags = options.has("debug") ? JobFlag.Debug : 0;
  for (const name of options.list("flags").flatMap((list) => list.split(","))) {
    const flag = Object.hasOwn(JOB_FLAG_NAMES, name) ? JOB_FLAG_NAMES[name] : undefined;
    if (flag === undefined) throw new FluxError("EINVAL", `--flags: Unknown flag ${name}`);
    flags |= flag;
  }
  return flags;
}

/** The urgency of a submission. Throws FluxError EINVAL. */
export function submissionUrgency(options: ParsedOptions): number {
  const text = options.text("urgency");
  return text === null ? URGENCY_DEFAULT : parseUrgency(text);
}

const URGENCY_NAMES: ReadonlyMap<string, number> = new Map([
  ["hold", URGENCY_HOLD],
  ["default", URGENCY_DEFAULT],
  ["expedite", URGENCY_EXPEDITE],
]);

/** An urgency by number or name. Throws FluxError EINVAL. */
export function parseUrgency(text: string): number {
  const named = URGENCY_NAMES.get(text.toLowerCase());
  if (named !== undefined) return named;
  const value = parseInteger(text);
  if (value === null)
    throw new FluxError(
      "EINVAL",
      `invalid urgency '${text}': use a number from 0 to ${URGENCY_MAX}, hold, default or expedite`,
    );
  return value;
}

function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };
}

/** The name of `--once`, which is the job's; undefined without. Throws FluxError EINVAL where `--job-name` is another. */
function onceName(options: ParsedOptions): string | undefined {
  const once = options.text("once") ?? undefined;
  const name = options.text("job-name");
  if (once === "") throw new FluxError("EINVAL", "--once: the name of the job is missing");
  if (once !== undefined && name !== null && name !== once)
    throw new FluxError("EINVAL", `--once=${once} and --job-name=${name} name one job differently`);
  return once;
}
