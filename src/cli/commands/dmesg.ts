/** `flux dmesg`: the log ring of the local broker (flux-dmesg(1)). */
import type { Payload } from "../../protocol/message.ts";
import { isoTimestamp, parseLogRecord, SEVERITY_NAMES, type LogRecord } from "../../broker/log-record.ts";
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
  const handle = await context.open();
  if (!options.has("clear")) {
    const show = printer(context);
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

function printer(context: CommandContext): (record: LogRecord) => void {
  const { options } = context;
  if (!options.has("human"))
    return (record) => context.out(`${isoTimestamp(record.timestamp)} ${where(record)}: ${record.text}\n`);
  let base: number | null = null;
  let last = 0;
  return (record) => {
    const { timestamp } = record;
    const isNew = base === null || timestamp - base >= NEW_MINUTE_SECONDS;
    const since = timestamp - (options.has("delta") ? last : (base ?? 0));
    if (isNew) base = timestamp;
    last = timestamp;
    const stamp = isNew ? dayAndMinute(timestamp) : `+${since.toFixed(6)}`.padStart(11);
    context.out(`[${stamp}] ${where(record)}: ${record.text}\n`);
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
