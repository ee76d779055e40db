/**
 * The environment of a job is the largest part of its jobspec, and needed only to start its tasks: it is kept once, in the
 * signed request J, and the stored jobspec goes without.
 */
import type { JsonObject } from "../base/json.ts";
import type { Jobspec } from "../formats/jobspec.ts";

/** The environment; null where the jobspec has none. */
export function environmentOf(jobspec: Jobspec): JsonObject | null {
  return (jobspec.attributes.system?.environment as JsonObject | undefined) ?? null;
}

/** The jobspec without its environment; the same object where it has none. */
export function withoutEnvironment(jobspec: Jobspec): Jobspec {
  const system = jobspec.attributes.system;
  if (system?.environment === undefined) return jobspec;
  const { environment: _environment, ...rest } = system;
  return { ...jobspec, attributes: { ...jobspec.attributes, system: rest } };
}

/** The jobspec with another environment. */
export function withEnvironment(jobspec: Jobspec, environment: JsonObject): Jobspec {
  const system = { ...jobspec.attributes.system, environment: environment as Record<string, string | null> };
  return { ...jobspec, attributes: { ...jobspec.attributes, system } };
}
