/** `flux cron`: commands that run at times or on events (flux-cron(1)). */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { parseCrontabLine, type CrontabLine } from "../../formats/crontab.ts";
import { formatDuration, parseFsd } from "../../formats/duration.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { cronDumpLines, cronListRow, CRON_LIST_HEADER, lastRunText, type CronEntry } from "../output/cron.ts";

/** What `-o` knows, and what each must be. */
const EXTRA_OPTIONS: readonly string[] = ["timeout", "rank", "task-history-count", "stop-on-failure"];

const extra: OptionSpec = {
  names: ["options"],
  short: "o",
  argument: "LIST",
  repeatable: true,
  help: `Comma separated list of NAME=VALUE options: ${EXTRA_OPTIONS.join(", ")}`,
};
const preserve: OptionSpec = { names: ["preserve-env"], short: "E", help: "Run the command in this environment" };
const directory: OptionSpec = {
  names: ["working-dir"],
  short: "d",
  argument: "DIR",
  help: "Set the command's working directory",
};
const title: OptionSpec = { names: ["name"], short: "N", argument: "STRING", help: "Name the entry" };
const count: OptionSpec = { names: ["count"], short: "c", argument: "N", integer: true, help: "Run at most N times" };

function duration(context: CommandContext, text: string, what: string): number {
  try {
    const seconds = parseFsd(text);
    if (seconds < Infinity) return seconds;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
  return context.fail(`Invalid ${what} '${text}'`);
}

function durationOption(context: CommandContext, name: string): number | null {
  const text = context.options.text(name);
  return text === null ? null : duration(context, text, `argument of --${name}`);
}

/** What all kinds of entries may be told. */
function commonRequest(context: CommandContext): JsonObject {
  const { options, host } = context;
  const cwd = options.text("working-dir");
  const extras = options.list("options").flatMap((list) => list.split(","));
  return {
    ...(cwd === null ? {} : { cwd }),
    ...(options.has("preserve-env") ? { environ: environmentOf(host.env) } : {}),
    ...Object.fromEntries(extras.map((word) => extraOption(context, word))),
  };
}

function environmentOf(env: CommandContext["host"]["env"]): JsonObject {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined)) as JsonObject;
}

function extraOption(context: CommandContext, word: string): [string, number] {
  const [key = "", value = ""] = word.split(/=(.*)/s, 2);
  if (!EXTRA_OPTIONS.includes(key))
    context.fail(`unknown option '${key}'; --options knows ${EXTRA_OPTIONS.join(", ")}`);
  const number = key === "timeout" ? duration(context, value, "timeout") : Number(value);
  if (value === "" || !(number >= 0)) context.fail(`option ${key}: '${value}' is not a number`);
  return [key, number];
}

async function create(context: CommandContext, request: JsonObject): Promise<CronEntry> {
  const handle = await context.open();
  try {
    return await handle.rpc<CronEntry>("cron.create", { ...commonRequest(context), ...request }, { nodeid: 0 });
  } catch (error) {
    if (error instanceof FluxError) return context.fail(errorText(error));
    throw error;
  }
}

/** The words of a command line, and the name that it has by default. */
function commandOf(words: readonly string[]): { command: string; name: string } {
  const command = words.join(" ");
  return { command, name: command.trim().split(/\s+/, 1)[0]! };
}

const interval: Command = {
  name: "interval",
  dialect: "getopt",
  summary: "run COMMAND once every INTERVAL",
  usage: "[OPTIONS] INTERVAL COMMAND",
  stopAtOperand: true,
  options: [
    count,
    { ...title, short: "N" },
    { names: ["after"], short: "a", argument: "INTERVAL", help: "Set the time before the first run" },
    extra,
    preserve,
    directory,
  ],
  run: async (context) => {
    const [text, ...words] = context.operands;
    if (text === undefined || words.length === 0) return context.fail("INTERVAL and COMMAND required");
    const seconds = duration(context, text, "duration");
    const after = durationOption(context, "after");
    const { command, name } = commandOf(words);
    const entry = await create(context, {
      type: "interval",
      command,
      name: context.options.text("name") ?? name,
      repeat: context.options.integer("count") ?? 0,
      args: { interval: seconds, ...(after === null ? {} : { after }) },
    });
    context.out(`interval: cron-${entry.id} created\n`);
  },
};

const event: Command = {
  name: "event",
  dialect: "getopt",
  summary: "run COMMAND on every event matching TOPIC",
  usage: "[OPTIONS] TOPIC COMMAND",
  stopAtOperand: true,
  options: [
    { names: ["nth"], short: "n", argument: "N", integer: true, help: "Run the command every Nth event" },
    { names: ["after"], short: "a", argument: "N", integer: true, help: "Run it first at the Nth event" },
    { names: ["min-interval"], short: "i", argument: "T", help: "Set the least time between two runs" },
    count,
    extra,
    title,
    preserve,
    directory,
  ],
  run: async (context) => {
    const { options, operands } = context;
    const [topic, ...words] = operands;
    if (topic === undefined || words.length === 0) return context.fail("TOPIC and COMMAND args are required");
    const least = durationOption(context, "min-interval");
    const { command, name } = commandOf(words);
    const entry = await create(context, {
      type: "event",
      command,
      name: options.text("name") ?? name,
      repeat: options.integer("count") ?? 0,
      args: {
        topic,
        nth: options.integer("nth") ?? 0,
        after: options.integer("after") ?? 0,
        ...(least === null ? {} : { min_interval: least }),
      },
    });
    context.out(`event: cron-${entry.id} created\n`);
  },
};

/** When an entry that runs at moments will run next. */
function scheduleText(entry: CronEntry): string {
  const time = Number((entry.typedata as JsonObject)["next_wakeup"]);
  if (entry.stopped) return "no moment matches: it is stopped";
  const date = new Date(time * 1000);
  const [day, month, number, year] = date.toDateString().split(" ") as [string, string, string, string];
  const clock = date.toTimeString().slice(0, 8);
  const when = `${day} ${month} ${String(Number(number)).padStart(2)} ${clock} ${year}`;
  return `scheduled in ${(time - Date.now() / 1000).toFixed(3)}s at ${when}`;
}

async function inputOf(context: CommandContext): Promise<string> {
  const [path] = context.operands;
  if (path === undefined || path === "-") return new TextDecoder().decode(await context.readInput());
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return context.fail(`cannot read ${path}: ${errorText(error)}`);
  }
}

const tab: Command = {
  name: "tab",
  dialect: "getopt",
  summary: "Schedule cron jobs using crontab(5) format",
  usage: "[OPTIONS] [FILE]",
  options: [extra, preserve, directory],
  run: async (context) => {
    const lines: CrontabLine[] = [];
    for (const [index, text] of (await inputOf(context)).split("\n").entries()) {
      try {
        const line = parseCrontabLine(text);
        if (line !== null) lines.push(line);
      } catch (error) {
        // All or nothing: what was taken from half a table is hard to find again.
        if (error instanceof FluxError)
          context.fail(`Failed to process crontab line: ${text.trim()} (line ${index + 1}): ${error.message}`);
        throw error;
      }
    }
    for (const { fields, command } of lines) {
      const { name } = commandOf([command]);
      const entry = await create(context, { type: "datetime", command, name, args: { second: 0, ...fields } });
      context.out(`tab: cron-${entry.id} created: ${scheduleText(entry)}\n`);
    }
  },
};

const at: Command = {
  name: "at",
  dialect: "getopt",
  summary: "Schedule a cron job at a given date and time",
  usage: "[OPTIONS] TIME COMMAND",
  stopAtOperand: true,
  options: [extra, preserve, directory],
  run: async (context) => {
    const [text, ...words] = context.operands;
    if (text === undefined || words.length === 0) return context.fail("TIME and COMMAND args are required");
    const time = secondsOf(context, text);
    if (time * 1000 <= Date.now()) context.fail(`TIME '${text}' has passed already`);
    const date = new Date(time * 1000);
    const { command, name } = commandOf(words);
    const entry = await create(context, {
      type: "datetime",
      command,
      name,
      repeat: 1,
      args: {
        second: date.getSeconds(),
        minute: date.getMinutes(),
        hour: date.getHours(),
        mday: date.getDate(),
        month: date.getMonth(),
        year: date.getFullYear() - 1900,
      },
    });
    context.out(`at: cron-${entry.id} created: ${scheduleText(entry)}\n`);
  },
};

/** What date(1) makes of a text, in seconds since the epoch. */
function secondsOf(context: CommandContext, text: string): number {
  try {
    return Number(execFileSync("date", ["--date", text, "+%s"], { stdio: ["ignore", "pipe", "inherit"] }));
  } catch {
    return context.fail("Failed to parse datetime arg");
  }
}

async function entries(context: CommandContext): Promise<CronEntry[]> {
  const handle = await context.open();
  const answer = await handle.rpc<{ entries: CronEntry[] }>("cron.list", {}, { nodeid: 0 });
  return answer.entries;
}

const list: Command = {
  name: "list",
  dialect: "getopt",
  summary: "List registered and stopped flux-cron jobs",
  usage: "",
  run: async (context) => {
    const now = Date.now() / 1000;
    const rows = (await entries(context)).map((entry) => cronListRow(entry, now));
    context.out([CRON_LIST_HEADER, ...rows].map((row) => `${row}\n`).join(""));
  },
};

const dump: Command = {
  name: "dump",
  dialect: "getopt",
  summary: "Dump values from a cron entry",
  usage: "[OPTIONS] IDS...",
  options: [{ names: ["key"], short: "k", argument: "KEY", help: "Print the value of KEY only" }],
  run: async (context) => {
    if (context.operands.length === 0) context.fail("ID argument required");
    const all = await entries(context);
    const key = context.options.text("key");
    for (const id of context.operands.map((word) => idOf(context, word))) {
      const entry = all.find((each) => each.id === id) ?? context.fail(`cron-${id}: No such cron entry found`);
      for (const [name, value] of cronDumpLines(entry)) {
        if (key === null) context.out(`${name} = ${typeof value === "string" ? `"${value}"` : value}\n`);
        else if (key === name) context.out(`${value}\n`);
      }
    }
  },
};

function idOf(context: CommandContext, word: string): number {
  const match = /^(?:cron-)?(\d+)$/.exec(word);
  return match === null ? context.fail(`'${word}' is not the id of a cron entry`) : Number(match[1]);
}

/** Does something to each entry that is named. */
function forEach(
  name: string,
  summary: string,
  tell: (entry: CronEntry) => string,
  options: readonly OptionSpec[] = [],
): Command {
  return {
    name,
    dialect: "getopt",
    summary,
    usage: `${options.length > 0 ? "[OPTIONS] " : ""}IDS...`,
    options,
    run: async (context) => {
      if (context.operands.length === 0) context.failUsage();
      const ids = context.operands.map((word) => idOf(context, word));
      const handle = await context.open();
      let exitCode = 0;
      for (const id of ids) {
        try {
          const payload = { id, ...(context.options.has("kill") ? { kill: true } : {}) };
          context.out(`${tell(await handle.rpc<CronEntry>(`cron.${name}`, payload, { nodeid: 0 }))}\n`);
        } catch (error) {
          if (!(error instanceof FluxError)) throw error;
          context.complain(`cron-${id}: ${errorText(error)}`);
          exitCode = 1;
        }
      }
      return exitCode;
    },
  };
}

function removedText({ id, name, tasks, stats }: CronEntry): string {
  const [task] = tasks;
  const now = Date.now() / 1000;
  if (task?.["state"] === "Running")
    return `Removed cron-${id}: ${name} still running. Started ${lastRunText(Number(task["start-time"]), now)}`;
  const last = Number((stats as JsonObject)["lastrun"]);
  if (last === 0) return `Removed cron-${id}: ${name} never ran`;
  const took = Number(task?.["end-time"]) - Number(task?.["running-time"]);
  const howLong = Number.isNaN(took) ? "" : ` for ${formatDuration(took, 3)}`;
  return `Removed cron-${id}: ${name} last ran ${lastRunText(last, now)}${howLong}`;
}

const sync: Command = {
  name: "sync",
  dialect: "getopt",
  summary: "Query and modify sync-on-event behavior for flux-cron",
  usage: "[OPTIONS] [TOPIC]",
  options: [
    { names: ["disable"], short: "d", help: "Run tasks when they are due, not at an event" },
    { names: ["epsilon"], short: "e", argument: "TIME", help: "Set how long after the event tasks may still begin" },
  ],
  run: async (context) => {
    const [topic, ...rest] = context.operands;
    if (rest.length > 0) context.fail("only one TOPIC can be synchronized to");
    const epsilon = durationOption(context, "epsilon");
    const request: JsonObject = {
      ...(topic === undefined ? {} : { topic }),
      ...(context.options.has("disable") ? { disable: true } : {}),
      ...(epsilon === null ? {} : { sync_epsilon: epsilon }),
    };
    const handle = await context.open();
    const answer = await handle.rpc<JsonObject>("cron.sync", request, { nodeid: 0 });
    if (!isJsonObject(answer) || answer["sync_disabled"] === true) context.out("sync: sync disabled.\n");
    else
      context.out(
        `sync: sync to event "${answer["sync_event"]}" epsilon=${Number(answer["sync_epsilon"]).toFixed(3)}s.\n`,
      );
  },
};

export const command: Command = defineCommand({
  name: "cron",
  dialect: "getopt",
  summary: "Schedule and manage cron-like jobs in a flux session",
  subcommands: [
    interval,
    event,
    tab,
    at,
    dump,
    list,
    forEach("delete", "Delete flux cron entries", removedText, [
      { names: ["kill"], short: "k", help: "End a task that runs, too" },
    ]),
    forEach("stop", "Stop a flux cron job from executing", ({ id }) => `Stopped cron-${id}`),
    forEach("start", "Start a stopped flux cron job", ({ id }) => `Started cron-${id}`),
    sync,
  ].map((subcommand) => ({
    ...subcommand,
    program: `flux-cron ${subcommand.name}`,
    usageProgram: `flux-cron ${subcommand.name}`,
  })),
});
