/**
 * `flux start`: becomes a broker of an instance that a launcher starts, or, with `--test-size`, starts all brokers of an
 * instance on this machine (flux-start(1)).
 */
import { resolve } from "node:path";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Taskmap } from "../../formats/taskmap.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { findInPath } from "../framework/external.ts";
import { runCommand } from "../framework/run.ts";
import { recoveryOptions, systemConfigPath } from "../submission/recovery.ts";
import { resumeOptions } from "../submission/resume.ts";
import { command as brokerCommand } from "./broker.ts";

const CLIQUES = ["single", "per-broker", "none"];
const EXIT_MODES = ["any", "leader"];
const START_MODES = ["all", "leader"];

export const command: Command = defineCommand({
  name: "start",
  dialect: "getopt",
  summary: "bootstrap a local Flux instance",
  usage: "[OPTIONS] [initial-program [args...]]",
  stopAtOperand: true,
  options: [
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      bareShort: true,
      repeatable: true,
      help: "Be annoyingly chatty by level",
    },
    { names: ["noexec"], short: "X", help: "Don't execute (useful with -v, --verbose)" },
    {
      names: ["broker-opts"],
      short: "o",
      argument: "OPTS",
      repeatable: true,
      help: 'Add comma-separated broker options, e.g. "-o,-v"',
    },
    { names: ["setattr"], short: "S", argument: "ATTR=VAL", repeatable: true, help: "Set a broker attribute" },
    {
      names: ["config-path"],
      short: "c",
      argument: "PATH",
      repeatable: true,
      help: "Set path to broker configuration",
    },
    { names: ["conf"], argument: "VALUE", repeatable: true, help: "Update the broker configuration from VALUE" },
    {
      names: ["recovery"],
      short: "r",
      argument: "TARGET",
      optionalArgument: true,
      help: "Start in recovery mode: rank 0 alone, with a statedir, or a dump of content (default: those of the system instance)",
    },
    { names: ["sysconfig"], help: "Load the configuration of the system instance" },
    { names: ["rundir"], argument: "DIR", help: "(only with --test-size) Use DIR as the rundir of the instance" },
    {
      names: ["fail-on"],
      argument: "any|N|none",
      help: "Fail when any, or at least N, of the instance's jobs have failed (default none)",
    },
    {
      names: ["resume"],
      argument: "PATH",
      help: "Go on where the instance stopped that PATH was left by: its statedir, or a dump of its content",
    },
    {
      names: ["respawn"],
      help: "Start a broker that was killed again; rank 0 goes on where it was, with FLUX_RESUMED=1 for the initial program",
    },
    { names: ["wrap"], argument: "ARGS,...", help: "Wrap broker execution in comma-separated arguments" },
    {
      names: ["test-size"],
      short: "s",
      argument: "N",
      integer: true,
      help: "Start a test instance by launching N brokers locally",
    },
    { names: ["test-hosts"], argument: "HOSTLIST", help: "Set list of test hosts (default: local hostname for all)" },
    {
      names: ["test-exit-timeout"],
      argument: "FSD",
      help: "After a broker exits, kill other brokers after timeout (default 20s)",
    },
    {
      names: ["test-exit-mode"],
      argument: "any|leader",
      help: "Trigger exit timer on leader/any broker exit (default=any)",
    },
    { names: ["test-start-mode"], argument: "all|leader", help: "Start all brokers, or the leader only (default=all)" },
    { names: ["test-rundir"], argument: "DIR", help: "Use DIR as broker run directory" },
    { names: ["test-rundir-cleanup"], help: "Clean up --test-rundir DIR upon flux-start exit" },
    {
      names: ["test-pmi-clique"],
      argument: "single|per-broker|none|TASKMAP",
      help: "Set PMI_process_mapping mode (default=single)",
    },
    { names: ["killer-timeout"], argument: "FSD", hidden: true, help: "An old option without effect" },
  ],
  operands: [{ name: "initial-program", arity: "..." }],
  run: start,
});

async function start(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const words = [...brokerWords(context), ...recoveryWords(context), ...resumeWords(context)];
  verbosity(context);
  checkDirectory(context);
  const size = options.integer("test-size");
  if (size === null) {
    const testOnly = options.given.find(({ name }) => name.startsWith("test-") || name === "rundir");
    if (testOnly !== undefined) context.fail(`--${testOnly.name} only works with --test-size`);
    if (!options.has("respawn")) return startOne(context, words, operands);
    if (context.host.env["PMI_RANK"] !== undefined)
      context.fail("--respawn: the brokers are the launcher's to start again; use it with --test-size or alone");
    const { startMany } = await import("../start/test-instance.ts");
    return startMany(context, 1, words, operands);
  }
  if (size < 1) context.fail("--test-size argument must be > 0");
  checkChoice(context, "test-exit-mode", EXIT_MODES);
  checkChoice(context, "test-start-mode", START_MODES);
  const clique = options.text("test-pmi-clique");
  if (clique !== null && !CLIQUES.includes(clique)) checkTaskmap(context, clique);
  checkHosts(context, size);
  const { startMany } = await import("../start/test-instance.ts");
  return startMany(context, size, words, operands);
}

function checkChoice(context: CommandContext, name: string, choices: readonly string[]): void {
  const value = context.options.text(name);
  if (value !== null && !choices.includes(value))
    context.fail(`unknown --${name}: ${value} (it is ${choices.join(" or ")})`);
}

function checkTaskmap(context: CommandContext, text: string): void {
  try {
    Taskmap.parse(text);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    context.fail(`test-pmi-clique: ${error.message}`);
  }
}

/** Programs of the instance are to start where this command was. */
function checkDirectory(context: CommandContext): void {
  try {
    if (context.host.cwd !== "") return;
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
  context.fail("Unable to get current working directory: No such file or directory");
}

function checkHosts(context: CommandContext, size: number): void {
  const text = context.options.text("test-hosts");
  if (text === null) return;
  const hosts = Hostlist.tryParse(text);
  if (hosts === null) return context.fail(`failed to decode --test-hosts hostlist '${text}'`);
  if (hosts.count !== size) context.fail(`--test-hosts hostlist has incorrect size`);
}

/** The system's configuration goes with its state, unless another one is given. */
function recoveryWords(context: CommandContext): string[] {
  const { options } = context;
  const target = options.has("recovery") ? (options.text("recovery") ?? "") : null;
  if (target !== null && options.has("resume"))
    context.fail("--recovery and --resume: an instance is repaired, or goes on");
  const words: string[] = [];
  try {
    if (target !== null) words.push(...recoveryOptions(target));
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    context.fail(error.message);
  }
  if (target !== "" && !options.has("sysconfig")) return words;
  const own = options.list("config-path").at(-1);
  if (own !== undefined) context.err(`flux-start: Warning: overriding recovery/--sysconfig path with ${own}\n`);
  else words.push(`--config-path=${systemConfigPath()}`);
  return words;
}

function resumeWords(context: CommandContext): string[] {
  const path = context.options.text("resume");
  if (path === null) return [];
  try {
    return resumeOptions(path, context.host.cwd);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    return context.fail(error.message);
  }
}

/** The options that the broker gets, in its own form. */
function brokerWords(context: CommandContext): string[] {
  const words: string[] = [];
  for (const { name, value } of context.options.given) {
    if (name === "setattr" || name === "conf" || name === "config-path") words.push(`--${name}=${value ?? ""}`);
    if (name === "fail-on") words.push(`--setattr=broker.fail-on=${value ?? ""}`);
    if (name === "broker-opts") words.push(...(value ?? "").split(",").filter((word) => word !== ""));
  }
  return words;
}

/** How much to tell: the number of -v, or the level given. */
export function verbosity(context: CommandContext): number {
  const levels = context.options.list("verbose");
  return levels.reduce((sum, level) => {
    if (level === "") return sum + 1;
    return /^\d+$/.test(level) ? sum + Number(level) : context.fail(`invalid --verbose level '${level}'`);
  }, 0);
}

/** The broker's command: a program of the user's in FLUX_EXEC_PATH_PREPEND goes before ours. */
export function brokerCommandOf(context: CommandContext): string[] {
  const { env, fluxPath } = context.host;
  for (const directory of (env["FLUX_EXEC_PATH_PREPEND"] ?? "").split(":")) {
    const own = directory === "" ? null : findInPath(resolve(directory, "flux-broker"));
    if (own !== null) return [own];
  }
  return [fluxPath, "broker"];
}

async function startOne(
  context: CommandContext,
  words: readonly string[],
  program: readonly string[],
): Promise<number> {
  const { options } = context;
  const wrap = (options.text("wrap") ?? "").split(",").filter((word) => word !== "");
  const broker = brokerCommandOf(context);
  const argv = [...wrap, ...broker, ...words, ...program];
  if (verbosity(context) > 0) context.err(`flux-start: ${argv.join(" ")}\n`);
  if (options.has("noexec")) return 0;
  if (wrap.length === 0 && broker.length > 1) return runCommand(brokerCommand, [...words, "--", ...program]);
  const { runWrapped } = await import("../start/test-instance.ts");
  return runWrapped(context, argv);
}
