/**
 * Dates and times as people write them, in local time: `2031-06-21 8am`, `tomorrow at noon`, `in 2 hours`, `next friday
 * 9am`, `Dec 25`, `30 minutes ago`.
 *
 * A text is read piece by piece; each piece sets the day, the time of day, or moves the result. A day that is named by its
 * date keeps the present time of day; one named by a word begins at midnight. If any piece is not understood, the whole text
 * is refused: a job must not begin at another time than was meant.
 *
 * Pure: now is an argument.
 */
import { tryParseFsd } from "../../formats/duration.ts";

export interface DateOptions {
  /** Where a text names a time of day only, and it is past: `next` is that of tomorrow; `today`, the default, is past. */
  readonly bareTime?: "today" | "next";
}

const UNITS: readonly (readonly [RegExp, "seconds" | "days" | "months", number])[] = [
  [/^(s|secs?|seconds?)$/, "seconds", 1],
  [/^(m|mins?|minutes?)$/, "seconds", 60],
  [/^(h|hrs?|hours?)$/, "seconds", 3600],
  [/^(d|dys?|days?)$/, "days", 1],
  [/^(w|wks?|weeks?)$/, "days", 7],
  [/^(mths?|months?)$/, "months", 1],
  [/^(y|yrs?|years?)$/, "months", 12],
];
const NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split(" ");
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/** Hours of the words for times of day. */
const TIMES: Readonly<Record<string, number>> = {
  midnight: 0,
  morning: 6,
  breakfast: 8,
  noon: 12,
  lunch: 12,
  afternoon: 13,
  eod: 17,
  evening: 18,
  dinner: 19,
  night: 21,
  tonight: 21,
};
const DAYS: Readonly<Record<string, number>> = { today: 0, tomorrow: 1, yesterday: -1 };

const WEEKDAY = "(sun|mon|tue|wed|thu|fri|sat)(?:day|s|sday|nesday|r|rs|rsday|urday)?";
const MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\\.?";

/** Seconds since the epoch; null where the text is no date. A leading sign is an offset in Flux Standard Duration. */
export function parseDateTime(text: string, now: number, options: DateOptions = {}): number | null {
  const trimmed = text.trim().toLowerCase();
  const stamp = /^@?(\d{9,}(?:\.\d+)?)$/.exec(trimmed);
  if (stamp !== null) return Number(stamp[1]);
  const offset = /^([+-])(.+)$/.exec(trimmed);
  if (offset !== null) {
    const seconds = tryParseFsd(offset[2]!);
    return seconds === null ? null : now + (offset[1] === "-" ? -seconds : seconds);
  }
  const iso = /^\d{4}-\d\d-\d\dt\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:z|[+-]\d\d:?\d\d)?$/.test(trimmed);
  if (iso) return finite(Date.parse(trimmed.toUpperCase()) / 1000);
  return new DateReader(trimmed, now, options).read();
}

function finite(seconds: number): number | null {
  return Number.isFinite(seconds) ? seconds : null;
}

class DateReader {
  #rest: string;
  readonly #now: number;
  readonly #options: DateOptions;
  readonly #date: Date;
  /** A day that the calendar does not have, a time that the clock does not show. */
  #isImpossible = false;
  #hasDay = false;
  #hasTime = false;
  #moved = { seconds: 0, days: 0, months: 0 };
  #sign = 1;

  constructor(text: string, now: number, options: DateOptions) {
    this.#rest = text.replaceAll(",", " ").trim();
    this.#now = now;
    this.#options = options;
    this.#date = new Date(now * 1000);
  }

  read(): number | null {
    if (this.#rest === "") return null;
    const readers = [this.#amount, this.#word, this.#weekday, this.#period, this.#dateOf, this.#time];
    while (this.#rest !== "") if (!readers.some((reader) => reader.call(this)) || this.#isImpossible) return null;
    const isPast = this.#hasTime && !this.#hasDay && this.#date.getTime() / 1000 < this.#now;
    if (isPast && this.#options.bareTime === "next") this.#date.setDate(this.#date.getDate() + 1);
    this.#addMonths(this.#sign * this.#moved.months);
    this.#date.setDate(this.#date.getDate() + this.#sign * this.#moved.days);
    return finite(this.#date.getTime() / 1000 + this.#sign * this.#moved.seconds);
  }

  /** The same day of another month, or that month's last. */
  #addMonths(months: number): void {
    const day = this.#date.getDate();
    this.#date.setMonth(this.#date.getMonth() + months, 1);
    const last = new Date(this.#date.getFullYear(), this.#date.getMonth() + 1, 0).getDate();
    this.#date.setDate(Math.min(day, last));
  }

  /** Takes what an expression matches at the beginning of the rest, as whole words. */
  #take(expression: string): RegExpExecArray | null {
    const match = new RegExp(`^(?:${expression})(?![\\w:/])\\s*`).exec(this.#rest);
    if (match !== null) this.#rest = this.#rest.slice(match[0].length);
    return match;
  }

  /** `in 2 hours`, `an hour ago`, `5 min`, `2 days from tomorrow`. */
  #amount(): boolean {
    const number = `-?\\d+(?:\\.\\d+)?|an?|${NUMBERS.join("|")}`;
    const match = this.#take(
      `(?:in |and )?(${number})\\s*([a-z]+)(?:\\s+(ago|before now|from now|after|from|before))?`,
    );
    if (match === null) return false;
    const [whole, count = "", name = "", how] = match;
    const unit = UNITS.find(([expression]) => expression.test(name));
    if (unit === undefined) {
      this.#rest = whole + this.#rest;
      return false;
    }
    const [, kind, size] = unit;
    const named = NUMBERS.indexOf(count);
    const amount = /^an?$/.test(count) ? 1 : named >= 0 ? named : Number(count);
    const isWhole = Number.isInteger(amount);
    if (kind === "months" && !isWhole) return false;
    if (kind === "days" && !isWhole) this.#moved.seconds += amount * size * 86400;
    else this.#moved[kind] += amount * size;
    if (how === "ago" || how === "before now" || how === "before") this.#sign = -1;
    return true;
  }

  #word(): boolean {
    const match = this.#take(
      "(?:at |on |this |the )?(now|today|tomorrow|yesterday|end of day|end of month|eom|" +
        `end of year|eoy|${Object.keys(TIMES).join("|")})`,
    );
    if (match === null) return false;
    const word = match[1]!.replace("end of day", "eod").replace("eom", "end of month").replace("eoy", "end of year");
    const day = Object.hasOwn(DAYS, word) ? DAYS[word] : undefined;
    const hour = Object.hasOwn(TIMES, word) ? TIMES[word] : undefined;
    if (day !== undefined) this.#setDay(() => this.#date.setDate(this.#date.getDate() + day), true);
    else if (word === "end of month") this.#setDay(() => this.#date.setMonth(this.#date.getMonth() + 1, 0), true);
    else if (word === "end of year") this.#setDay(() => this.#date.setMonth(11, 31), true);
    else if (hour !== undefined) this.#setTime(hour, 0, 0);
    return true;
  }

  /** A day of the week is the next such; with `last` the one before. */
  #weekday(): boolean {
    const match = this.#take(`(?:on )?(next |last |this )?${WEEKDAY}`);
    if (match === null) return false;
    const ahead = (WEEKDAYS.indexOf(match[2]!) - this.#date.getDay() + 7) % 7 || 7;
    const days = match[1] === "last " ? (ahead === 7 ? -7 : ahead - 7) : ahead;
    this.#setDay(() => this.#date.setDate(this.#date.getDate() + days), match[1] !== undefined);
    return true;
  }

  #period(): boolean {
    const match = this.#take("(next|last) (day|week|month|year)");
    if (match === null) return false;
    const by = match[1] === "next" ? 1 : -1;
    this.#setDay(() => {
      if (match[2] === "day") this.#date.setDate(this.#date.getDate() + by);
      else if (match[2] === "week") this.#date.setDate(this.#date.getDate() + 7 * by);
      else if (match[2] === "month") this.#date.setMonth(this.#date.getMonth() + by, 1);
      else this.#date.setFullYear(this.#date.getFullYear() + by, 0, 1);
    }, true);
    return true;
  }

  /** `2031-06-21`, `2031/06/21`, `6/21[/2031]`, `Jun 21[ 2031]`, `21 Jun[ 2031]`, `June`. */
  #dateOf(): boolean {
    const year = "(\\d{4})";
    const day = "(\\d\\d?)(?:st|nd|rd|th)?";
    let match = this.#take(`(?:on )?${year}[-/](\\d\\d?)[-/](\\d\\d?)(?:t(?=\\d))?`);
    if (match !== null) return this.#setDate(match[1], Number(match[2]), match[3]);
    match = this.#take(`(?:on )?(\\d\\d?)/(\\d\\d?)(?:/(\\d{4}|\\d\\d))?`);
    if (match !== null) return this.#setDate(match[3], Number(match[1]), match[2]);
    match = this.#take(`(?:on )?${MONTH}\\s+${day}(?:\\s+${year})?`);
    if (match !== null) return this.#setDate(match[3], MONTHS.indexOf(match[1]!) + 1, match[2]);
    match = this.#take(`(?:on )?${day}\\s+(?:of )?${MONTH}(?:\\s+${year})?`);
    if (match !== null) return this.#setDate(match[3], MONTHS.indexOf(match[2]!) + 1, match[1]);
    match = this.#take(`(?:in )?${MONTH}(?:\\s+${year})?`);
    return match !== null && this.#setDate(match[2], MONTHS.indexOf(match[1]!) + 1, "1");
  }

  /** Without a year it is the next such day. */
  #setDate(year: string | undefined, month: number, day: string | undefined): boolean {
    const { length = 0 } = year ?? {};
    const before = this.#date.getTime();
    const given = year === undefined ? this.#date.getFullYear() : Number(year) + (length === 2 ? 2000 : 0);
    this.#setDay(() => this.#date.setFullYear(given, month - 1, Number(day)), false);
    this.#isImpossible = this.#date.getMonth() !== month - 1 || this.#date.getDate() !== Number(day);
    if (year === undefined && this.#date.getTime() < before) this.#date.setFullYear(given + 1);
    return true;
  }

  /** `8am`, `8:30`, `08:30:15.5`, `8:30 pm`. */
  #time(): boolean {
    const match = this.#take("(?:at )?(\\d\\d?)(?::(\\d\\d))?(?::(\\d\\d(?:\\.\\d+)?))?\\s*([ap])?(?:\\.?m\\.?)?");
    if (match === null) return false;
    // A number alone is neither.
    this.#isImpossible = match[2] === undefined && match[4] === undefined;
    if (this.#isImpossible) return false;
    const [, hours, minutes = "0", seconds = "0", half] = match;
    const hour = half === undefined ? Number(hours) : (Number(hours) % 12) + (half === "p" ? 12 : 0);
    this.#isImpossible =
      Number(hours) > (half === undefined ? 23 : 12) || Number(minutes) > 59 || Number(seconds) >= 60;
    this.#setTime(hour, Number(minutes), Number(seconds));
    return true;
  }

  /** A time of day that was given already stays. */
  #setDay(set: () => void, isWord: boolean): void {
    this.#hasDay = true;
    set();
    if (isWord && !this.#hasTime) this.#date.setHours(0, 0, 0, 0);
  }

  #setTime(hours: number, minutes: number, seconds: number): void {
    this.#hasTime = true;
    this.#date.setHours(hours, minutes, Math.floor(seconds), (seconds % 1) * 1000);
  }
}
