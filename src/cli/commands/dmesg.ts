/** `flux dmesg`: the log ring of the local broker (flux-dmesg(1)). */
import type { Payload } from "../../protocol/message.ts";
import { localTimestamp, parseLogRecord, SEVERITY_NAMES, type LogRecord } from "../../broker/log-record.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** After a pause of this many seconds human output names the time of day again. */
const NEW_MINUTE_SECONDS = 60;

export const command: Command = defineCommand({
  name: "dmesg",
  usageProgram: "flux dmesg",
  dialect: "getopt",
  summary: "manipulate broker log ring buffer",
  description: "Print or manipulate broker log ring buffer",
  usage: "[OPTIONS...]",
  options: [
    { names: ["clear"], short: "C", help: "Clear the ring buffer contents" },
    { names: ["read-clear"], short: "c", help: "Clear the ring buffer contents after printing" },
    { names: ["follow"], short: "f", help: "Track new entries as are logged" },
    { names: ["new"], short: "n", help: "Show only new log messages" },
    { names: ["human"], short: "H", help: "Human readable output" },
    { names: ["delta"], short: "d", help: "With --human, show timestamp delta between messages" },
    { names: ["color"], short: "L", argument: "WHEN", optionalArgument: true, help: "Colorize output when supported" },
  ],
  run: dmesg,
});

async function dmesg(context: CommandContext): Promise<void> {
  const { options } = context;
  if (context.operands.length > 0) context.failUsage();
  if (options.has("delta") && !options.has("human")) context.fail("--delta can only be used with --human");
  const isColored = wantsColor(context);
  const handle = await context.open();
  if (!options.has("clear")) {
    const show = printer(context, isColored);
    const follow = options.has("follow") || options.has("new");
    await new Promise<void>((resolve, reject) => {
      handle.open(
        "log.dmesg",
        { follow, nobacklog: options.has("new") },
        {
          item: (payload: Payload | null) => payload?.text && show(parseLogRecord(payload.text)),
          end: (error) => (error === null ? resolve() : reject(error)),
        },
      );
    });
  }
  if (options.has("clear") || options.has("read-clear")) await handle.rpc("log.clear");
}

/** Whether to color what people read. `--color` without a word means always. */
function wantsColor(context: CommandContext): boolean {
  const { options } = context;
  const when = options.has("color") ? (options.text("color") ?? "always") : "auto";
  if (!["always", "never", "auto"].includes(when)) context.fail(`Invalid argument to --color: "${when}"`);
  return when === "always" || (when === "auto" && context.stdoutIsTerminal);
}

/** How messages look on a terminal by their severity; others are plain. */
const SEVERITY_STYLES: readonly (readonly number[])[] = [[7, 31], [7, 31], [1, 31], [31], [1], [], [], [34]];
const TIME_STYLE = [32];
const MINUTE_STYLE = [1, 32];
const SOURCE_STYLE = [33];

function paint(isColored: boolean, styles: readonly number[], text: string): string {
  return isColored ? `${styles.map((style) => `\x1b[${style}m`).join("")}${text}\x1b[0m` : text;
}

function printer(context: CommandContext, isColored: boolean): (record: LogRecord) => void {
  const { options } = context;
  const print = (stamp: string, record: LogRecord): void => {
    const text = paint(isColored, SEVERITY_STYLES[record.severity] ?? [], record.text);
    context.out(`${stamp} ${paint(isColored, SOURCE_STYLE, where(record))}: ${text}\n`);
  };
  if (!options.has("human"))
    return (record) => print(paint(isColored, TIME_STYLE, localTimestamp(record.timestamp)), record);
  let base: number | null = null;
  let last = 0;
  return (record) => {
    const { timestamp } = record;
    const isNew = base === null || timestamp - base >= NEW_MINUTE_SECONDS;
    const since = timestamp - (options.has("delta") ? last : (base ?? 0));
    if (isNew) base = timestamp;
    last = timestamp;
    const stamp = isNew ? dayAndMinute(timestamp) : `+${since.toFixed(6)}`.padStart(11);
    print(paint(isColored, isNew ? MINUTE_STYLE : TIME_STYLE, `[${stamp}]`), record);
  };
}

function where(record: LogRecord): string {
  return `${record.appname}.${SEVERITY_NAMES[record.severity]}[${record.rank}]`;
}

function dayAndMinute(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${MONTHS[date.getMonth()]}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
