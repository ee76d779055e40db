/**
 * Retries of a job: the text of the option `--retry=N[,delay=FSD][,on=exit,signal,exception]`, and the system attribute
 * `retry` that it stands for: `{count, delay?, on?}`.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { tryParseFsd } from "./duration.ts";
import type { Jobspec } from "./jobspec.ts";

/** What makes an attempt a failed one that is worth another. */
export const RETRY_CAUSES = ["exit", "signal", "exception"] as const;
export type RetryCause = (typeof RETRY_CAUSES)[number];

export interface RetryPolicy {
  /** Attempts after the first. */
  readonly count: number;
  /** Seconds before each of them. */
  readonly delay: number;
  readonly on: readonly RetryCause[];
}

const COUNT_MAX = 1_000_000;

/** Reads the option; the result is the attribute. Throws EINVAL with what is wrong. */
export function parseRetry(text: string): JsonObject {
  const [first = "", ...rest] = text.split(",");
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `--retry: ${reason}; expected N[,delay=FSD][,on=${RETRY_CAUSES.join(",")}]`);
  };
  if (!/^\d+$/.test(first) || Number(first) > COUNT_MAX) fail(`'${first}' is no number from 0 to ${COUNT_MAX}`);
  let delay: number | null = null;
  let causes: string[] | null = null;
  for (const part of rest) {
    const at = part.indexOf("=");
    const key = part.slice(0, at);
    const value = part.slice(at + 1);
    if (at < 0 && causes !== null) causes.push(part);
    else if (key === "on") causes = [...(causes ?? []), value];
    else if (key === "delay") delay = tryParseFsd(value) ?? fail(`delay '${value}' is no duration`);
    else fail(`'${part}' is not known`);
  }
  const wrong = causes?.find((cause) => !isCause(cause));
  if (wrong !== undefined) fail(`on: '${wrong}' is none of ${RETRY_CAUSES.join(", ")}`);
  if (delay === Infinity) fail("the delay must be finite");
  return {
    count: Number(first),
    ...(delay === null ? {} : { delay }),
    ...(causes === null ? {} : { on: [...new Set(causes)] }),
  };
}

function isCause(value: JsonValue): value is RetryCause {
  return RETRY_CAUSES.includes(value as RetryCause);
}

/** What a jobspec says of retries; null for none. Throws EINVAL where it makes no sense. */
export function retryPolicyOf(jobspec: Jobspec): RetryPolicy | null {
  const value = jobspec.attributes.system?.["retry"];
  if (value === undefined || value === 0) return null;
  const fail = (reason: string): never => {
    throw new FluxError("EINVAL", `attributes.system.retry: ${reason}`);
  };
  const { count, delay = 0, on = RETRY_CAUSES } = isJsonObject(value) ? value : { count: value };
  if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > COUNT_MAX)
    return fail(`count must be a number from 0 to ${COUNT_MAX}`);
  if (typeof delay !== "number" || !(delay >= 0 && delay < Infinity)) return fail("delay must be seconds, 0 or more");
  if (!Array.isArray(on) || !(on as JsonValue[]).every(isCause))
    return fail(`on must be an array of ${RETRY_CAUSES.join(", ")}`);
  return count === 0 ? null : { count, delay, on: on as RetryCause[] };
}
