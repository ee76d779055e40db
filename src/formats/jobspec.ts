/**
 * Jobspec (RFC 14, and its version 1 in RFC 25): what a job asks for. The types, and the checks at the door.
 *
 * Every jobspec is checked against RFC 14; version 1, the default, also against the narrower RFC 25, in which resources
 * are `[node >] slot > core [, gpu]`. Errors name the place in the jobspec.
 *
 * Does not know: which resources exist (the scheduler does), dependency schemes and shell options.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { validateConstraint } from "./constraint.ts";
import { isDependency } from "./dependency.ts";
import { Idset } from "./idset.ts";

/** A count of a resource: a number, a text (RFC 22 idset or RFC 45 range), or a range (RFC 14). */
export type ResourceCount = number | string | JsonObject;

export interface ResourceVertex extends JsonObject {
  readonly type: string;
  readonly count: ResourceCount;
  readonly unit?: string;
  readonly exclusive?: boolean;
  readonly label?: string;
  readonly id?: string;
  readonly with?: readonly ResourceVertex[];
}

export interface TaskCount extends JsonObject {
  readonly per_slot?: number;
  readonly total?: number;
  readonly per_resource?: { readonly type: string; readonly count: number };
}

export interface JobspecTask extends JsonObject {
  readonly command: readonly string[];
  readonly slot: string;
  readonly count: TaskCount;
}

/** The attributes that this code reads; others are carried along. */
export interface SystemAttributes extends JsonObject {
  /** Seconds; 0 is unlimited. */
  readonly duration?: number;
  readonly environment?: { readonly [name: string]: string | null };
  readonly cwd?: string;
  readonly queue?: string;
  readonly bank?: string;
  readonly job?: { readonly name?: string; readonly [key: string]: string | undefined };
  readonly shell?: { readonly options?: JsonObject; readonly [key: string]: JsonValue | undefined };
  readonly dependencies?: readonly JsonObject[];
  readonly constraints?: JsonObject;
  readonly files?: JsonObject;
}

export interface Jobspec extends JsonObject {
  readonly version: number;
  readonly resources: readonly ResourceVertex[];
  readonly tasks: readonly JobspecTask[];
  readonly attributes: {
    readonly system?: SystemAttributes;
    readonly user?: JsonObject;
    readonly [key: string]: JsonValue | undefined;
  };
}

const KEYS: readonly string[] = ["resources", "tasks", "attributes", "version"];
const TASK_KEYS: readonly string[] = ["command", "slot", "count"];
const TASK_COUNTS: readonly string[] = ["per_slot", "total", "per_resource"];
const RESOURCE_KEYS_V1: ReadonlySet<string> = new Set(["type", "count", "unit", "exclusive", "with", "label"]);

/**
 * Checks a jobspec and returns it. Only version 1 is taken, unless `version` names another or says `any`.
 * Throws FluxError EINVAL with the place and what is wrong there.
 */
export function validateJobspec(value: JsonValue | undefined, options: { version?: number | "any" } = {}): Jobspec {
  const { version: wanted = 1 } = options;
  if (!isJsonObject(value)) throw invalid("jobspec must be an object");
  const missing = KEYS.find((key) => value[key] === undefined);
  if (missing !== undefined) throw invalid(`Missing key (${missing})`);
  const unknown = Object.keys(value).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw invalid(`Extraneous key (${unknown})`);
  const version = value["version"];
  if (wanted !== "any" && version !== wanted) throw invalid(`version must be ${wanted}`);
  if (!isCount(version)) throw invalid("version must be a positive integer");
  validateResources(value["resources"]);
  validateTasks(value["tasks"]);
  validateAttributes(value["attributes"]);
  if (wanted === 1) validateV1(value as Jobspec);
  return value as Jobspec;
}

/** The name of a job: the one that was given, or the last part of the command's first word. */
export function jobName(jobspec: Jobspec): string {
  const name = jobspec.attributes.system?.job?.name;
  if (name !== undefined) return name;
  const program = jobspec.tasks[0]?.command[0] ?? "";
  const base = program.slice(program.lastIndexOf("/") + 1);
  return base === "" ? program : base;
}

function validateResources(value: JsonValue | undefined): void {
  const labels = new Set<string>();
  if (!Array.isArray(value)) throw invalid("resources must be a sequence");
  if (value.length === 0) throw invalid("resources must not be empty");
  for (const [index, vertex] of (value as JsonValue[]).entries()) validateVertex(vertex, `resources[${index}]`, labels);
}

function validateVertex(vertex: JsonValue, where: string, labels: Set<string>): void {
  if (!isJsonObject(vertex)) throw invalid(`${where}: resource must be a mapping`);
  const { type } = vertex;
  for (const key of ["type", "count"])
    if (vertex[key] === undefined) throw invalid(`${where}: ${key} is a required key for resources`);
  if (typeof type !== "string") throw invalid(`${where}: type must be a string`);
  validateCount(vertex["count"], where, type === "gpu" ? 0 : 1);
  for (const key of ["unit", "label", "id"]) {
    if (vertex[key] !== undefined && typeof vertex[key] !== "string")
      throw invalid(`${where}: ${key} must be a string`);
  }
  if (vertex["exclusive"] !== undefined && typeof vertex["exclusive"] !== "boolean") {
    throw invalid(`${where}: exclusive must be a boolean`);
  }
  const children = vertex["with"];
  if (type === "slot") {
    if (vertex["label"] === undefined) throw invalid(`${where}: slots must have labels`);
    if (children === undefined) throw invalid(`${where}: a slot must have resources`);
  }
  if (typeof vertex["label"] === "string") {
    if (labels.has(vertex["label"])) throw invalid(`${where}: label '${vertex["label"]}' is used twice`);
    labels.add(vertex["label"]);
  }
  if (children === undefined) return;
  if (!Array.isArray(children) || children.length === 0)
    throw invalid(`${where}: with must be a sequence of one entry or more`);
  for (const [index, child] of (children as JsonValue[]).entries()) {
    validateVertex(child, `${where}.with[${index}]`, labels);
  }
}

function validateCount(count: JsonValue | undefined, where: string, min: number): void {
  if (typeof count === "number" && Number.isSafeInteger(count)) {
    if (count < min)
      throw invalid(`${where}: ${min === 0 ? "gpu count must be >= 0" : "node, slot, or core count must be > 0"}`);
  } else if (typeof count === "string") {
    if (!isCountText(count)) throw invalid(`${where}: count string must be a valid idset or range, not '${count}'`);
  } else if (isJsonObject(count)) {
    validateRange(count, where);
  } else {
    throw invalid(`${where}: count must be an int or mapping`);
  }
}

const RANGE_KEYS: readonly string[] = ["min", "max", "operator", "operand"];

function validateRange(range: JsonObject, where: string): void {
  const { min, max, operator, operand } = range as Record<string, JsonValue | undefined>;
  const unknown = Object.keys(range).find((key) => !RANGE_KEYS.includes(key));
  if (unknown !== undefined) throw invalid(`${where}: Extraneous key (${unknown})`);
  if (min === undefined) throw invalid(`${where}: min must be in range`);
  for (const [name, value] of Object.entries({ min, max, operand }))
    if (value !== undefined) checkRangeNumber(value, `${where}: ${name}`);
  if (max !== undefined && (max as number) < (min as number)) throw invalid(`${where}: max must be >= min`);
  if ((operator === undefined) !== (operand === undefined))
    throw invalid(`${where}: operand and operator must both be in range if either is`);
  if (operator === undefined) return;
  if (operator !== "+" && operator !== "*" && operator !== "^")
    throw invalid(`${where}: operator must be one of ['+', '*', '^']`);
  if (operator !== "+" && (operand as number) < 2)
    throw invalid(`${where}: operand must be > 1 for '*' or '^' operator`);
  if (operator === "^" && (min as number) < 2) throw invalid(`${where}: min must be > 1 for '^' operator`);
}

function checkRangeNumber(value: JsonValue, what: string): void {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw invalid(`${what} must be an int`);
  if (value < 1) throw invalid(`${what} must be > 0`);
}

/** An RFC 22 idset without 0, or an RFC 45 range such as `2-16:2:*` or `3+`. */
function isCountText(text: string): boolean {
  const body = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
  const range = /^([1-9]\d*)(?:-([1-9]\d*)|\+)(?::([1-9]\d*)(?::([+*^]))?)?$/.exec(body);
  if (range !== null) {
    const [, min, max, operand, operator = "+"] = range;
    if (max !== undefined && Number(max) < Number(min)) return false;
    return operator === "+" || (Number(operand) >= 2 && (operator === "*" || Number(min) >= 2));
  }
  const ids = Idset.tryParse(text);
  return ids !== null && ids.first !== undefined && ids.first > 0;
}

/** A task's slot need not be a label of the resources: with one slot there is nothing to choose. */
function validateTasks(value: JsonValue | undefined): void {
  if (!Array.isArray(value)) throw invalid("tasks must be a sequence");
  if (value.length === 0) throw invalid("tasks must not be empty");
  for (const [index, task] of (value as JsonValue[]).entries()) {
    const where = `tasks[${index}]`;
    if (!isJsonObject(task)) throw invalid(`${where}: task must be a mapping`);
    const missing = TASK_KEYS.find((key) => task[key] === undefined);
    if (missing !== undefined) throw invalid(`${where}: Missing key (${missing})`);
    const { command, slot, attributes } = task;
    if (!Array.isArray(command) || command.some((word) => typeof word !== "string")) {
      throw invalid(`${where}: command must be a list of strings`);
    }
    if (command.length === 0) throw invalid(`${where}: command array cannot have length of zero`);
    if (typeof slot !== "string") throw invalid(`${where}: slot must be a string`);
    if (attributes !== undefined && !isJsonObject(attributes)) throw invalid(`${where}: attributes must be a mapping`);
    validateTaskCount(task["count"], `${where}: count`);
  }
}

function validateTaskCount(count: JsonValue | undefined, where: string): void {
  if (!isJsonObject(count)) throw invalid(`${where} must be a mapping`);
  const keys = Object.keys(count);
  const key = keys[0];
  if (keys.length !== 1 || key === undefined) throw invalid(`${where} must have exactly one key set`);
  if (!TASK_COUNTS.includes(key)) throw invalid(`${where} per_slot, per_resource, or total must be set`);
  const value = count[key];
  const isOfResource = isJsonObject(value) && key === "per_resource";
  const number = isOfResource ? value["count"] : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) throw invalid(`${where} ${key} must be an int`);
  if (number < 1) throw invalid(`${where} ${key} must be > 0`);
  if (isOfResource && typeof value["type"] !== "string") throw invalid(`${where} per_resource has no type`);
}

function validateAttributes(attributes: JsonValue | undefined): void {
  if (!isJsonObject(attributes)) throw invalid("attributes must be a mapping");
  for (const key of ["system", "user"]) {
    if (attributes[key] !== undefined && !isJsonObject(attributes[key])) {
      throw invalid(`attributes.${key} must be a mapping`);
    }
  }
  const unknown = Object.keys(attributes).find((key) => key !== "system" && key !== "user");
  if (unknown !== undefined) throw invalid(`Extraneous key (${unknown})`);
  validateSystem((attributes["system"] ?? {}) as JsonObject);
}

function validateSystem(system: JsonObject): void {
  const where = "attributes.system";
  const { duration, environment, cwd, dependencies, constraints } = system as Record<string, JsonValue | undefined>;
  if (duration !== undefined) {
    if (typeof duration !== "number") throw invalid(`${where}.duration must be a number`);
    if (!(duration >= 0 && duration < Infinity)) throw invalid(`${where}.duration must be >= 0 and finite`);
  }
  if (cwd !== undefined && typeof cwd !== "string") throw invalid(`${where}.cwd must be a string`);
  if (environment !== undefined) {
    if (!isJsonObject(environment)) throw invalid(`${where}.environment must be a mapping`);
    const wrong = Object.entries(environment).find(([, value]) => typeof value !== "string" && value !== null);
    if (wrong !== undefined) throw invalid(`${where}.environment: the value of ${wrong[0]} must be a string`);
  }
  if (dependencies !== undefined) {
    if (!Array.isArray(dependencies)) throw invalid(`${where}.dependencies must be a list`);
    for (const [index, dependency] of (dependencies as JsonValue[]).entries())
      if (!isDependency(dependency)) throw invalid(dependencyFault(dependency, `${where}.dependencies[${index}]`));
  }
  if (constraints !== undefined) validateConstraint(constraints);
}

/** What is wrong with an entry of the dependencies. */
function dependencyFault(dependency: JsonValue, where: string): string {
  if (!isJsonObject(dependency)) return `${where} must be a dictionary`;
  const missing = ["value", "scheme"].find((key) => dependency[key] === undefined);
  if (missing !== undefined) return `Missing key (${missing})`;
  const wrong = ["scheme", "value"].find((key) => typeof dependency[key] !== "string");
  return wrong !== undefined ? `dependency ${wrong} must be a string` : `${where} is no dependency`;
}

/** RFC 25: one graph of resources, one task, and a duration. */
function validateV1(jobspec: Jobspec): void {
  if (jobspec.resources.length !== 1) throw invalid("version 1: resources must have exactly one entry");
  if (jobspec.tasks.length !== 1) throw invalid("version 1: tasks must have exactly one entry");
  const top = jobspec.resources[0]!;
  if (top.type === "node") {
    if (top.with?.length !== 1 || top.with[0]!.type !== "slot") throw invalid("version 1: a node must have one slot");
    validateVertexV1(top);
  } else if (top.type !== "slot") {
    throw invalid(`version 1: the first resource must be a node or a slot, not '${top.type}'`);
  }
  const slot = top.type === "node" ? top.with![0]! : top;
  validateVertexV1(slot);
  const types = (slot.with ?? []).map(({ type }) => type).sort();
  if (types.join() !== "core" && types.join() !== "core,gpu") {
    throw invalid("version 1: a slot must have one core entry and at most one gpu entry, and nothing else");
  }
  for (const vertex of slot.with!) {
    validateVertexV1(vertex);
    if (vertex.with !== undefined) throw invalid(`version 1: a ${vertex.type} cannot have resources`);
  }
  if (jobspec.tasks[0]!.count.per_resource !== undefined) throw invalid("version 1: per_resource is not supported");
  if (jobspec.attributes.system === undefined) throw invalid("attributes.system is a required key");
  if (jobspec.attributes.system.duration === undefined) {
    throw invalid("attributes.system.duration is a required key");
  }
}

function validateVertexV1(vertex: ResourceVertex): void {
  const unknown = Object.keys(vertex).find((key) => !RESOURCE_KEYS_V1.has(key));
  if (unknown !== undefined) throw invalid(`version 1: ${vertex.type}: unknown key '${unknown}'`);
  if (typeof vertex.count !== "number") {
    const got = typeof vertex.count === "string" ? "a string" : "a range";
    throw invalid(`resource count must be an integer for type '${vertex.type}' in version 1 (got ${got})`);
  }
}

function isCount(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}
