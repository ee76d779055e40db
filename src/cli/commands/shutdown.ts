/** `flux shutdown`: ends an instance and shows its log meanwhile (flux-shutdown(1)). */
import { resolve } from "node:path";
import { utf8Decode } from "../../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { formatForStderr, parseLogRecord } from "../../broker/log-record.ts";
import { findAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { resolveTarget } from "../uri/resolve.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const LEADER = { nodeid: 0 };
const LEVEL_WARNING = 4;
const LEVEL_INFO = 6;
const LEVEL_DEBUG = 7;
/** The value of `content.dump` that leaves the place to the broker. */
const AUTOMATIC = "auto";

export const command: Command = defineCommand({
  name: "shutdown",
  connectionWords: "error connecting to Flux",
  usageProgram: "flux shutdown",
  dialect: "getopt",
  summary: "Shut down the Flux instance",
  description: "Shut down the Flux instance",
  usage: "[OPTIONS] [TARGET]",
  options: [
    { names: ["skip-gc"], help: "Skip KVS garbage collection this time, if already enabled" },
    { names: ["gc"], help: "Garbage collect KVS (short for --dump=auto)" },
    { names: ["dump"], argument: "PATH", help: "Dump KVS content to specified archive file using flux-dump(1)." },
    { names: ["background"], help: "Exit the command immediately after initiating shutdown" },
    { names: ["quiet"], help: "Show only log messages <= LOG_WARNING level" },
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      bareShort: true,
      help: "Increase log verbosity: 0=show log messages <= LOG_INFO level (default), 1=show all log messages",
    },
    { names: ["yes"], short: "y", help: "Answer yes to any yes/no questions" },
    { names: ["no"], short: "n", help: "Answer no to any yes/no questions" },
  ],
  operands: [{ name: "TARGET", arity: "?" }],
  run: async (context) => {
    const { options, operands } = context;
    if (options.has("gc") && (options.has("skip-gc") || options.has("dump")))
      context.fail("--gc is incompatible with --skip-gc or --dump");
    const [target, ...rest] = operands;
    if (rest.length > 0) return context.failUsage();
    const uri =
      target === undefined
        ? undefined
        : await resolveTarget(context, target).catch((error: unknown) =>
            context.fail(`failed to resolve target ${target} to a Flux URI (${errorText(error)})`),
          );
    const handle = await context.open(uri);
    try {
      await chooseDump(context, handle);
      await shutDown(context, handle);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      context.fail(error.message);
    }
  },
});

async function shutDown(context: CommandContext, handle: Handle): Promise<void> {
  const { options } = context;
  const loglevel = options.has("quiet") ? LEVEL_WARNING : options.has("verbose") ? LEVEL_DEBUG : LEVEL_INFO;
  if (options.has("background")) {
    await handle.rpc("shutdown.start", { loglevel });
    return;
  }
  try {
    for await (const { log } of handle.stream<{ log: string }>("shutdown.start", { loglevel }))
      context.err(formatForStderr(parseLogRecord(log)));
  } catch (error) {
    // The broker has gone: that was the wish.
    if (!isFluxError(error, "ECONNRESET")) throw error;
  }
}

/** Sets the attribute that says whether, and where to, the content of the key-value store is dumped on the way out. */
async function chooseDump(context: CommandContext, handle: Handle): Promise<void> {
  const { options, host } = context;
  if (options.has("skip-gc")) return setDump(handle, "");
  const path = options.text("dump");
  if (path === null && !options.has("gc") && !(await isCollectionWanted(context, handle))) return;
  const isAutomatic = path === null || path === AUTOMATIC;
  await setDump(handle, isAutomatic ? AUTOMATIC : resolve(host.cwd, path));
  const place = isAutomatic ? await automaticPlace(handle) : path;
  context.complain(`shutdown will dump KVS to ${place} (this may take some time)`);
}

async function setDump(handle: Handle, value: string): Promise<void> {
  await handle.rpc("attr.set", { name: "content.dump", value, force: true }, { nodeid: 0 });
}

/** Where the broker puts dumps that nobody named, as far as can be told from outside. */
async function automaticPlace(handle: Handle): Promise<string> {
  const names = ["statedir", "statedir-cleanup"];
  const [statedir, cleanup] = await Promise.all(names.map((name) => findAttribute(handle, name, LEADER)));
  return statedir !== null && cleanup === "0" ? `${statedir}/dump/` : "dump/";
}

/** Asks the user where the configured number of versions has been passed; an automatic dump needs no question. */
async function isCollectionWanted(context: CommandContext, handle: Handle): Promise<boolean> {
  const { options } = context;
  if (((await findAttribute(handle, "content.dump", LEADER)) ?? "") !== "") return false;
  const { kvs } = await handle.rpc<{ kvs?: { "gc-threshold"?: number } }>("config.get");
  const threshold = kvs?.["gc-threshold"] ?? 0;
  if (threshold <= 0 || (await new Kvs(handle).version()) <= threshold) return false;
  if (options.has("yes") || options.has("no")) return options.has("yes");
  if (!context.stdinIsTerminal) context.fail("gc threshold exceeded, specify -y or -n");
  for (;;) {
    context.out("gc threshold exceeded, do you want to perform garbage collection [Y/n]? ");
    const answer = await readLine(context);
    if (answer === null) context.fail("error retrieving user input");
    if (/^(y(es)?)?$/i.test(answer)) return true;
    if (/^no?$/i.test(answer)) return false;
    context.err("Please answer y or n\n");
  }
}

/** The next line that the user types, without its end; null where there is none. */
async function readLine(context: CommandContext): Promise<string | null> {
  let text = "";
  for await (const chunk of context.inputChunks()) {
    text += utf8Decode(chunk);
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end).trim();
  }
  return null;
}
