/**
 * Log records as RFC 5424 lines, and as people read them on standard error. Pure.
 *
 * Where the RFC has PRI = facility × 8 + severity, Flux's client library has severity × 8 + facility, and so have we.
 * HOSTNAME is the rank that accepted the record: several brokers may share a host.
 */
import { FluxError } from "../base/errors.ts";

export interface LogRecord {
  /** Seconds since the epoch. */
  readonly timestamp: number;
  /** 0 (emergency) to 7 (debug). */
  readonly severity: number;
  readonly rank: string;
  readonly appname: string;
  readonly procid: string;
  readonly text: string;
}

export const SEVERITY_NAMES: readonly string[] = [
  "emerg",
  "alert",
  "crit",
  "err",
  "warning",
  "notice",
  "info",
  "debug",
];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Microseconds since the epoch: what a line can carry. */
function microseconds(seconds: number): { millis: number; micros: string } {
  const total = Math.round(seconds * 1e6);
  return { millis: Math.floor(total / 1000), micros: String(total % 1_000_000).padStart(6, "0") };
}

/** `2026-11-22T16:32:07.031044Z` */
function isoTimestamp(seconds: number): string {
  const { millis, micros } = microseconds(seconds);
  return `${new Date(millis).toISOString().slice(0, 19)}.${micros}Z`;
}

export function formatLogRecord(record: LogRecord): string {
  const priority = record.severity * 8;
  const { timestamp, rank, appname, procid, text } = record;
  return `<${priority}>1 ${isoTimestamp(timestamp)} ${rank} ${appname} ${procid} - - ${text}`;
}

/** The lines of a message, without line ends, NULs and blank lines: each makes a record of its own. */
export function messageLines(text: string): string[] {
  return text
    .split(/[\r\n\0]+/)
    .map((line) => line.trimEnd())
    .filter((line) => line !== "");
}

/** `2026-11-22T16:32:07.031044Z`, or with the offset of the local time zone where that is not UTC. */
export function localTimestamp(seconds: number): string {
  const offsetMinutes = -new Date(seconds * 1000).getTimezoneOffset();
  if (offsetMinutes === 0) return isoTimestamp(seconds);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  const size = Math.abs(offsetMinutes);
  const offset = `${offsetMinutes < 0 ? "-" : "+"}${two(size / 60)}:${two(size % 60)}`;
  return isoTimestamp(seconds + offsetMinutes * 60).replace("Z", offset);
}

const LINE = /^<(\d+)>\d+ (\S+) (\S+) (\S+) (\S+) \S+ (?:-|\[.*?\]) ?(.*)$/s;

/** Reads a line. Throws FluxError EPROTO where it is none. */
export function parseLogRecord(line: string): LogRecord {
  const match = LINE.exec(line);
  if (match === null) throw new FluxError("EPROTO", "not an RFC 5424 line");
  const [, priority, time, rank, appname, procid, text] = match as unknown as string[];
  return {
    timestamp: parseTimestamp(time!),
    severity: (Number(priority) >> 3) & 7,
    rank: rank!,
    appname: appname!,
    procid: procid!,
    text: text!.replace(/\n+$/, ""),
  };
}

/** Date keeps milliseconds only; the digits after them are added here. */
function parseTimestamp(text: string): number {
  const match = /^(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (match === null) return 0;
  const whole = Date.parse(`${match[1]}${match[3]}`);
  return Number.isNaN(whole) ? 0 : whole / 1000 + Number(match[2] ?? 0);
}

/** `Nov 22 16:32:10.473547 UTC 2026 broker.err[0]: text`, one line per line of text. */
export function formatForStderr(record: LogRecord): string {
  const { millis, micros } = microseconds(record.timestamp);
  const date = new Date(millis);
  const two = (value: number): string => String(value).padStart(2, "0");
  const clock = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}.${micros}`;
  const day = `${MONTHS[date.getUTCMonth()]} ${two(date.getUTCDate())} ${clock} UTC ${date.getUTCFullYear()}`;
  const prefix = `${day} ${record.appname}.${SEVERITY_NAMES[record.severity]}[${record.rank}]: `;
  return record.text
    .split("\n")
    .map((line) => `${prefix}${line}\n`)
    .join("");
}

/** An error that should not exist is told with where it came from. */
export function describeBug(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
