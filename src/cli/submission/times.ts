/** The options of a submission that speak of time: `--time-limit`, `--begin-time`, `--signal`. Pure; now is an argument. */
import { FluxError } from "../../base/errors.ts";
import { signalNumber } from "../../base/signals.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { parseDateTime } from "./dates.ts";

const SIGNAL_DEFAULT = "SIGUSR1";
/** The last second of the year 9999. */
const END_OF_TIME = 253_402_300_799;
const TIMELEFT_DEFAULT_S = 60;

/** A time limit in seconds: minutes where the text has no unit. Throws FluxError EINVAL. */
export function parseTimeLimit(text: string): number {
  if (/^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text)) {
    if (Number(text) < 0) throw new FluxError("EINVAL", "duration must not be negative");
    return Number(text) * 60;
  }
  if (/^\s*[+-]?nan\s*$/i.test(text)) throw new FluxError("EINVAL", "duration must be a normal, finite value");
  const seconds = tryParseFsd(text);
  if (seconds === null) throw new FluxError("EINVAL", "invalid Flux standard duration");
  if (!Number.isFinite(seconds)) throw new FluxError("EINVAL", "duration must be a normal, finite value");
  return seconds;
}

/** When a job may begin, in seconds since the epoch: `+FSD`, or a date; of a time of day alone, the next. */
export function parseBeginTime(text: string, now: number): number {
  const offset = text.startsWith("+") ? tryParseFsd(text.slice(1)) : null;
  if (text.startsWith("+") && offset === null) throw new FluxError("EINVAL", "invalid Flux standard duration");
  const time = offset === null ? parseDateTime(text, now, { bareTime: "next" }) : now + offset;
  if (time === null) throw new FluxError("EINVAL", `Invalid datetime: "${text}"`);
  if (!(Math.abs(time) <= END_OF_TIME)) throw new FluxError("EINVAL", "timestamp out of range for platform time_t");
  return time;
}

/** `[SIG][@TIME]`: a signal that a job gets so many seconds before its end. Throws FluxError EINVAL. */
export function parseSignalOption(text: string): { signum: number; timeleft: number } {
  const at = text.indexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const time = at < 0 ? "" : text.slice(at + 1);
  const timeleft = time === "" ? TIMELEFT_DEFAULT_S : tryParseFsd(time);
  if (timeleft === null) throw new FluxError("EINVAL", `--signal=${text}: invalid Flux standard duration`);
  if (/^-?\d+$/.test(name) && Number(name) <= 0) throw new FluxError("EINVAL", `--signal=${text}: signal must be > 0`);
  const signum = signalNumber(name === "" ? SIGNAL_DEFAULT : name);
  if (signum === null) throw new FluxError("EINVAL", `--signal=${text}: signal '${name}' is invalid`);
  return { signum, timeleft };
}
