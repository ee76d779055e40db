/** `flux admin`: administration of an instance (flux-admin(1)). */
import { utf8Decode } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import { isJsonObject, memberAt, type JsonObject, type JsonValue } from "../../base/json.ts";
import { orNull } from "../../base/promises.ts";
import { formatFsd } from "../../formats/duration.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { wantsColor } from "../output/job-colors.ts";

const cleanupPush: Command = {
  name: "cleanup-push",
  dialect: "argparse",
  summary: "push command to run after completion of initial program",
  description:
    "Add a command to the list that the broker runs when the initial program has ended: the latest block first. " +
    "Without a command, lines of standard input make one block.",
  stopAtOperand: true,
  operands: [{ name: "command", arity: "...", help: "Command line to be evaluated by the shell" }],
  run: async (context) => {
    const words = context.operands;
    const lines = utf8Decode(words.length > 0 ? new Uint8Array(0) : await context.readInput()).split("\n");
    const commands = words.length > 0 ? [words.join(" ")] : lines.filter((line) => line.trim() !== "");
    if (words.length > 0 && commands[0] === "") context.fail("cannot push an empty command line");
    const handle = await context.open();
    await handle
      .rpc("runat.push", { name: "cleanup", commands: commands.toReversed() })
      .catch((error: unknown) => context.fail(errorText(error)));
  },
};

const GREEN = 32;
const YELLOW = 33;

const systemScripts: Command = {
  name: "system-scripts",
  dialect: "argparse",
  summary: "Show configured system scripts (prolog, epilog, housekeeping)",
  options: [
    { names: ["verbose"], short: "v", help: "Show time limits, too" },
    {
      names: ["color"],
      argument: "WHEN",
      optionalArgument: true,
      help: "Use color; WHEN can be 'never', 'always' or 'auto' (default)",
    },
  ],
  run: async (context) => {
    const { options, host, stdoutIsTerminal } = context;
    const isColored = wantsColor({
      options,
      host,
      stdoutIsTerminal,
      failUsage: (text = "") => context.failUsage(text),
    });
    const paint = (text: string, code: number): string => (isColored ? `\x1b[${code}m${text}\x1b[0m` : text);
    const handle = await context.open();
    const table = memberAt(await handle.rpc<JsonObject>("config.get"), ["job-manager"]);
    const configs = isJsonObject(table) ? table : {};
    const plugin = await loadedPerilog(handle);
    for (const type of ["prolog", "epilog", "housekeeping"]) {
      const config = configs[type];
      const isActive = type === "housekeeping" || plugin !== null;
      if (!isJsonObject(config)) context.out(`▸ ${type}: not configured\n\n`);
      else if (!isActive)
        context.out(
          `▸ ${type}: ${paint("configured but inactive", YELLOW)}\n${paint("  (perilog plugin not loaded)", YELLOW)}\n`,
        );
      else {
        const mode = type === "housekeeping" ? releaseMode(config) : `per-rank=${config["per-rank"] === true}`;
        const lines = [`▸ ${type}: ${paint("enabled", GREEN)} (${mode})`, `  command: ${commandText(config)}`];
        if (options.has("verbose")) lines.push(...limitLines(memberAt(plugin ?? {}, ["conf", type])));
        context.out(`${lines.join("\n")}\n\n`);
      }
    }
  },
};

/** What the plugin that runs prologs and epilogs says of itself; null where it is not loaded. */
function loadedPerilog(handle: Handle): Promise<JsonObject | null> {
  return orNull(handle.rpc<JsonObject>("job-manager.jobtap-query", { name: "perilog.so" }), "ENOENT");
}

function commandText({ command }: JsonObject): string {
  return Array.isArray(command) ? (command as readonly JsonValue[]).join(" ") : String(command);
}

function releaseMode({ "release-after": after }: JsonObject): string {
  return typeof after === "string" ? `release after ${after}` : "batch release";
}

function limitLines(conf: JsonValue | undefined): string[] {
  if (!isJsonObject(conf)) return [];
  const keys = ["timeout", "kill-timeout"].filter((key) => typeof conf[key] === "number");
  return keys.map((key) => `  ${key}: ${formatFsd(conf[key] as number)}`);
}

export const command: Command = defineCommand({
  name: "admin",
  dialect: "argparse",
  summary: "Flux administration subcommands",
  subcommands: [systemScripts, cleanupPush],
});
