/**
 * Jobs that are instances of Flux (`flux batch`, `flux alloc`): the jobspec of their brokers, their configuration, their
 * script.
 *
 * Pure but for what `SubmissionSource` reads.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { encodeJsonFile, encodeTextFile } from "../../formats/archive.ts";
import { fromNestCommand, withResources } from "../../formats/jobspec-build.ts";
import { Idset } from "../../formats/idset.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { parseKeyValue, setPath } from "../../formats/jobspec-attributes.ts";
import { mergeConfig, parseToml } from "../../formats/toml.ts";
import { failureLimit } from "../../broker/failures.ts";
import type { ParsedOptions } from "../framework/command.ts";
import {
  countOption,
  givenResources,
  submissionExtras,
  withFiles,
  withSystem,
  type SubmissionSource,
} from "./request.ts";

const SCRIPT_PATH = "{{tmpdir}}/script";
const CONFIG_OPTION = "-c{{tmpdir}}/conf.json";
const DUMP_DEFAULT = "flux-{{jobid}}-dump.tgz";
const OUTPUT_DEFAULT = "flux-{{id}}.out";
const SCRIPT_PERMISSIONS = 0o700;

/** A batch script with what it was called. */
export interface BatchScript {
  readonly name: string;
  readonly text: string;
  /** Arguments of the script. */
  readonly args: readonly string[];
}

/** The jobspec of a batch job; null runs the script of the instance that is resumed again. Throws FluxError EINVAL. */
export function batchJobspec(options: ParsedOptions, script: BatchScript | null, source: SubmissionSource): Jobspec {
  // The instance that goes on knows its script.
  if (script === null)
    return withFiles(instanceJobspec(options, [], source, { name: "resume", output: OUTPUT_DEFAULT }), options, source);
  const jobspec = instanceJobspec(options, [SCRIPT_PATH, ...script.args], source, {
    name: script.name,
    output: OUTPUT_DEFAULT,
  });
  const files = {
    ...jobspec.attributes.system?.files,
    script: encodeTextFile(script.text, { permissions: SCRIPT_PERMISSIONS }),
  };
  return withFiles(withSystem(jobspec, { files }), options, source);
}

/** The jobspec of an allocation; `command` may be empty for a shell. Throws FluxError EINVAL. */
export function allocJobspec(
  options: ParsedOptions,
  command: readonly string[],
  source: SubmissionSource,
  interactive: boolean,
): Jobspec {
  const background = options.has("bg");
  const shellOptions: Record<string, JsonValue> = {};
  if (background) shellOptions["pty.capture"] = 1;
  if (interactive) shellOptions["pty.interactive"] = 1;
  const brokerOptions = background && command.length === 0 ? ["-Sbroker.rc2_none=1"] : [];
  return withFiles(instanceJobspec(options, command, source, { shellOptions, brokerOptions }), options, source);
}

interface InstanceDefaults {
  readonly name?: string;
  /** Where output goes unless an option says so. */
  readonly output?: string;
  readonly shellOptions?: Readonly<Record<string, JsonValue>>;
  readonly brokerOptions?: readonly string[];
}

function instanceJobspec(
  options: ParsedOptions,
  command: readonly string[],
  source: SubmissionSource,
  defaults: InstanceDefaults,
): Jobspec {
  const given = givenResources(options, source);
  const slots = given === null ? countOption(options, "nslots") : 1;
  const nodes = given === null ? countOption(options, "nodes") : undefined;
  if (slots === undefined && nodes === undefined)
    throw new FluxError("EINVAL", "Number of slots to allocate must be specified");
  const spare = countOption(options, "add-brokers") ?? 0;
  if (spare > 0 && nodes === undefined)
    throw new FluxError("EINVAL", "--add-brokers may only be specified with -N, --nnodes");
  const extras = submissionExtras(options, source);
  const cores = countOption(options, "cores-per-slot");
  const gpus = countOption(options, "gpus-per-slot");
  const config = withoutSpares(configOf(options, source), spare);
  const streams: Record<string, JsonValue> =
    defaults.output === undefined || options.has("output")
      ? {}
      : {
          "output.stdout.type": "file",
          "output.stdout.path": defaults.output,
          ...(options.has("label-io") && { "output.stdout.label": true }),
        };
  const built = fromNestCommand({
    ...(defaults.name !== undefined && { name: defaults.name }),
    ...extras,
    shellOptions: { ...streams, ...defaults.shellOptions, ...extras.shellOptions },
    command,
    brokerOptions: [
      ...(defaults.brokerOptions ?? []),
      ...options.list("broker-opts").flatMap((words) => words.split(",")),
      ...(options.has("dump") ? [`-Scontent.dump=${options.text("dump") || DUMP_DEFAULT}`] : []),
      ...(options.has("fail-on") ? [failOnOption(options.text("fail-on")!)] : []),
      ...(options.has("resume") ? source.resumeOptions(options.text("resume")!) : []),
      ...(config === null ? [] : [CONFIG_OPTION]),
    ],
    ...(slots !== undefined && { numSlots: slots }),
    ...(nodes !== undefined && { numNodes: nodes }),
    ...(cores !== undefined && { coresPerSlot: cores }),
    ...(gpus !== undefined && { gpusPerSlot: gpus }),
    ...(given === null && options.has("exclusive") && { exclusive: true }),
    ...(spare > 0 && { addBrokers: spare }),
  });
  const jobspec = given === null ? built : withResources(built, given);
  return config === null ? jobspec : withSystem(jobspec, { files: { "conf.json": encodeJsonFile(config) } });
}

/** Throws FluxError EINVAL. */
function failOnOption(text: string): string {
  failureLimit(text);
  return `-Sbroker.fail-on=${text}`;
}

/** Brokers that are added to the first node share it with the leader: they get no jobs. */
function withoutSpares(config: JsonObject | null, spare: number): JsonObject | null {
  if (spare === 0) return config;
  const resource = config !== null && isJsonObject(config["resource"]) ? config["resource"] : {};
  const given = typeof resource["exclude"] === "string" ? resource["exclude"] : "";
  const excluded = Idset.tryParse(given);
  if (excluded === null)
    throw new FluxError("EINVAL", `--add-brokers: resource.exclude '${given}' is no set of ranks to add some to`);
  const all = excluded.union(Idset.upTo(spare + 1).subtract(Idset.from([0])));
  return { ...config, resource: { ...resource, exclude: all.format() } };
}

/** The configuration of the instance, built from `--conf` in the order given; null where there is none. */
function configOf(options: ParsedOptions, source: SubmissionSource): JsonObject | null {
  let config: JsonObject | null = null;
  for (const argument of options.list("conf")) config = addConfig(config ?? {}, argument, source);
  return config;
}

function addConfig(config: JsonObject, argument: string, source: SubmissionSource): JsonObject {
  if (argument.includes("\n"))
    return mergeConfig([config, parseConfig(argument, "text", "--conf: failed to parse multiline as TOML or JSON")]);
  if (/\.(json|toml)$/.test(argument))
    return mergeConfig([config, parseConfig(configText(argument, source), argument, "--conf: parse error")]);
  if (argument.includes("=")) {
    const { key, value } = parseKeyValue(argument);
    return setPath(config, key, value);
  }
  return mergeConfig([config, namedConfig(argument, source)]);
}

function configText(path: string, source: SubmissionSource): string {
  try {
    return source.readText(path);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `--conf: [Errno ${error.errnum}] ${error.message}`, { cause: error });
  }
}

/** JSON where the file says so or the text looks like it, else TOML; `complaint` is what a mistake begins with. */
function parseConfig(text: string, where: string, complaint: string): JsonObject {
  const isJson = where.endsWith(".json") || (text.trimStart().startsWith("{") && !where.endsWith(".toml"));
  try {
    if (!isJson) return parseToml(text, where);
    const value = parseJson(text);
    if (isJsonObject(value)) return value;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError("EINVAL", `${complaint}: ${isJson ? `${where}: ` : ""}${error.message}`, { cause: error });
  }
  throw new FluxError("EINVAL", `${complaint}: ${where}: not an object`);
}

/** Finds `NAME.toml` or `NAME.json` in the user's and the system's configuration directories. */
function namedConfig(name: string, source: SubmissionSource): JsonObject {
  const home = source.env["XDG_CONFIG_HOME"] || `${source.env["HOME"] ?? ""}/.config`;
  const directories = [home, ...(source.env["XDG_CONFIG_DIRS"] || "/etc/xdg").split(":")];
  for (const directory of directories)
    for (const ending of ["toml", "json"]) {
      const path = `${directory}/flux/config/${name}.${ending}`;
      const text = readOptional(path, source);
      if (text !== null) return parseConfig(text, path, `--conf=${name}`);
    }
  throw new FluxError("ENOENT", `--conf: named config '${name}' not found`);
}

function readOptional(path: string, source: SubmissionSource): string | null {
  try {
    return source.readText(path);
  } catch (error) {
    if (isFluxError(error, "ENOENT", "ENOTDIR")) return null;
    throw error;
  }
}
