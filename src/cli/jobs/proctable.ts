/**
 * The table of a job's processes as its shells give it: columns of numbers and of texts, both shortened.
 *
 * Numbers: each is the difference to the one before; `[difference, n]` is followed by n more, each one up, or, where n is
 * negative, by -n more of the same. Texts: whole, or `[prefix, endings]`, endings being numbers as above and -1 none.
 *
 * Pure.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";

/** No table is larger: a damaged one must not fill the memory. */
const ENTRIES_MAX = 2 ** 24;

export interface Process {
  readonly host: string;
  readonly pid: number;
  /** Task rank. */
  readonly rank: number;
}

/** The processes of a table. Throws FluxError EPROTO. */
export function expandTable(table: JsonObject): Process[] {
  const hosts = expandTexts(table["hosts"]);
  const pids = expandNumbers(table["pids"]);
  const ids = expandNumbers(table["ids"]);
  if (hosts.length !== ids.length || pids.length !== ids.length) throw malformed();
  return ids.map((rank, index) => ({ rank, host: hosts[index]!, pid: pids[index]! }));
}

function expandNumbers(column: JsonValue | undefined): number[] {
  if (!Array.isArray(column)) throw malformed();
  const numbers: number[] = [];
  let last = 0;
  for (const entry of column as readonly JsonValue[]) {
    const [difference, more] = Array.isArray(entry) ? (entry as readonly JsonValue[]) : [entry, 0];
    if (typeof difference !== "number" || typeof more !== "number") throw malformed();
    if (numbers.length + Math.abs(more) > ENTRIES_MAX) throw malformed();
    numbers.push((last += difference));
    for (let step = 0; step < Math.abs(more); step++) numbers.push(more > 0 ? ++last : last);
  }
  return numbers;
}

function expandTexts(column: JsonValue | undefined): string[] {
  if (!Array.isArray(column)) throw malformed();
  return (column as readonly JsonValue[]).flatMap((entry) => {
    if (typeof entry === "string") return [entry];
    const [prefix, endings] = Array.isArray(entry) ? (entry as readonly JsonValue[]) : [];
    if (typeof prefix !== "string") throw malformed();
    return expandNumbers(endings).map((ending) => (ending === -1 ? prefix : `${prefix}${ending}`));
  });
}

function malformed(): FluxError {
  return new FluxError("EPROTO", "the job shell sent a malformed process table");
}
