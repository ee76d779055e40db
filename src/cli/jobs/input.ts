/** Jobs from standard input: a JSON object of job-list's attributes on each line (`flux jobs --from-stdin`). */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { utf8Decode } from "../../base/bytes.ts";
import type { CommandContext } from "../framework/command.ts";
import { recordContext } from "./listing.ts";
import { JobRecord } from "./record.ts";

/** Throws FluxError EINVAL that names the line which is no job. */
export async function readRecords(context: CommandContext): Promise<JobRecord[]> {
  const text = utf8Decode(await context.readInput());
  const about = recordContext();
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line, index) => new JobRecord(parseJob(line, index + 1), about));
}

function parseJob(line: string, number: number): JsonObject {
  const refuse = (why: string, cause?: unknown): never => {
    throw new FluxError("EINVAL", `JSON input error: line ${number}: ${why}`, { cause });
  };
  let value: JsonValue;
  try {
    value = parseJson(line);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    return refuse(error.message, error);
  }
  if (!isJsonObject(value)) return refuse("a job is an object");
  const { id } = value;
  return typeof id === "number" || typeof id === "bigint" ? value : refuse("a job has an integer 'id'");
}
