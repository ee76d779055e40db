/**
 * A job as `flux jobs --json` shows it: what job-list tells of it, and what follows from that. What is not known yet is
 * left out. Pure.
 */
import { realNumber, type JsonObject, type JsonValue } from "../../base/json.ts";
import { jobResultName, jobStateName } from "../../formats/job-states.ts";
import { jobIdText } from "./client.ts";
import type { JobRecord } from "./record.ts";

/** Told in another form, or only where they say something. */
const NOT_AS_IS: ReadonlySet<string> = new Set(["id", "state", "result", "dependencies", "expiration", "annotations"]);

/** Seconds, which are reals also where they are whole ones: `60.0`. */
const SECONDS = /^(t_.*|duration|expiration|runtime)$/;

export function jobJson(job: JobRecord): JsonObject {
  const members = Object.entries(membersOf(job));
  const asShown = ([name, value]: [string, JsonValue]): [string, JsonValue] => [
    name,
    typeof value === "number" && SECONDS.test(name) ? realNumber(value) : value,
  ];
  return Object.fromEntries(members.map(asShown));
}

function membersOf(job: JobRecord): Record<string, JsonValue> {
  const derived: Record<string, JsonValue> = { id: job.id };
  for (const name of Object.keys(job.attributes))
    if (!NOT_AS_IS.has(name) && !name.startsWith("exception_")) derived[name] = job.attributes[name] as JsonValue;
  if (job.number("expiration") > 0) derived["expiration"] = job.number("expiration");
  derived["jobid"] = jobIdText(job.id);
  derived["state"] = jobStateName(job.state);
  derived["status"] = job.status;
  derived["username"] = job.context.userName(job.number("userid"));
  derived["dependencies"] = job.shownDependencies;
  derived["annotations"] = job.attributes["annotations"] ?? {};
  derived["exception"] = exceptionJson(job);
  if (job.uri !== null) derived["uri"] = job.uri;
  if (job.number("t_run") > 0) derived["runtime"] = job.runtime;
  if (job.remaining > 0) derived["t_remaining"] = job.remaining;
  if (job.isInactive) {
    derived["result"] = jobResultName(job.number("result"));
    derived["returncode"] = job.returncode as JsonValue;
  }
  return derived;
}

function exceptionJson(job: JobRecord): JsonObject {
  if (job.attributes["exception_occurred"] !== true) return { occurred: false };
  return {
    occurred: true,
    severity: job.number("exception_severity"),
    type: job.text("exception_type"),
    note: job.text("exception_note"),
  };
}
