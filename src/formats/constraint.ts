/**
 * Job constraints (RFC 31): which ranks a job may use, as a tree of operators in JSON. `constraint-query.ts` has the text
 * form of the command line.
 *
 * A constraint object with several operators wants all of them. The empty object, `{"and": []}` and `{"or": []}` match
 * everything, `{"not": []}` nothing; the other operators without values match everything.
 *
 * Does not know: queues and users; a place is a rank, its host and its properties.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { Hostlist } from "./hostlist.ts";
import { Idset } from "./idset.ts";
import type { ResourceSet } from "./resource-set.ts";

/** A constraint as jobspec carries it: operator → values. */
export type Constraint = JsonObject;

/** What a constraint is matched against. */
export interface ConstraintTarget {
  readonly rank: number;
  readonly host?: string | undefined;
  hasProperty(name: string): boolean;
}

export type ConstraintMatcher = (target: ConstraintTarget) => boolean;

const matchAll: ConstraintMatcher = () => true;

/** Throws FluxError EINVAL with what is wrong where the value is no constraint. */
export function validateConstraint(value: JsonValue | undefined): asserts value is Constraint {
  compileConstraint(value);
}

/**
 * Makes a function that tells whether a target matches. Host lists and idsets are parsed once, here.
 * Throws FluxError EINVAL where the value is no constraint.
 */
export function compileConstraint(value: JsonValue | undefined): ConstraintMatcher {
  if (!isJsonObject(value)) throw invalid("constraints must be a mapping");
  const matchers = Object.entries(value).map(([operator, values]) => compileOperator(operator, values));
  return allOf(matchers);
}

/** The ranks of a resource set that match a constraint. */
export function matchingRanks(resources: ResourceSet, constraint: Constraint): Idset {
  const matches = compileConstraint(constraint);
  const ranks = new Idset();
  for (const [rank, { host }] of resources.nodes()) {
    if (matches({ rank, host, hasProperty: (name) => resources.hasProperty(rank, name) })) ranks.add(rank);
  }
  return ranks;
}

function compileOperator(operator: string, values: JsonValue | undefined): ConstraintMatcher {
  if (!Array.isArray(values)) throw invalid(`argument to constraint ${operator} must be a sequence`);
  if (!["properties", "hostlist", "ranks", "and", "or", "not"].includes(operator))
    throw invalid(`unknown constraint operator '${operator}'`);
  const list = values as readonly JsonValue[];
  switch (operator) {
    case "and":
      return allOf(list.map(compileConstraint));
    case "or": {
      const matchers = list.map(compileConstraint);
      return matchers.length === 0 ? matchAll : (target) => matchers.some((matches) => matches(target));
    }
    case "not": {
      // RFC 31 speaks of one value; several are taken together, and "not nothing" matches nothing.
      const matches = allOf(list.map(compileConstraint));
      return (target) => !matches(target);
    }
    case "properties":
      return compileProperties(list.map((item) => text(item, "property")));
    case "hostlist":
      return compileHosts(list.map((item) => text(item, "hostlist")));
    default:
      return compileRanks(list.map((item) => text(item, "ranks")));
  }
}

function compileProperties(names: readonly string[]): ConstraintMatcher {
  for (const name of names) {
    if (/[!&'"^`|()]/.test(name.replace(/^\^/, ""))) throw invalid(`invalid character in property '${name}'`);
  }
  const wanted = names.filter((name) => !name.startsWith("^"));
  const unwanted = names.filter((name) => name.startsWith("^")).map((name) => name.slice(1));
  return (target) =>
    wanted.every((name) => target.hasProperty(name)) && !unwanted.some((name) => target.hasProperty(name));
}

/** The most hosts that are put in a set; a short text may stand for millions, which are then searched in their lists. */
const HOSTS_IN_SET_MAX = 4096;

function compileHosts(texts: readonly string[]): ConstraintMatcher {
  if (texts.length === 0) return matchAll;
  const lists = texts.map((item) => parsed(() => Hostlist.parse(item)));
  const count = lists.reduce((sum, list) => sum + list.count, 0);
  if (count > HOSTS_IN_SET_MAX) return ({ host }) => host !== undefined && lists.some((list) => list.has(host));
  const hosts = new Set(lists.flatMap((list) => [...list]));
  return (target) => target.host !== undefined && hosts.has(target.host);
}

function compileRanks(texts: readonly string[]): ConstraintMatcher {
  if (texts.length === 0) return matchAll;
  const ranks = new Idset();
  for (const item of texts) ranks.addAll(parsed(() => Idset.parse(item)));
  return (target) => ranks.has(target.rank);
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

function allOf(matchers: readonly ConstraintMatcher[]): ConstraintMatcher {
  if (matchers.length === 1) return matchers[0]!;
  return matchers.length === 0 ? matchAll : (target) => matchers.every((matches) => matches(target));
}

function text(value: JsonValue, what: string): string {
  if (typeof value !== "string") throw invalid(`${what} value must be a string`);
  return value;
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", reason);
}
