/** `flux kvs eventlog`: append, get, wait-event (RFC 18). */
import { utf8Decode } from "../../../base/bytes.ts";
import { FluxError, isFluxError } from "../../../base/errors.ts";
import { isJsonObject, parseJsonReals, textOfReal, type JsonObject } from "../../../base/json.ts";
import { tryParseFsd } from "../../../formats/duration.ts";
import { KvsTransaction, type Kvs } from "../../../sdk/kvs.ts";
import { CommandExit, type CommandContext } from "../../framework/command.ts";
import { sentenceFirst } from "../../framework/or-fail.ts";
import { EventlogFormatter, splitEventlog, type EventLine } from "../../output/eventlog-text.ts";
import { openKvs, orFail } from "./support.ts";

const LOOKUP = "flux_kvs_lookup_get";

export async function append(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const [key, name, ...words] = operands;
  if (key === undefined || name === undefined) context.failUsage();
  const timestamp = await timestampOf(context, options.text("timestamp"));
  const event = await orFail(context, "eventlog_entry_create", () => eventText(timestamp, name, words.join(" ")));
  const kvs = await openKvs(context);
  await orFail(context, "flux_kvs_commit", () => kvs.commit(new KvsTransaction().append(key, event)));
}

async function timestampOf(context: CommandContext, text: string | null): Promise<number> {
  if (text === null) return (await context.ports()).clock.now();
  const timestamp = Number(text);
  if (text.trim() !== "" && !Number.isNaN(timestamp)) return timestamp;
  return refuse(context, "Option 'timestamp' requires a floating point argument");
}

/** Ends the command as for an option that cannot be read. */
function refuse(context: CommandContext, message: string): never {
  const { name } = context.command;
  context.err(`flux-kvs eventlog ${name}: ${name}: ${message}\n`);
  throw new CommandExit(1);
}

/** One line of an event log. A timestamp always has a fraction, as Flux writes it. Throws EINVAL. */
function eventText(timestamp: number, name: string, contextText: string): string {
  const seconds = Number.isInteger(timestamp) ? `${timestamp}.0` : String(timestamp);
  if (!(timestamp > 0) || name === "") throw new FluxError("EINVAL");
  const head = `{"timestamp":${seconds},"name":${JSON.stringify(name)}`;
  return contextText === "" ? `${head}}\n` : `${head},"context":${JSON.stringify(contextOf(contextText))}}\n`;
}

function contextOf(text: string): JsonObject {
  try {
    const value = parseJsonReals(text);
    if (isJsonObject(value) && textOfReal(value) === null) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new FluxError("EINVAL");
}

export async function get(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const [key, ...others] = operands;
  if (key === undefined || others.length > 0) context.failUsage();
  const formatter = formatterOf(context);
  const kvs = await openKvs(context);
  if (options.has("watch")) return watch(context, kvs, key, formatter);
  const text = await orFail(context, LOOKUP, () => wholeLog(context, kvs, key));
  for (const event of split(context, text)) context.out(formatter.format(event));
}

async function wholeLog(context: CommandContext, kvs: Kvs, key: string): Promise<string> {
  const { options } = context;
  const waitCreate = options.has("waitcreate");
  if (options.has("stream")) {
    let text = "";
    for await (const piece of kvs.stream(key, { waitCreate })) text += utf8Decode(piece);
    return text;
  }
  return utf8Decode(waitCreate ? await kvs.waitCreate(key) : await kvs.getBytes(key));
}

async function watch(context: CommandContext, kvs: Kvs, key: string, formatter: EventlogFormatter): Promise<void> {
  const { options } = context;
  const limit = options.integer("count") ?? 0;
  let count = 0;
  await orFail(context, LOOKUP, async () => {
    if (options.has("stream")) throw new FluxError("EINVAL");
    for await (const piece of kvs.watch(key, { append: true, waitCreate: options.has("waitcreate") })) {
      for (const event of split(context, utf8Decode(piece!))) {
        context.out(formatter.format(event));
        await context.flush();
        if (++count === limit) return;
      }
    }
  });
}

export async function waitEvent(context: CommandContext): Promise<void> {
  const [key, name, ...others] = context.operands;
  if (key === undefined || name === undefined || others.length > 0) context.failUsage();
  const formatter = formatterOf(context);
  const timeoutText = context.options.text("timeout");
  const seconds = timeoutText === null ? null : tryParseFsd(timeoutText);
  if (timeoutText !== null && seconds === null)
    refuse(context, `Invalid argument for option 'timeout': '${timeoutText}'`);
  const kvs = await openKvs(context);
  const outcome = findEvent(context, kvs, key, name, formatter).then(
    () => null,
    (error: unknown) => ({ error }),
  );
  const ended = seconds === null ? await outcome : await Promise.race([outcome, lateness(context, seconds)]);
  if (ended === "late") context.fail(`wait-event timeout on event '${name}'`);
  if (ended === null) return;
  if (isFluxError(ended.error, "ENOENT")) context.fail(`eventlog path ${key} not found`);
  if (isFluxError(ended.error)) context.fail(`${LOOKUP}: ${sentenceFirst(ended.error)}`);
  throw ended.error;
}

async function lateness(context: CommandContext, seconds: number): Promise<"late"> {
  const { clock } = await context.ports();
  return new Promise((resolve) => clock.after(seconds * 1000, () => resolve("late"), { background: true }));
}

/** Shows events up to the one that is waited for. */
async function findEvent(
  context: CommandContext,
  kvs: Kvs,
  key: string,
  name: string,
  formatter: EventlogFormatter,
): Promise<void> {
  const { options } = context;
  for await (const piece of kvs.watch(key, { append: true, waitCreate: options.has("waitcreate") }))
    for (const event of split(context, utf8Decode(piece!))) {
      const text = formatter.format(event);
      const isIt = event.name === name;
      if (isIt ? !options.has("quiet") : options.has("verbose")) context.out(text);
      if (isIt) return;
    }
}

function split(context: CommandContext, text: string): EventLine[] {
  const events = splitEventlog(text);
  return events ?? context.fail("cannot decode improperly formatted eventlog");
}

function formatterOf(context: CommandContext): EventlogFormatter {
  const { options } = context;
  const when = options.has("color") ? (options.text("color") ?? "always") : "auto";
  if (!["always", "never", "auto"].includes(when)) {
    context.err(`flux-kvs eventlog ${context.command.name}: Invalid argument to --color: '${when}'\n`);
    throw new CommandExit(1);
  }
  const unformatted = options.has("unformatted");
  if (unformatted && (options.has("human") || when === "always")) {
    context.complain("Do not specify --unformatted with --human or --color=always");
    context.fail("failed to create eventlog formatter");
  }
  const color = when === "always" || (when === "auto" && context.stdoutIsTerminal);
  return new EventlogFormatter({ unformatted, human: options.has("human"), color: color && !unformatted });
}
