/**
 * The dependency schemes on other jobs (RFC 26) and their texts: what an antecedent must come to, and how a dependency is
 * written in jobspec and in events.
 *
 * Beyond the RFC, the value of an `after…` scheme may name jobs: `@NAME` is every active job of the user with this name, or
 * else the last one that ended; `@@NAME` may be submitted later, too. The scheme `any` has several, of which one is enough:
 * `any:afterok:ID|afternotok:@NAME`. The optional keys `by=name` and `expect=1` say the same as the marks.
 *
 * Does not know: which jobs there are.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Outcome } from "./outcome.ts";

export type Verdict = "wait" | "satisfied" | "never";

export interface AfterScheme {
  /** How the event's description begins. */
  readonly prefix: string;
  verdict(antecedent: Outcome): Verdict;
  /** Why an inactive antecedent makes a new job pointless. */
  refusal(scheme: string, value: string, antecedent: Outcome): string;
}

function afterEnd(antecedent: Outcome, isSatisfied: boolean): Verdict {
  if (!antecedent.isInactive) return "wait";
  return isSatisfied && antecedent.started ? "satisfied" : "never";
}

function neverStarted(value: string): string {
  return `dependency: after: ${value} never started`;
}

const AFTER_START: AfterScheme = {
  prefix: "after-start",
  verdict: (antecedent) => (antecedent.started ? "satisfied" : antecedent.isInactive ? "never" : "wait"),
  refusal: (_scheme, value) => neverStarted(value),
};

/** Schemes whose value is an antecedent job. */
export const AFTER_SCHEMES: ReadonlyMap<string, AfterScheme> = new Map<string, AfterScheme>([
  ["after", AFTER_START],
  ["afterstart", AFTER_START],
  [
    "afterany",
    {
      prefix: "after-finish",
      verdict: (antecedent) => (antecedent.isInactive ? "satisfied" : "wait"),
      refusal: (_scheme, value) => neverStarted(value),
    },
  ],
  [
    "afterok",
    {
      prefix: "after-success",
      verdict: (antecedent) => afterEnd(antecedent, antecedent.success),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value} failed or was canceled` : neverStarted(value),
    },
  ],
  [
    "afternotok",
    {
      prefix: "after-failure",
      verdict: (antecedent) => afterEnd(antecedent, !antecedent.success),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value} succeeded` : neverStarted(value),
    },
  ],
  [
    "afterexcept",
    {
      prefix: "after-except",
      verdict: (antecedent) => afterEnd(antecedent, antecedent.excepted),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value}: no exception` : neverStarted(value),
    },
  ],
]);

const BY_PREFIX: ReadonlyMap<string, AfterScheme> = new Map(
  [...AFTER_SCHEMES.values()].map((scheme) => [scheme.prefix, scheme]),
);

export const SINGLETON = "singleton";
export const BEGIN_TIME = "begin-time";
export const ANY = "any";
const BETWEEN_ALTERNATIVES = "|";

/** A dependency as jobspec has it. */
export interface Entry {
  readonly scheme: string;
  readonly value: string;
}

export function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}

export function unsupported(scheme: string): Error {
  return invalid(`dependency scheme "${scheme}" not supported`);
}

/** The plugin that knows a scheme. */
export function pluginOf(scheme: string): string {
  if (scheme === SINGLETON) return ".dependency-singleton";
  return scheme === BEGIN_TIME ? ".begin-time" : ".dependency-after";
}

function isKnown(scheme: string): boolean {
  return AFTER_SCHEMES.has(scheme) || scheme === ANY || scheme === SINGLETON || scheme === BEGIN_TIME;
}

/** The dependencies of a jobspec. Throws EINVAL where one is malformed. */
export function entriesOf(jobspec: Jobspec): Entry[] {
  const { dependencies } = jobspec.attributes.system ?? {};
  if (dependencies === undefined) return [];
  return dependencies.map((dependency) => {
    const { scheme: name, value, by, expect } = dependency as Record<string, unknown>;
    if (!isJsonObject(dependency) || typeof name !== "string") throw invalid("dependency object missing scheme");
    // Case does not matter, as it does not in the scheme of a URI.
    const scheme = isKnown(name.toLowerCase()) ? name.toLowerCase() : name;
    if (typeof value !== "string") throw invalid(`dependency: ${scheme}: value must be a string`);
    if (by !== undefined && by !== "name" && AFTER_SCHEMES.has(scheme))
      throw invalid(`dependency: ${scheme}: by=${String(by)}: only by=name is known`);
    const mark = by !== "name" ? "" : expect === undefined || expect === 0 ? "@" : "@@";
    return { scheme, value: `${mark}${value}` };
  });
}

/** The alternatives of a dependency with the scheme `any`. Throws EINVAL. */
export function alternativesOf(value: string): Entry[] {
  return value.split(BETWEEN_ALTERNATIVES).map((text) => {
    const [, scheme, rest] = /^([a-z]+):(.+)$/.exec(text) ?? [];
    if (scheme === undefined || rest === undefined)
      throw invalid(`dependency: any: "${text}" is not SCHEME:VALUE; alternatives are separated by |`);
    if (!AFTER_SCHEMES.has(scheme)) throw invalid(`dependency: any: scheme "${scheme}" not supported`);
    return { scheme, value: rest };
  });
}

export interface NamedValue {
  readonly name: string;
  /** Whether a job of this name may come later. */
  readonly isExpected: boolean;
}

/** The name in a value such as `@NAME` or `@@NAME`; null for others. Throws EINVAL for an empty one. */
export function nameIn(value: string): NamedValue | null {
  if (!value.startsWith("@")) return null;
  const isExpected = value.startsWith("@@");
  const name = value.slice(isExpected ? 2 : 1);
  if (name === "") throw invalid("dependency: a job name is missing after @");
  return { name, isExpected };
}

/** Said of a value that should be a job id: a job's name is written otherwise. */
export function notJobid(scheme: string, value: string): Error {
  const hint = /^[A-Za-z_][\w.-]*$/.test(value) ? nameHint(scheme, value) : "";
  return invalid(`dependency: ${scheme}: "${value}" is not a valid jobid${hint}`);
}

/** Said of a job that there is none of. A word such as `first` reads as a job id, too, and rarely is meant as one. */
export function noSuchJob(scheme: string, value: string): Error {
  const hint = /^f[A-Za-z_-]{2,}$/.test(value) ? nameHint(scheme, value) : "";
  return invalid(`dependency: ${scheme}: id ${value}: job not found${hint}`);
}

function nameHint(scheme: string, value: string): string {
  return ` (a job by its name: ${scheme}:@${value})`;
}

/** One way to satisfy a dependency. */
export interface Alternative {
  readonly antecedent: Integer;
  readonly scheme: AfterScheme;
  /** The antecedent as it was written. */
  readonly text: string;
}

/** How an event names a dependency on one of these. */
export function describeAlternatives(alternatives: readonly Alternative[]): string {
  const texts = alternatives.map(({ scheme, text }) => `${scheme.prefix}=${text}`);
  return `${ANY}=${texts.join(BETWEEN_ALTERNATIVES)}`;
}

/** What an event's description says of other jobs; null where it is about something else. */
export function readDescription(
  description: string,
): { alternatives: Alternative[] } | { expected: string; scheme: AfterScheme } | null {
  const isAny = description.startsWith(`${ANY}=`);
  const parts = isAny ? description.slice(ANY.length + 1).split(BETWEEN_ALTERNATIVES) : [description];
  const alternatives: Alternative[] = [];
  for (const part of parts) {
    const at = part.indexOf("=");
    const scheme = BY_PREFIX.get(part.slice(0, at));
    const text = part.slice(at + 1);
    if (at < 0 || scheme === undefined) return null;
    const antecedent = tryParseFluid(text);
    if (antecedent === null) return text.startsWith("@") ? { expected: text.slice(1), scheme } : null;
    alternatives.push({ antecedent, scheme, text });
  }
  return { alternatives };
}

/** The ids of the jobs that a jobspec depends on, as far as they can be read. */
export function antecedentsOf(jobspec: Jobspec): Integer[] {
  return valuesOf(jobspec).flatMap((value) => {
    const id = tryParseFluid(value);
    return id === null ? [] : [id];
  });
}

/** The names of the jobs that a jobspec depends on. */
export function antecedentNamesOf(jobspec: Jobspec): string[] {
  return valuesOf(jobspec).flatMap((value) => (/^@@?./.test(value) ? [value.replace(/^@@?/, "")] : []));
}

function valuesOf(jobspec: Jobspec): string[] {
  const { dependencies } = jobspec.attributes.system ?? {};
  if (!Array.isArray(dependencies)) return [];
  return (dependencies as JsonObject[]).flatMap(({ scheme, value, by }) => {
    if (typeof scheme !== "string" || typeof value !== "string") return [];
    if (scheme === ANY) return value.split(BETWEEN_ALTERNATIVES).map((text) => text.slice(text.indexOf(":") + 1));
    if (!AFTER_SCHEMES.has(scheme)) return [];
    return [by === "name" ? `@${value}` : value];
  });
}
