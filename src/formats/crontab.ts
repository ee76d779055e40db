/**
 * Times of day by the fields of crontab(5): which second, minute, hour, day, month, year and weekday they name, and when
 * the next such moment is.
 *
 * Months count from 0, years from 1900, weekdays from Sunday = 0, as in C's `struct tm`: so Flux's cron service takes
 * and shows them. Times are those of the time zone of the process. A day must match both its day of the month and its
 * weekday.
 *
 * It does not know what time it is.
 */
import { FluxError } from "../base/errors.ts";
import { Idset } from "./idset.ts";

export const CALENDAR_FIELDS = ["second", "minute", "hour", "mday", "month", "year", "weekday"] as const;
export type CalendarField = (typeof CALENDAR_FIELDS)[number];

/** For each field the values that match. */
export type Calendar = Readonly<Record<CalendarField, Idset>>;

/** The first and last value of each field. 60 is a leap second. */
const BOUNDS: Readonly<Record<CalendarField, readonly [number, number]>> = {
  second: [0, 60],
  minute: [0, 59],
  hour: [0, 23],
  mday: [1, 31],
  month: [0, 11],
  year: [0, 1100],
  weekday: [0, 6],
};

const NAMES: Readonly<Partial<Record<CalendarField, readonly string[]>>> = {
  month: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  weekday: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/** Reads a field: `*`, `N`, `N-M`, `*` or a range with a step (`*` `/5`), or a comma separated list of those. Throws EINVAL. */
export function parseCalendarField(field: CalendarField, text: string): Idset {
  const values = new Idset();
  for (const item of text.split(",")) addItem(values, field, item, text);
  return values;
}

function addItem(values: Idset, field: CalendarField, item: string, text: string): void {
  const [first, last] = BOUNDS[field];
  const match = /^(?:\*|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:\/(\d+))?$/i.exec(item);
  if (match === null) throw invalid(field, text);
  const [, from, to, step] = match;
  const low = from === undefined ? first : valueOf(field, from, text);
  // A single value with a step counts on to the end.
  const end = step === undefined && from !== undefined ? low : last;
  const high = to === undefined ? end : valueOf(field, to, text);
  const stride = step === undefined ? 1 : Number(step);
  if (high < low || stride < 1) throw invalid(field, text);
  for (let value = low; value <= high; value += stride) values.add(value);
}

function valueOf(field: CalendarField, word: string, text: string): number {
  const named = NAMES[field]?.indexOf(word.toLowerCase().slice(0, 3)) ?? -1;
  const value = /^\d+$/.test(word) ? Number(word) : named;
  const [first, last] = BOUNDS[field];
  // Sunday has two numbers.
  if (field === "weekday" && value === 7) return 0;
  if (value < first || value > last) throw invalid(field, text);
  return value;
}

function invalid(field: CalendarField, text: string): FluxError {
  return new FluxError("EINVAL", `'${text}' is not a ${field} of a crontab`);
}

/** A calendar from the fields that are given; the others match always. Throws EINVAL. */
export function calendarOf(fields: Readonly<Partial<Record<CalendarField, string>>>): Calendar {
  const entries = CALENDAR_FIELDS.map((field) => [field, parseCalendarField(field, fields[field] ?? "*")]);
  return Object.fromEntries(entries) as Record<CalendarField, Idset>;
}

/**
 * The first moment after a time that the calendar names, in seconds since the epoch; null where there is none
 * (30 February).
 */
export function nextMoment(calendar: Calendar, afterSeconds: number): number | null {
  const date = new Date((Math.floor(afterSeconds) + 1) * 1000);
  const lastYear = 1900 + BOUNDS.year[1];
  while (date.getFullYear() <= lastYear) {
    if (!calendar.year.has(date.getFullYear() - 1900)) date.setFullYear(date.getFullYear() + 1, 0, 1);
    else if (!calendar.month.has(date.getMonth())) date.setMonth(date.getMonth() + 1, 1);
    else if (!calendar.mday.has(date.getDate()) || !calendar.weekday.has(date.getDay()))
      date.setDate(date.getDate() + 1);
    else if (!calendar.hour.has(date.getHours())) {
      nextHour(date);
      continue;
    } else if (!calendar.minute.has(date.getMinutes())) {
      date.setTime(date.getTime() + (60 - date.getSeconds()) * 1000);
      continue;
    } else if (!calendar.second.has(date.getSeconds())) {
      date.setTime(date.getTime() + 1000);
      continue;
    } else return date.getTime() / 1000;
    date.setHours(0, 0, 0);
  }
  return null;
}

/** Goes to the beginning of the next hour: by elapsed time, as an hour of the clock may come twice or not at all. */
function nextHour(date: Date): void {
  date.setTime(date.getTime() + ((59 - date.getMinutes()) * 60 + 60 - date.getSeconds()) * 1000);
}

/** A line of a crontab: when, and what. */
export interface CrontabLine {
  readonly fields: Readonly<Record<"minute" | "hour" | "mday" | "month" | "weekday", string>>;
  readonly command: string;
}

/** Reads a line of a crontab; null where it is empty or a comment. Throws EINVAL. */
export function parseCrontabLine(line: string): CrontabLine | null {
  const trimmed = line.trim();
  if (trimmed === "" || trimmed.startsWith("#")) return null;
  const match = /^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(.+)$/.exec(trimmed);
  if (match === null) throw new FluxError("EINVAL", "a line of a crontab is five fields and a command");
  const [minute, hour, mday, month, weekday, command] = match.slice(1) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const fields = { minute, hour, mday, month, weekday };
  calendarOf(fields);
  return { fields, command };
}
