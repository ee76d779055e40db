/** The options of a submission that speak of time: `--time-limit`, `--begin-time`, `--signal`. Pure; now is an argument. */
import { FluxError } from "../../base/errors.ts";
import { signalNumber } from "../../base/signals.ts";
import { tryParseFsd } from "../../formats/duration.ts";

const SIGNAL_DEFAULT = "SIGUSR1";
const TIMELEFT_DEFAULT_S = 60;

/** A time limit in seconds: minutes where the text has no unit. Throws FluxError EINVAL. */
export function parseTimeLimit(text: string): number {
  if (/^-?[\d.]+$/.test(text) && !Number.isNaN(Number(text))) {
    if (Number(text) < 0) throw new FluxError("EINVAL", "duration must not be negative");
    return Number(text) * 60;
  }
  const seconds = tryParseFsd(text);
  if (seconds === null) throw new FluxError("EINVAL", "invalid Flux standard duration");
  if (!Number.isFinite(seconds)) throw new FluxError("EINVAL", "duration must be a normal, finite value");
  return seconds;
}

/** When a job may begin, in seconds since the epoch: `+FSD`, or a date that is read as local time. */
export function parseBeginTime(text: string, now: number): number {
  if (text.startsWith("+")) {
    const seconds = tryParseFsd(text.slice(1));
    if (seconds === null) throw new FluxError("EINVAL", "invalid Flux standard duration");
    return now + seconds;
  }
  const time = parseDateTime(text, now);
  if (time === null) throw new FluxError("EINVAL", `Invalid datetime: "${text}"`);
  return time;
}

const WORDS: Readonly<Record<string, number>> = { today: 0, now: 0, tomorrow: 1, yesterday: -1 };

/** Seconds since the epoch of a date in one of the usual forms; null where it is none. A leading sign is an offset. */
export function parseDateTime(text: string, now: number): number | null {
  const trimmed = text.trim().replace(/^(\S.*)\s(today|tomorrow|yesterday)$/i, "$2 $1");
  if (/^@?\d{9,}(\.\d+)?$/.test(trimmed)) return Number(trimmed.replace("@", ""));
  const offset = /^([+-])(.+)$/.exec(trimmed);
  if (offset !== null) {
    const seconds = tryParseFsd(offset[2]!);
    return seconds === null ? null : now + (offset[1] === "-" ? -seconds : seconds);
  }
  const ago = /^(?:(in)\s+)?(an?|\d+)\s*(second|sec|minute|min|hour|day|week)s?(?:\s+(ago|from now))?$/i.exec(trimmed);
  if (ago !== null) {
    const unit = { second: 1, sec: 1, minute: 60, min: 60, hour: 3600, day: 86400, week: 604800 }[
      ago[3]!.toLowerCase()
    ]!;
    const amount = (/^an?$/i.test(ago[2]!) ? 1 : Number(ago[2])) * unit;
    return ago[4]?.toLowerCase() === "ago" ? now - amount : now + amount;
  }
  return dateAndTime(trimmed, now);
}

/** `DATE`, `TIME`, `DATE TIME`, `DATE at TIME`: a date alone keeps the time of day, a time alone is the next such. */
function dateAndTime(text: string, now: number): number | null {
  const match =
    /^(?:(today|tomorrow|yesterday|now)|(\d{4})-(\d\d?)-(\d\d?)|(\d\d?)\/(\d\d?)(?:\/(\d{4}))?)?(?:(?:^|[T\s]+)(?:at\s+)?(\d\d?)(?::(\d\d))?(?::(\d\d(?:\.\d+)?))?\s*([ap]m)?)?$/i.exec(
      text,
    );
  if (match === null || text === "") return null;
  const [, word, year, month, day, slashMonth, slashDay, slashYear, hours, minutes, seconds, half] = match;
  const date = new Date(now * 1000);
  const setDay = (year: number, month: number, day: number): boolean => {
    date.setFullYear(year, month - 1, day);
    return date.getMonth() === month - 1 && date.getDate() === day;
  };
  if (word !== undefined) date.setDate(date.getDate() + WORDS[word.toLowerCase()]!);
  else if (year !== undefined) {
    if (!setDay(Number(year), Number(month), Number(day))) return null;
  } else if (slashMonth !== undefined) {
    if (!setDay(Number(slashYear ?? date.getFullYear()), Number(slashMonth), Number(slashDay))) return null;
  } else if (minutes === undefined && half === undefined) return null;
  if (hours !== undefined) {
    if (Number(hours) > (half === undefined ? 23 : 12) || Number(minutes ?? 0) > 59 || Number(seconds ?? 0) >= 60)
      return null;
    const hour = half === undefined ? Number(hours) : (Number(hours) % 12) + (half.toLowerCase() === "pm" ? 12 : 0);
    date.setHours(hour, Number(minutes ?? 0), Number(seconds ?? 0), 0);
    const timeOnly = word === undefined && year === undefined && slashMonth === undefined;
    if (timeOnly && date.getTime() / 1000 < now) date.setDate(date.getDate() + 1);
  }
  const time = date.getTime() / 1000;
  return Number.isFinite(time) ? time : null;
}

/** `[SIG][@TIME]`: a signal that a job gets so many seconds before its end. Throws FluxError EINVAL. */
export function parseSignalOption(text: string): { signum: number; timeleft: number } {
  const at = text.indexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const time = at < 0 ? "" : text.slice(at + 1);
  const timeleft = time === "" ? TIMELEFT_DEFAULT_S : tryParseFsd(time);
  if (timeleft === null) throw new FluxError("EINVAL", `--signal=${text}: invalid Flux standard duration`);
  const signum = signalNumber(name === "" ? SIGNAL_DEFAULT : name);
  if (signum === null) throw new FluxError("EINVAL", `--signal=${text}: signal '${name}' is invalid`);
  return { signum, timeleft };
}
