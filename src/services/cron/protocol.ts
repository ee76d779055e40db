/**
 * Messages of the service `cron`: entries that run a command at times or on events (flux-cron(1)). For the instance
 * owner only, on rank 0.
 *
 * | topic       | request                                   | response                                          |
 * |-------------|-------------------------------------------|---------------------------------------------------|
 * | create      | EntryRequest                              | the entry (EntryRecord); EPROTO, EINVAL, ENOSYS   |
 * | list        | –                                         | {entries: [EntryRecord]}                          |
 * | start, stop | {id}                                      | the entry; ENOENT; EINVAL where it is so already  |
 * | delete      | {id, kill?}                               | the entry as it was; ENOENT                       |
 * | sync        | {topic?, sync_epsilon?, disable?}         | {sync_event, sync_epsilon} or {sync_disabled}     |
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { CALENDAR_FIELDS, calendarOf, type Calendar, type CalendarField } from "../../formats/crontab.ts";
import { invalidMember, requireObject, requireString } from "../../sdk/service.ts";

/** What starts an entry's command. */
export type TriggerRequest =
  | { readonly type: "interval"; readonly intervalSeconds: number; readonly afterSeconds: number }
  | {
      readonly type: "event";
      readonly topic: string;
      readonly nth: number;
      readonly after: number;
      readonly minIntervalSeconds: number;
    }
  | { readonly type: "datetime"; readonly calendar: Calendar };

export interface EntryRequest {
  readonly name: string;
  /** A line for the shell. */
  readonly command: string;
  readonly trigger: TriggerRequest;
  /** How many times it runs before it stops; 0: for ever. */
  readonly repeat: number;
  readonly rank: number;
  readonly cwd: string | null;
  readonly environment: Readonly<Record<string, string>> | null;
  /** How many of its tasks are remembered. */
  readonly historyCount: number;
  /** Stops after so many failures since it was started; 0: never. */
  readonly stopOnFailure: number;
  /** A task that runs longer is ended; null: never. */
  readonly timeoutSeconds: number | null;
}

/** Reads a `cron.create` request. Throws EPROTO, EINVAL; ENOSYS for an unknown type. */
export function parseEntryRequest(json: JsonObject): EntryRequest {
  const type = requireString(json, "type");
  const environment = json["environ"];
  const timeout = numberIn(json, "timeout", -1);
  return {
    name: requireString(json, "name"),
    command: requireString(json, "command"),
    trigger: parseTrigger(type, requireObject(json, "args")),
    repeat: countIn(json, "repeat", 0),
    rank: countIn(json, "rank", 0),
    cwd: typeof json["cwd"] === "string" ? json["cwd"] : null,
    environment: isJsonObject(environment) ? stringMembers(environment) : null,
    historyCount: Math.max(1, countIn(json, "task-history-count", 1)),
    stopOnFailure: countIn(json, "stop-on-failure", 0),
    timeoutSeconds: timeout < 0 ? null : timeout,
  };
}

function parseTrigger(type: string, args: JsonObject): TriggerRequest {
  switch (type) {
    case "interval": {
      if (args["interval"] === undefined) throw invalidMember("interval");
      const intervalSeconds = numberIn(args, "interval", 0);
      const afterSeconds = numberIn(args, "after", intervalSeconds);
      if (intervalSeconds < 0 || afterSeconds < 0) throw new FluxError("EINVAL", "an interval is not negative");
      return { type, intervalSeconds, afterSeconds };
    }
    case "event":
      return {
        type,
        topic: requireString(args, "topic"),
        nth: countIn(args, "nth", 0),
        after: countIn(args, "after", 0),
        minIntervalSeconds: numberIn(args, "min_interval", 0),
      };
    case "datetime":
      return { type, calendar: parseCalendar(args) };
    default:
      throw new FluxError("ENOSYS", `'${type}' is no type of cron entry`);
  }
}

function parseCalendar(args: JsonObject): Calendar {
  const fields: Partial<Record<CalendarField, string>> = {};
  for (const field of CALENDAR_FIELDS) {
    const value = args[field];
    if (value === undefined) continue;
    if (typeof value !== "string" && typeof value !== "number") throw invalidMember(field);
    fields[field] = String(value);
  }
  return calendarOf(fields);
}

function stringMembers(object: JsonObject): Record<string, string> {
  const strings: Record<string, string> = {};
  for (const [name, value] of Object.entries(object)) if (typeof value === "string") strings[name] = value;
  return strings;
}

function numberIn(object: JsonObject, key: string, fallback: number): number {
  const value: JsonValue | undefined = object[key];
  if (value === undefined) return fallback;
  if (typeof value !== "number") throw invalidMember(key);
  return value;
}

function countIn(object: JsonObject, key: string, fallback: number): number {
  const value = numberIn(object, key, fallback);
  if (!Number.isInteger(value) || value < 0) throw new FluxError("EINVAL", `'${key}' is a count`);
  return value;
}
