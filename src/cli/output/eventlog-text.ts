/**
 * Event logs (RFC 18) as people read them: seconds or human time, the name, the context as KEY=VALUE.
 *
 * Numbers are shown as they were written: 1.0 stays 1.0.
 */
import { stringifyJson } from "../../base/json.ts";
import type { EventlogEntry } from "../../formats/eventlog.ts";

export interface EventLine {
  readonly timestamp: number;
  readonly name: string;
  /** Members of the context: their values as compact JSON. */
  readonly context: readonly (readonly [key: string, json: string])[];
  /** The line as it is in the log, without its newline. */
  readonly text: string;
}

export interface EventlogFormat {
  /** The line as it is. */
  readonly unformatted?: boolean;
  /** Local time where the minute changes, seconds since then for the events in between. */
  readonly human?: boolean;
  /** Other ways to tell the time: ISO 8601, or seconds since the first event. */
  readonly time?: "iso" | "offset";
  /** To how many characters offsets are padded at the left. */
  readonly offsetWidth?: number;
  readonly color?: boolean;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const BOLD = 1;
const RED = 31;
const GREEN = 32;
const YELLOW = 33;
const BLUE = 34;
const MAGENTA = 35;
const WHITE = 37;

/** An event that came as an entry, not as a line. */
export function eventLine(entry: EventlogEntry): EventLine {
  const context = Object.entries(entry.context ?? {}).map(([key, value]) => [key, stringifyJson(value)] as const);
  return { timestamp: entry.timestamp, name: entry.name, context, text: stringifyJson({ ...entry }) };
}

/** The events of a log, or null where it is none. */
export function splitEventlog(text: string): EventLine[] | null {
  if (text === "") return [];
  if (!text.endsWith("\n")) return null;
  const events = text.slice(0, -1).split("\n").map(eventOf);
  return events.includes(null) ? null : (events as EventLine[]);
}

function eventOf(text: string): EventLine | null {
  let value: unknown;
  try {
    value = JSON.parse(text, keepSource as (key: string, value: unknown) => unknown);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (typeof value !== "object" || value === null) return null;
  const { timestamp, name, context } = value as Record<string, unknown>;
  const seconds = Number(JSON.stringify(timestamp));
  if (!(seconds > 0) || typeof name !== "string") return null;
  if (context !== undefined && (typeof context !== "object" || context === null || Array.isArray(context))) return null;
  const members = Object.entries((context ?? {}) as Record<string, unknown>);
  return { timestamp: seconds, name, context: members.map(([key, item]) => [key, JSON.stringify(item)]), text };
}

/** A number keeps its text, which the type of JSON does not know yet. */
function keepSource(_key: string, value: unknown, context: { source?: string }): unknown {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return typeof value === "number" && context.source !== undefined ? rawJSON(context.source) : value;
}

/** Formats the events of one log, in order. */
export class EventlogFormatter {
  readonly #format: EventlogFormat;
  /** The last minute of the clock that was told, and the event that it was told with. */
  #minute: { readonly text: string; readonly timestamp: number } | null = null;
  #first: number | null = null;

  constructor(format: EventlogFormat = {}) {
    this.#format = format;
  }

  /** Passes over an event: offsets count from the first one all the same. */
  skip(event: EventLine): void {
    this.#first ??= event.timestamp;
  }

  /** One event as a line with its newline. */
  format(event: EventLine): string {
    if (this.#format.unformatted === true) return `${event.text}\n`;
    const members = event.context.map(
      ([key, json]) => ` ${this.#paint(key, BLUE)}=${this.#paint(json, /^[-\d]/.test(json) ? WHITE : MAGENTA)}`,
    );
    const name = event.name === "exception" ? this.#paint(event.name, BOLD, RED) : this.#paint(event.name, YELLOW);
    return `${this.#time(event.timestamp)} ${name}${members.join("")}\n`;
  }

  #time(timestamp: number): string {
    this.#first ??= timestamp;
    if (this.#format.human !== true) return this.#paint(this.#plainTime(timestamp, this.#first), GREEN);
    const date = new Date(timestamp * 1000);
    const two = (number: number): string => String(number).padStart(2, "0");
    const minute = `${MONTHS[date.getMonth()]!}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
    if (this.#minute?.text === minute) {
      const elapsed = timestamp - this.#minute.timestamp;
      const sign = elapsed < 0 ? "-" : "+";
      return this.#paint(`[${`${sign}${Math.abs(elapsed).toFixed(6)}`.padStart(11)}]`, GREEN);
    }
    this.#minute = { text: minute, timestamp };
    return this.#paint(`[${minute}]`, BOLD, GREEN);
  }

  #plainTime(timestamp: number, first: number): string {
    const { time, offsetWidth = 0 } = this.#format;
    return plainTime(timestamp, first, time).padStart(time === "offset" ? offsetWidth : 0);
  }

  #paint(text: string, ...codes: readonly number[]): string {
    if (this.#format.color !== true) return text;
    return `${codes.map((code) => `\x1b[${code}m`).join("")}${text}\x1b[0m`;
  }
}

function plainTime(timestamp: number, first: number, form: "iso" | "offset" | undefined): string {
  if (form === "offset") return (timestamp - first).toFixed(6);
  if (form === undefined) return timestamp.toFixed(6);
  const micros = String(Math.floor((timestamp % 1) * 1e6)).padStart(6, "0");
  // Local time, told as far from UTC as it is at that moment.
  const offset = -new Date(timestamp * 1000).getTimezoneOffset();
  const local = new Date((timestamp + offset * 60) * 1000).toISOString().slice(0, 19);
  return `${local}.${micros}${zoneText(offset)}`;
}

/** `Z`, or hours and minutes east of UTC. */
function zoneText(minutes: number): string {
  if (minutes === 0) return "Z";
  const two = (value: number): string => String(value).padStart(2, "0");
  const distance = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(distance / 60))}:${two(distance % 60)}`;
}
