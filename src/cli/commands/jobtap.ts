/** `flux jobtap`: the job manager's plugins (flux-jobtap(1)); `flux post-job-event`: an event in a job's eventlog. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { jsonOrText, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

async function ask<T extends object>(context: CommandContext, topic: string, payload: JsonObject): Promise<T> {
  const handle = await context.open();
  return (await handle.rpc(`job-manager.${topic}`, payload, { nodeid: 0 })) as T;
}

const load: Command = {
  name: "load",
  dialect: "argparse",
  summary: "Load a new jobtap plugin",
  options: [
    {
      names: ["remove"],
      short: "r",
      argument: "NAME",
      help:
        "Remove plugin NAME before loading new plugin. NAME may optionally be a shell glob pattern which removes all " +
        'matching plugins. ("all" is a synonym for "*")',
    },
  ],
  operands: [
    { name: "plugin", arity: "1", help: "Plugin path or builtin name" },
    { name: "conf", arity: "...", help: "List of key=value config keys to set as plugin configuration" },
  ],
  run: async (context) => {
    const [plugin = "", ...pairs] = context.operands;
    const remove = context.options.text("remove");
    const conf = pairs.length === 0 ? {} : { conf: pairsOf(pairs) };
    await ask(context, "jobtap", { load: plugin, ...conf, ...(remove === null ? {} : { remove }) });
  },
};

const remove: Command = {
  name: "remove",
  dialect: "argparse",
  summary: "Remove an active jobtap plugin",
  operands: [
    {
      name: "plugin",
      arity: "1",
      help: "Plugin name or pattern to remove. Use 'all' to remove all loaded jobtap plugins",
    },
  ],
  run: async (context) => void (await ask(context, "jobtap", { remove: context.operands[0]! })),
};

const list: Command = {
  name: "list",
  dialect: "argparse",
  summary: "List currently loaded jobtap plugins",
  options: [{ names: ["all"], short: "a", help: "Do not ignore job-manager builtin plugins" }],
  run: async (context) => {
    const { plugins } = await ask<{ plugins: string[] }>(context, "jobtap", { query_only: true });
    const shown = context.options.has("all") ? plugins : plugins.filter((name) => !name.startsWith("."));
    context.out(shown.map((name) => `${name}\n`).join(""));
  },
};

const query: Command = {
  name: "query",
  dialect: "argparse",
  summary: "Query internal state of a jobtap plugin",
  operands: [{ name: "plugin", arity: "1", help: "Plugin name to query" }],
  run: async (context) => {
    const answer = await ask<JsonObject>(context, "jobtap-query", { name: context.operands[0]! });
    context.out(`${stringifyJson(answer)}\n`);
  },
};

const jobtap: Command = defineCommand({
  name: "jobtap",
  dialect: "argparse",
  summary: "list, load, and remove job-manager plugins",
  subcommands: [load, remove, list, query],
});

const postEvent: Command = defineCommand({
  name: "post-job-event",
  program: "flux-job-post-event",
  dialect: "argparse",
  summary: "post an event to a job's eventlog",
  operands: [
    { name: "id", arity: "1", help: "jobid to which event shall be posted" },
    { name: "name", arity: "1", help: "name of event to post" },
    { name: "context", arity: "...", help: "List of key=value pairs to set as event context" },
  ],
  run: async (context) => {
    const [text = "", name = "", ...pairs] = context.operands;
    const id = tryParseFluid(text);
    if (id === null) return context.failUsage(`argument id: invalid JobID value: '${text}'`);
    try {
      const event = { id, name, ...(pairs.length === 0 ? {} : { context: pairsOf(pairs) }) };
      await ask(context, "post-event.post", event);
    } catch (error) {
      if (isFluxError(error, "ENOENT")) throw new FluxError("ENOENT", `No such job ${text}`, { cause: error });
      throw error;
    }
  },
});

export const commands: Readonly<Record<string, Command>> = { jobtap, "post-job-event": postEvent };

/** KEY=VALUE: JSON where the value is JSON, else the text. Throws EINVAL. */
function pairsOf(pairs: readonly string[]): JsonObject {
  const result: Record<string, JsonValue> = {};
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 0) throw new FluxError("EINVAL", `Missing required value for key ${pair}`);
    result[pair.slice(0, at)] = jsonOrText(pair.slice(at + 1));
  }
  return result;
}
