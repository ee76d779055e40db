/**
 * Event logs (RFC 18): one JSON object a line, `{"timestamp":…,"name":…,"context":…}`.
 *
 * A log is only ever appended to, whole entries at a time, so it ends with a newline. Reading is strict: a log that is not
 * exactly of this form is refused, because job state is replayed from it.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../base/json.ts";

export interface EventlogEntry {
  /** Seconds since the Unix epoch, with a fraction; greater than 0. */
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject | undefined;
}

/** One entry as a line, newline included. */
export function encodeEntry(entry: EventlogEntry): string {
  const { timestamp, name, context } = entry;
  return `${stringifyJson(context === undefined ? { timestamp, name } : { timestamp, name, context })}\n`;
}

/** Reads one line, with or without its newline. Throws FluxError EINVAL where it is no entry. */
export function decodeEntry(line: string): EventlogEntry {
  const text = line.endsWith("\n") ? line.slice(0, -1) : line;
  if (text.includes("\n")) throw invalid("an entry is one line");
  return checkEntry(parseLine(text));
}

/** Reads a log; the empty text has no entries. Throws FluxError EINVAL with the number of the line that is wrong. */
export function decodeEventlog(text: string): EventlogEntry[] {
  if (text === "") return [];
  if (!text.endsWith("\n")) throw invalid("the last entry does not end with a newline");
  return text
    .slice(0, -1)
    .split("\n")
    .map((line, index) => {
      try {
        return checkEntry(parseLine(line));
      } catch (error) {
        throw new FluxError("EINVAL", `${(error as Error).message} (line ${index + 1})`, { cause: error });
      }
    });
}

/** Checks that a JSON value is an entry, and returns it. Throws FluxError EINVAL where it is none. */
function checkEntry(value: JsonValue | undefined): EventlogEntry {
  if (!isJsonObject(value)) throw invalid("an entry is an object");
  const { timestamp, name, context } = value as Record<string, JsonValue | undefined>;
  if (typeof timestamp !== "number" || !(timestamp > 0)) throw invalid("timestamp must be a number > 0");
  if (typeof name !== "string" || name === "") throw invalid("name must be a string");
  if (context !== undefined && !isJsonObject(context)) throw invalid("context must be an object");
  const unknown = Object.keys(value).find((key) => key !== "timestamp" && key !== "name" && key !== "context");
  if (unknown !== undefined) throw invalid(`unknown key '${unknown}'`);
  return value as unknown as EventlogEntry;
}

function parseLine(line: string): JsonValue {
  try {
    return parseJson(line);
  } catch (error) {
    throw new FluxError("EINVAL", `invalid eventlog: ${(error as Error).message}`, { cause: error });
  }
}

function invalid(reason: string): FluxError {
  return new FluxError("EINVAL", `invalid eventlog: ${reason}`);
}
