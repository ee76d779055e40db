/** `flux startlog`: when the instance was started and ended (flux-startlog(1)). */
import { errorText } from "../../base/errors.ts";
import { decodeEventlog, encodeEntry, type EventlogEntry } from "../../formats/eventlog.ts";
import { formatDuration } from "../../formats/duration.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { strftime } from "../output/strftime.ts";

const KEY = "admin.eventlog";
const TIME_FORMAT = "%Y-%m-%d %H:%M";
const DURATION_DIGITS = 2;
const VERSION_COLUMNS = 25;

export const command: Command = defineCommand({
  name: "startlog",
  dialect: "getopt",
  usageProgram: "flux startlog",
  usage: "[OPTIONS]",
  summary: "list the times an instance was started and ended",
  description: "List Flux instance startlog",
  options: [
    { names: ["check"], help: "Check if instance was properly shut down" },
    { names: ["quiet"], help: "Suppress listing, useful with --check" },
    { names: ["show-version"], short: "v", help: "Show the flux-core version string in output" },
    { names: ["post-start-event"], hidden: true, help: "Post a start event" },
    { names: ["post-finish-event"], hidden: true, help: "Post a finish event" },
  ],
  run,
});

/** From a start to the event after it. */
interface Period {
  readonly start: EventlogEntry;
  /** Null where the next event is another start (a crash), or there is none (it runs). */
  readonly finish: EventlogEntry | null;
  readonly isLast: boolean;
}

async function run(context: CommandContext): Promise<number> {
  const { options } = context;
  const kvs = new Kvs(await context.open());
  for (const name of ["start", "finish"])
    if (options.has(`post-${name}-event`)) {
      await kvs.commit(
        new KvsTransaction().append(KEY, encodeEntry({ timestamp: Date.now() / 1000, name, context: { version: 1 } })),
      );
      return 0;
    }
  const text = await kvs
    .getText(KEY)
    .catch((error: unknown) => context.fail(`Error fetching eventlog: ${errorText(error)}`));
  const periods = periodsOf(decodeEventlog(text));
  if (!options.has("quiet"))
    for (const period of periods)
      context.out(`${options.has("show-version") ? versionOf(period) : ""}${describe(period)}\n`);
  const before = periods.at(-2);
  return options.has("check") && before !== undefined && before.finish === null ? 1 : 0;
}

function periodsOf(events: readonly EventlogEntry[]): Period[] {
  return events.flatMap((start, index) => {
    if (start.name !== "start") return [];
    const next = events[index + 1];
    return [{ start, finish: next?.name === "finish" ? next : null, isLast: next === undefined }];
  });
}

function describe({ start, finish, isLast }: Period): string {
  const began = timeText(start.timestamp);
  if (finish !== null)
    return `${began} - ${timeText(finish.timestamp)} (${formatDuration(finish.timestamp - start.timestamp, DURATION_DIGITS)})`;
  return isLast
    ? `${began} - running (${formatDuration(Date.now() / 1000 - start.timestamp, DURATION_DIGITS)})`
    : `${began} - crashed`;
}

function versionOf({ start }: Period): string {
  return `${String(start.context?.["core_version"] ?? "").padStart(VERSION_COLUMNS)}  `;
}

function timeText(timestamp: number): string {
  return strftime(TIME_FORMAT, timestamp);
}
