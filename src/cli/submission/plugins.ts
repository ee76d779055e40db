/**
 * Plugins of the commands that submit jobs: users' files in Python that add options, look at all options before the
 * jobspec is made, and change the jobspec (FLUX_CLI_PLUGINPATH in flux-environment(7)). Their program is started only where
 * there are any.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { builtinValue } from "../framework/builtin-values.ts";
import { defineCommand, type Command, type CommandContext, type ParsedOptions } from "../framework/command.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { SHAPE_OPTIONS } from "./options.ts";

/** What a command that submits jobs lets plugins do. */
export interface SubmissionPlugins {
  /** The options as plugins leave them, before a jobspec is made of them. Throws FluxError. */
  initialized(options: ParsedOptions): Promise<ParsedOptions>;
  /** A jobspec as plugins leave it. Throws FluxError. */
  applied(jobspec: Jobspec, options: ParsedOptions): Promise<Jobspec>;
}

export const NO_PLUGINS: SubmissionPlugins = {
  initialized: (options) => Promise.resolve(options),
  applied: (jobspec) => Promise.resolve(jobspec),
};

export type RunWithPlugins = (context: CommandContext, plugins: SubmissionPlugins) => Promise<number>;

/** What `--list-plugins` tells of one. */
export interface PluginFacts {
  readonly name: string;
  readonly path: string;
  readonly options: readonly { readonly name: string; readonly help: string }[];
}

/** Declares a command that plugins extend. */
export function definePluggableCommand(command: Command, run: RunWithPlugins): Command {
  const plain: Command = { ...command, run: runOrList(run, NO_PLUGINS, []) };
  const extend = async (context: CommandContext): Promise<Command> => {
    const paths = pluginFiles(directoriesOf(context.host.env));
    if (paths.length === 0) return plain;
    const { loadPlugins } = await import("./plugin-session.ts");
    const { plugins, facts, options, texts, end } = await loadPlugins(context, plain, paths);
    const topics = async (): Promise<Readonly<Record<string, string>>> => ({ ...(await plain.topics?.()), ...texts });
    return {
      ...plain,
      options: [...plain.options!.filter((option) => !SHAPE_OPTIONS.includes(option)), ...options, ...SHAPE_OPTIONS],
      topics,
      dispose: end,
      run: runOrList(run, plugins, facts),
    };
  };
  return defineCommand({ ...plain, extend });
}

function runOrList(run: RunWithPlugins, plugins: SubmissionPlugins, facts: readonly PluginFacts[]): Command["run"] {
  return (context) => {
    if (!context.options.has("list-plugins")) return run(context, plugins);
    context.out(pluginList(directoriesOf(context.host.env), facts));
    return 0;
  };
}

/** Where plugins are looked for, the first first. */
function directoriesOf(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const split = (list: string | undefined): string[] => (list ?? "").split(":").filter((entry) => entry !== "");
  const { FLUX_CLI_PLUGINPATH: further, FLUX_CLI_PLUGINPATH_OVERRIDE: instead } = env;
  if (instead !== undefined) return split(instead);
  const installed = ["confdir", "libexecdir"].map((name) => join(builtinValue(name)!, "cli", "plugins"));
  return [...split(further), ...installed];
}

/** The files of these directories; of those that have the same name, the first. */
function pluginFiles(directories: readonly string[]): string[] {
  const found = new Map<string, string>();
  for (const directory of directories)
    for (const name of namesIn(directory).toSorted())
      if (name.endsWith(".py") && !found.has(name)) found.set(name, join(directory, name));
  return [...found.values()];
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return [];
  }
}

const LIST_COLUMN = 20;

function pluginList(directories: readonly string[], facts: readonly PluginFacts[]): string {
  const head =
    directories.length === 0
      ? "  Searched only flux.cli.plugins namespace\n"
      : `  Search path: ${directories.join(":")}\n  (plus flux.cli.plugins namespace)\n`;
  const shape: PluginFacts = {
    name: "ShapePlugin",
    path: "flux.cli.plugins",
    options: SHAPE_OPTIONS.map(({ names: [name], help }) => ({ name, help })),
  };
  const entries = [...facts, shape].map(({ name, path, options }) => {
    const lines = options.map((option) => `  ${`--${option.name}`.padEnd(LIST_COLUMN)}  ${option.help}\n`);
    return `${name} loaded from ${path}\n${lines.join("")}\n`;
  });
  return `Options provided by plugins:\n${head}\n${entries.join("")}`;
}
