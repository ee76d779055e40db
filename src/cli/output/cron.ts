/** How cron entries are shown: as rows of a list, and as the values of one. Pure. */
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";

/** An entry as the service `cron` tells it. */
export interface CronEntry extends JsonObject {
  readonly id: number;
  readonly name: string;
  readonly stopped: boolean;
  readonly repeat: number;
  readonly stats: JsonObject;
  readonly typedata: JsonObject;
  readonly tasks: JsonObject[];
}

/** What a shell ends with that does not find the command. */
const SHELL_FOUND_NOTHING = 127;

export const CRON_LIST_HEADER: string = row("ID", "CMD/NAME", "STATE", "#RUNS", "LASTRUN", "STATUS");

function row(id: string, name: string, state: string, runs: string, lastRun: string, status: string): string {
  return `${id.padStart(6)} ${name.padEnd(15)} ${state.padEnd(8)} ${runs.padStart(9)} ${lastRun.padStart(18)}  ${status.padEnd(18)}`;
}

export function cronListRow(entry: CronEntry, now: number): string {
  const runs = String(entry.stats["count"]);
  const last = Number(entry.stats["lastrun"]);
  return row(
    String(entry.id),
    entry.name,
    entry.stopped ? "Stopped" : "Active",
    entry.repeat > 0 ? `${runs}/${entry.repeat}` : runs,
    last === 0 ? "None" : lastRunText(last, now),
    statusText(entry.tasks[0]),
  );
}

function statusText(task: JsonObject | undefined): string {
  if (task === undefined) return "None";
  if (task["state"] === "Exited") return "Success";
  if (task["state"] !== "Failed") return String(task["state"]);
  return task["code"] === SHELL_FOUND_NOTHING ? "Exec-Error" : `Failed:rc=${String(task["code"])}`;
}

const UNITS: readonly (readonly [string, number])[] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** How long ago a time was. */
export function lastRunText(time: number, now: number): string {
  const elapsed = now - time;
  for (const [unit, seconds] of UNITS) {
    const number = Math.floor(elapsed / seconds);
    if (number === 1) return `${unit === "hour" ? "an" : "a"} ${unit} ago`;
    if (number > 1) return `${number} ${unit}s ago`;
  }
  const seconds = Math.floor(elapsed);
  return seconds <= 1 ? "a second ago" : `${seconds} seconds ago`;
}

/** The values of an entry by name: `stats.count`, `task.1.state`. */
export function* cronDumpLines(entry: CronEntry): Generator<[string, string | number | boolean]> {
  yield* linesOf("", entry);
}

function* linesOf(prefix: string, object: JsonObject): Generator<[string, string | number | boolean]> {
  for (const [name, value] of Object.entries(object))
    if (name === "tasks" && Array.isArray(value))
      for (const [index, task] of value.entries()) yield* linesOf(`task.${index + 1}.`, task as JsonObject);
    else if (isJsonObject(value)) yield* linesOf(`${prefix}${name}.`, value);
    else if (value !== undefined) yield [`${prefix}${name}`, scalarOf(value)];
}

/** Times have five digits after the point here. */
function scalarOf(value: JsonValue): string | number | boolean {
  if (typeof value === "number") return Number(value.toPrecision(14));
  return typeof value === "string" || typeof value === "boolean" ? value : String(value);
}
