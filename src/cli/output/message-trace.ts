/**
 * Traced messages as lines (`flux module trace`, `flux overlay trace`): when, who, which way, what, how long, and for a
 * response how it went.
 */
import { Errno } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { CommandContext, OptionSpec } from "../framework/command.ts";
import { pythonJson } from "./python-json.ts";

/** A message as `module.trace` and `overlay.trace` tell of it. */
export interface TracedMessage {
  readonly timestamp: number;
  readonly prefix: string;
  /** Of the neighbour; -1 for an event to all. */
  readonly rank: number;
  readonly name: string | null;
  readonly type: number;
  readonly topic: string;
  readonly payload_size: number;
  readonly payload: JsonObject | null;
  readonly errnum: number;
  /** The text of an error that had one, where payloads are asked for. */
  readonly errstr: string;
}

/** In the order of their bits. */
const TYPES = ["request", "response", "event", "control"];
const MARKS: Readonly<Record<number, string>> = { 1: ">", 2: "<", 4: "e", 8: "c" };
const STYLES: Readonly<Record<number, string>> = { 1: "\x1b[01;34m", 2: "\x1b[36m", 4: "\x1b[33m", 8: "" };
const FAILED = "\x1b[1m\x1b[31m";
const GREEN = "\x1b[32m";
const BOLD_GREEN = "\x1b[1m\x1b[32m";
const PLAIN = "\x1b[0m";
const MINUTE = 60;
const UNITS = ["", "K", "M", "G"];

export const TRACE_OPTIONS: readonly OptionSpec[] = [
  {
    names: ["type"],
    short: "t",
    argument: "TYPE,...",
    help: "Filter output by message type (request, response, event, control)",
  },
  {
    names: ["color"],
    short: "L",
    argument: "WHEN",
    optionalArgument: true,
    help: "Colorize output when supported; WHEN can be 'always' (default if omitted), 'never', or 'auto' (default).",
  },
  { names: ["human"], short: "H", help: "Human readable output" },
  { names: ["delta"], short: "d", help: "With --human, show timestamp delta between messages" },
];

/** The bits of `--type`. Ends the command where it is malformed. */
export function typemaskOf(context: CommandContext): number {
  const text = context.options.text("type");
  if (text === null) return 2 ** TYPES.length - 1;
  let mask = 0;
  for (const word of text.split(",")) {
    const bit = TYPES.indexOf(word.trim());
    if (bit < 0) context.fail(`valid types: ${TYPES.join(", ")}`);
    mask |= 1 << bit;
  }
  return mask;
}

/** What prints traced messages by the options. `who` names the party of a message. */
export function tracePrinter(
  context: CommandContext,
  who: (message: TracedMessage) => string,
): (message: TracedMessage) => void {
  const { options } = context;
  if (options.has("delta") && !options.has("human")) context.fail("--delta can only be used with --human");
  const when = options.has("color") ? (options.text("color") ?? "always") : "auto";
  if (!["always", "never", "auto"].includes(when)) context.fail(`Invalid argument to --color: "${when}"`);
  const isColored = when === "always" || (when === "auto" && context.stdoutIsTerminal);
  const paint = (style: string, text: string): string => (isColored && style !== "" ? `${style}${text}${PLAIN}` : text);
  const stamp = options.has("human") ? humanStamp(options.has("delta"), paint) : plainStamp(paint);
  return (message: TracedMessage): void => {
    const { type, topic, payload, payload_size: size, errnum, errstr } = message;
    const outcome = type !== 2 ? "" : errnum === 0 ? " success" : ` ${errnoName(errnum)}`;
    const what = `${who(message)} ${MARKS[type] ?? "?"} ${topic} [${encodeSize(size)}]${outcome}`;
    context.out(`${stamp(message.timestamp)} ${paint(errnum === 0 ? (STYLES[type] ?? "") : FAILED, what)}\n`);
    if (payload !== null) context.out(`${pythonJson(payload, { indent: 2 })}\n`);
    if (errstr !== "") context.out(`${errstr}\n`);
  };
}

function errnoName(errnum: number): string {
  return Object.entries(Errno).find(([, each]) => each === errnum)?.[0] ?? String(errnum);
}

type Paint = (style: string, text: string) => string;

function plainStamp(paint: Paint): (timestamp: number) => string {
  return (timestamp) => {
    const date = new Date(timestamp * 1000);
    const offsetMs = date.getTimezoneOffset() * MINUTE * 1000;
    return paint(GREEN, new Date(date.getTime() - offsetMs).toISOString().replace("Z", ""));
  };
}

/** The day and minute when it is another one, seconds since then otherwise. */
function humanStamp(isDelta: boolean, paint: Paint): (timestamp: number) => string {
  let base: number | null = null;
  let last = 0;
  return (timestamp) => {
    const since = timestamp - (isDelta ? last : (base ?? 0));
    last = timestamp;
    if (base !== null && timestamp - base < MINUTE)
      return `${paint(GREEN, `[${`+${since.toFixed(6)}`.padStart(11)}]`)} `;
    base = Math.floor(timestamp / MINUTE) * MINUTE;
    if (isDelta) last = timestamp;
    const date = new Date(timestamp * 1000);
    const two = (value: number): string => String(value).padStart(2, "0");
    const month = date.toLocaleString("en-US", { month: "short" });
    return `${paint(BOLD_GREEN, `[${month}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}]`)} `;
  };
}

/** Bytes, from 1024 on in K, M or G with eight digits. */
function encodeSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(8))}${UNITS[unit]}`;
}
