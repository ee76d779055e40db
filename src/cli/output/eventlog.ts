/** Renders eventlogs (RFC 18) as `flux job eventlog`, `wait-event` and `flux kvs eventlog` print them. Pure. */
import { stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";

export interface EventlogStyle {
  readonly format: "text" | "json";
  readonly time: "raw" | "iso" | "offset" | "human";
  readonly color: boolean;
}

interface Entry {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject | undefined;
}

const YELLOW = "\u001b[33m";
const GREEN = "\u001b[32m";
const BLUE = "\u001b[34m";
const MAGENTA = "\u001b[35m";
const RED_BOLD = "\u001b[1;31m";
const RESET = "\u001b[0m";
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Formats entries one after the other: offsets count from the first, dates show where the minute changes. */
export class EventlogFormatter {
  readonly #style: EventlogStyle;
  #first: number | null = null;
  #minute = "";
  #minuteStart = 0;

  constructor(style: EventlogStyle) {
    this.#style = style;
  }

  /** One line with its newline. `line` is the entry as it is stored. */
  format(entry: Entry): string {
    if (this.#style.format === "json") return `${stringifyJson(entry)}\n`;
    const time = this.#time(entry.timestamp);
    const context = contextText(entry.context);
    if (!this.#style.color) return `${time} ${entry.name}${context === "" ? "" : ` ${context}`}\n`;
    const name = entry.name === "exception" ? RED_BOLD : YELLOW;
    const pairs = coloredContext(entry.context);
    return `${GREEN}${time}${RESET} ${name}${entry.name}${RESET}${pairs === "" ? "" : ` ${pairs}`}\n`;
  }

  #time(timestamp: number): string {
    this.#first ??= timestamp;
    switch (this.#style.time) {
      case "raw":
        return timestamp.toFixed(6);
      case "offset":
        return (timestamp - this.#first).toFixed(6);
      case "iso":
        return isoTime(timestamp);
      case "human":
        return this.#human(timestamp);
    }
  }

  /** `[Nov22 17:00]` for the first entry of a minute of the clock, `[  +0.012251]` for those after it. */
  #human(timestamp: number): string {
    const date = new Date(timestamp * 1000);
    const day = `${MONTHS[date.getMonth()]}${String(date.getDate()).padStart(2, "0")}`;
    const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
    const minute = `${day} ${clock}`;
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#minuteStart = timestamp;
      return `[${minute}]`;
    }
    return `[${`+${(timestamp - this.#minuteStart).toFixed(6)}`.padStart(11)}]`;
  }
}

function isoTime(timestamp: number): string {
  const micros = String(Math.floor((timestamp % 1) * 1e6)).padStart(6, "0");
  return `${new Date(timestamp * 1000).toISOString().slice(0, 19)}.${micros}Z`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** `userid=0 note="text" annotations={…}`. */
export function contextText(context: JsonObject | undefined): string {
  return Object.entries(context ?? {})
    .map(([key, value]) => `${key}=${stringifyJson(value)}`)
    .join(" ");
}

function coloredContext(context: JsonObject | undefined): string {
  return Object.entries(context ?? {})
    .map(([key, value]) => `${BLUE}${key}${RESET}=${colorOf(value)}${stringifyJson(value)}${RESET}`)
    .join(" ");
}

function colorOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? GREEN : MAGENTA;
}
