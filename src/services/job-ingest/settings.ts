/**
 * How the ingest service is set: the table `ingest` (flux-config-ingest(5)) and the module's arguments, which go before it.
 *
 * Plugins that are built in run in the service; others, given as paths, run in worker programs (`workers.ts`).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { configType, NO_POLICY, parsePolicyConfig, type PolicyConfig } from "../../formats/policy-config.ts";
import { parseSize } from "../../formats/size.ts";
import { FROBNICATORS, isIdle } from "./frobnicate.ts";
import { VALIDATORS, type ValidatorSettings } from "./validate.ts";

/** A stage whose plugins are not all built in. */
export interface ExternalStage {
  /** Paths of plugins. */
  readonly plugins: readonly string[];
  /** Arguments that no built-in plugin knows. */
  readonly args: readonly string[];
}

export interface IngestSettings {
  /** Jobs to wait for before a batch is stored; 0: whatever one turn brings. */
  readonly batchCount: number;
  /** What may wait for a worker program, in bytes. */
  readonly bufferSizeBytes: number;
  readonly policy: PolicyConfig;
  /** Built-in frobnicators, in order; none where there is nothing for them to do. */
  readonly frobnicators: readonly string[];
  readonly externalFrobnicators: ExternalStage | null;
  /** Null where jobspecs are not validated. */
  readonly validator: ValidatorSettings | null;
  readonly externalValidators: ExternalStage | null;
  /** What the log says of the validator. */
  readonly report: string;
}

const DEFAULT_BUFFER_SIZE_BYTES = 10 * 1024 * 1024;

export const DEFAULT_SETTINGS: IngestSettings = {
  batchCount: 0,
  bufferSizeBytes: DEFAULT_BUFFER_SIZE_BYTES,
  policy: NO_POLICY,
  frobnicators: [],
  externalFrobnicators: null,
  validator: { plugins: ["jobspec"], requireVersion: null, requireInstance: { minNodes: 0, minCores: 0 } },
  externalValidators: null,
  report: "",
};

/** One of the two tables. */
interface Stage {
  readonly isDisabled: boolean;
  /** Null where none are named. */
  readonly plugins: readonly string[] | null;
  readonly args: readonly string[];
  readonly table: JsonObject;
}

/** Reads the configuration, and the module's arguments. Throws EINVAL. */
export function ingestSettings(config: JsonObject, args: readonly string[]): IngestSettings {
  const policy = parsePolicyConfig(config);
  const ingest = config["ingest"] ?? {};
  if (!isJsonObject(ingest))
    throw new FluxError("EINVAL", `error reading [ingest] config table: Expected object, got ${configType(ingest)}`);
  const given = moduleArguments(args);
  const frobnicator = stageOf(ingest["frobnicator"], "ingest.frobnicator", given.frobnicator);
  const validator = stageOf(ingest["validator"], "ingest.validator", given.validator);
  const changes = split(frobnicator, FROBNICATORS);
  const isNeeded = frobnicator.plugins !== null || !isIdle(policy);
  return {
    batchCount: given.batchCount ?? batchCountOf(ingest["batch-count"]),
    bufferSizeBytes: given.bufferSizeBytes ?? bufferSizeOf(ingest["buffer-size"]),
    policy,
    frobnicators: frobnicator.isDisabled || !isNeeded ? [] : changes.builtin,
    externalFrobnicators: frobnicator.isDisabled ? null : changes.external,
    ...validators(validator),
    report: reportOf(validator),
  };
}

function reportOf({ isDisabled, plugins, args }: Stage): string {
  const list = (words: readonly string[] | null): string => words?.join(",") || "(null)";
  const state = isDisabled ? "disabled" : "enabled";
  return `configuring validator with plugins=${list(plugins)}, args=${list(args)} (${state})`;
}

function validators(stage: Stage): Pick<IngestSettings, "validator" | "externalValidators"> {
  if (stage.isDisabled) return { validator: null, externalValidators: null };
  const known = VALIDATORS.map(({ name }) => name);
  const { builtin, external } = split({ ...stage, plugins: stage.plugins ?? ["jobspec"] }, known);
  const { args, ...settings } = validatorArguments(stage);
  if (external === null && args.length > 0)
    throw new FluxError("EINVAL", `ingest.validator.args: unrecognized arguments: ${args.join(" ")}`);
  return {
    validator: { plugins: builtin, ...settings },
    externalValidators: external === null ? null : { ...external, args },
  };
}

/** What is built in, and what is a file. Throws EINVAL for a name that is neither. */
function split(stage: Stage, known: readonly string[]): { builtin: readonly string[]; external: ExternalStage | null } {
  const named = stage.plugins ?? known;
  const builtin = named.filter((name) => known.includes(name));
  const others = named.filter((name) => !known.includes(name));
  const unknown = others.find((name) => !name.includes("/"));
  if (unknown !== undefined) throw new FluxError("EINVAL", `plugin '${unknown}' not found`);
  return { builtin, external: others.length === 0 ? null : { plugins: others, args: stage.args } };
}

/** What the arguments say to built-in validators, before their own tables; those of others are left. */
export function validatorArguments(stage: Pick<Stage, "args" | "table">): {
  requireVersion: number | "any" | null;
  requireInstance: { minNodes: number; minCores: number };
  args: string[];
} {
  const own = stage.table["require-instance"];
  const table = isJsonObject(own) ? own : {};
  let requireVersion: number | "any" | null = null;
  let minNodes = sizeOf(table["minnodes"], "ingest.validator.require-instance.minnodes");
  let minCores = sizeOf(table["mincores"], "ingest.validator.require-instance.mincores");
  const args: string[] = [];
  for (const arg of stage.args) {
    const [, name, value = ""] = /^--(require-[a-z-]+)=(.*)$/.exec(arg) ?? [];
    if (name === "require-version") requireVersion = versionOf(value);
    else if (name === "require-instance-minnodes") minNodes = sizeOf(Number(value), arg);
    else if (name === "require-instance-mincores") minCores = sizeOf(Number(value), arg);
    else args.push(arg);
  }
  return { requireVersion, requireInstance: { minNodes, minCores }, args };
}

function versionOf(text: string): number | "any" {
  if (text === "any") return "any";
  if (text !== "1") throw new FluxError("EINVAL", "Invalid argument to --require-version");
  return 1;
}

function sizeOf(value: JsonValue | undefined, where: string): number {
  if (value === undefined) return 0;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0)
    throw new FluxError("EINVAL", `${where}: not a number of 0 or more`);
  return value;
}

function stageOf(value: JsonValue | undefined, name: string, given: Partial<Stage>): Stage {
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `error parsing [${name}] config table: ${reason}`);
  };
  if (value !== undefined && !isJsonObject(value)) fail(`Expected object, got ${configType(value)}`);
  const table = (value ?? {}) as JsonObject;
  const { disable = false, plugins, args } = table;
  if (typeof disable !== "boolean") fail(`Expected true or false, got ${configType(disable)}`);
  if (plugins !== undefined && !isTextList(plugins)) throw new FluxError("EINVAL", `error in [${name}] plugins array`);
  if (args !== undefined && !isTextList(args)) throw new FluxError("EINVAL", `error in [${name}] args array`);
  return {
    isDisabled: given.isDisabled ?? (disable as boolean),
    plugins: given.plugins ?? (plugins as string[] | undefined) ?? null,
    args: given.args ?? (args as string[] | undefined) ?? [],
    table,
  };
}

function isTextList(value: JsonValue): boolean {
  return Array.isArray(value) && (value as JsonValue[]).every((word) => typeof word === "string");
}

function batchCountOf(value: JsonValue | undefined): number {
  if (value === undefined) return 0;
  if (typeof value !== "number" || !Number.isInteger(value))
    throw new FluxError("EINVAL", `error reading [ingest] config table: Expected integer, got ${configType(value)}`);
  return Math.max(0, value);
}

/** A size with an SI unit: `102400`, `4.5M`, `1024K`. */
function bufferSizeOf(value: JsonValue | undefined): number {
  if (value === undefined) return DEFAULT_BUFFER_SIZE_BYTES;
  if (typeof value !== "string")
    throw new FluxError("EINVAL", `error reading [ingest] config table: Expected string, got ${configType(value)}`);
  try {
    const size = parseSize(value);
    if (size > 0) return size;
  } catch (error) {
    throw new FluxError("EINVAL", `Invalid buffer-size: '${value}'`, { cause: error });
  }
  throw new FluxError("EINVAL", `Invalid buffer-size: '${value}'`);
}

interface ModuleArguments {
  readonly validator: Partial<Stage>;
  readonly frobnicator: Partial<Stage>;
  readonly batchCount: number | null;
  readonly bufferSizeBytes: number | null;
}

/** An argument of the module that says how high ids' generators go (`generatorOf`). */
const GENERATOR_ARGUMENT = "max-fluid-generator-id=";
const GENERATOR_MAX = 2 ** 14 - 1;

function moduleArguments(args: readonly string[]): ModuleArguments {
  const stages: Record<string, { isDisabled?: boolean; plugins?: string[]; args?: string[] }> = {
    validator: {},
    frobnicator: {},
  };
  let batchCount: number | null = null;
  let bufferSizeBytes: number | null = null;
  for (const arg of args) {
    const [, stage, key, list = ""] = /^(validator|frobnicator)-(plugins|args)=(.*)$/.exec(arg) ?? [];
    const [, disabled] = /^disable-(validator|frobnicator)$/.exec(arg) ?? [];
    const [, count] = /^batch-count=(\d+)$/.exec(arg) ?? [];
    const [, size] = /^buffer-size=(.*)$/.exec(arg) ?? [];
    if (stage !== undefined) stages[stage]![key as "plugins" | "args"] = list.split(",").filter((word) => word !== "");
    else if (disabled !== undefined) stages[disabled]!.isDisabled = true;
    else if (count !== undefined) batchCount = Number(count);
    else if (size !== undefined) bufferSizeBytes = bufferSizeOf(size);
    else if (!arg.startsWith(GENERATOR_ARGUMENT)) throw new FluxError("EINVAL", `Invalid option: ${arg}`);
  }
  return { validator: stages["validator"]!, frobnicator: stages["frobnicator"]!, batchCount, bufferSizeBytes };
}

/**
 * The number of this rank in ids; null where `max-fluid-generator-id` leaves making ids to lower ranks. Throws EINVAL.
 */
export function generatorOf(rank: number, args: readonly string[]): number | null {
  const text = args.find((arg) => arg.startsWith(GENERATOR_ARGUMENT))?.slice(GENERATOR_ARGUMENT.length);
  const max = text === undefined ? GENERATOR_MAX : Number(text);
  if (!Number.isInteger(max) || max < 0 || max > GENERATOR_MAX)
    throw new FluxError("EINVAL", `max-fluid-generator-id must be between 0 and ${GENERATOR_MAX}`);
  return rank > max ? null : rank;
}
