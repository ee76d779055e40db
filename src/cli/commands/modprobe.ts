/** `flux modprobe`: loads and removes modules with what they need, runs rc files (flux-modprobe(1)). */
import { join } from "node:path";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { modprobePath } from "../../broker/site-services.ts";
import { STORES } from "../../broker/snapshots.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { filesIn } from "../modprobe/catalog.ts";
import { removalOf } from "../modprobe/plan.ts";
import { Session } from "../modprobe/session.ts";
import type { Unit, UnitTable } from "../modprobe/units.ts";
import { pythonJson } from "../output/python-json.ts";

const dryRun: OptionSpec = { names: ["dry-run"], help: "Don't do anything. Print what would be run" };
const verbose: OptionSpec = { names: ["verbose"], short: "v", help: "Print tasks as they are executed" };
const showDeps: OptionSpec = {
  names: ["show-deps"],
  help: "Display dictionary of tasks to predecessor list and exit",
};
const timing: OptionSpec = { names: ["timing"], help: "Store timing data in KVS in modprobe.stats key" };
const alternative: OptionSpec = {
  names: ["set-alternative"],
  short: "S",
  argument: "NAME=MODULE",
  repeatable: true,
  help: "Set alternative for service NAME to module MODULE",
};
const disable: OptionSpec = {
  names: ["disable"],
  short: "D",
  argument: "NAME",
  repeatable: true,
  help: "Disable module or task NAME",
};

const keepContent: OptionSpec = { names: ["keep-content"], help: "Keep the modules that hold blobs", hidden: true };

/** Opens a run, ends the command with the message of what fails in it. */
async function within(context: CommandContext, work: (session: Session) => Promise<number | void>): Promise<number> {
  const session = await Session.open(context);
  try {
    return (await work(session)) ?? 0;
  } catch (error) {
    if (error instanceof FluxError) return context.fail(error.message);
    throw error;
  } finally {
    await session.close();
  }
}

/** Does, or shows, what the session has been asked for. */
async function carryOut(context: CommandContext, session: Session): Promise<number> {
  const plan = await session.plan();
  if (context.options.has("show-deps")) {
    const predecessors: Record<string, string[]> = {};
    for (const { name } of plan.steps) predecessors[name] = [...plan.predecessors.get(name)!];
    context.out(`${pythonJson(predecessors)}\n`);
    return 0;
  }
  if (context.options.has("dry-run")) {
    for (const step of plan.steps) context.out(`${session.describe(step)}\n`);
    return 0;
  }
  const isDone = await session.execute(plan);
  if (context.options.has("timing")) await session.storeTimings();
  return isDone ? 0 : 1;
}

const load: Command = {
  name: "load",
  dialect: "argparse",
  summary: "Load modules and what they need",
  options: [dryRun],
  operands: [{ name: "MODULE", arity: "+", help: "Module to load" }],
  run: (context) =>
    within(context, async (session) => {
      session.wantLoaded(context.operands);
      const plan = await session.plan();
      if (plan.steps.length > 0) return carryOut(context, session);
      context.err("flux-modprobe: INFO: All modules and dependencies are already loaded\n");
      return 0;
    }),
};

const remove: Command = {
  name: "remove",
  dialect: "argparse",
  summary: "Remove modules and what is unused without them",
  options: [dryRun],
  operands: [{ name: "MODULE", arity: "+", help: "Module to remove" }],
  run: (context) =>
    within(context, async (session) => {
      const { operands } = context;
      const { loaded, table } = session;
      session.wantRemoved(operands.includes("all") ? loaded : removalOf(table, operands, loaded));
      return carryOut(context, session);
    }),
};

const run: Command = {
  name: "run",
  dialect: "argparse",
  summary: "Run an rc file",
  options: [showDeps, verbose, dryRun],
  operands: [{ name: "FILE", arity: "1", help: "Run commands defined in Python rc file FILE" }],
  run: (context) =>
    within(context, async (session) => {
      await session.read(context.operands);
      return carryOut(context, session);
    }),
};

/** A run level: the rc files of the search path; without a main file, the services of a complete instance. */
function runLevel(name: "rc1" | "rc3", summary: string): Command {
  return {
    name,
    dialect: "argparse",
    summary,
    options: [...(name === "rc1" ? [timing] : []), showDeps, verbose, dryRun, ...(name === "rc3" ? [keepContent] : [])],
    run: (context) =>
      within(context, async (session) => {
        const directories = modprobePath(context.host.env);
        const main = directories.flatMap((directory) =>
          filesIn(directory, ".py").filter((path) => path.endsWith(`/${name}.py`)),
        );
        const further = directories.flatMap((directory) => filesIn(join(directory, `${name}.d`), ".py"));
        if (main.length === 0)
          if (name === "rc1") await session.wantDefaults();
          else if (!context.options.has("keep-content")) session.wantRemoved(session.loaded);
          else session.wantRemoved(session.loaded.filter((module) => !STORES.has(module)));
        const files = [...main, ...further];
        if (files.length > 0) await session.read(files);
        return carryOut(context, session);
      }),
  };
}

function applyChoices(context: CommandContext, table: UnitTable): void {
  for (const choice of context.options.list("set-alternative")) {
    const [service = "", name] = choice.split("=", 2);
    if (name === undefined) context.failUsage(`argument -S/--set-alternative: invalid value: '${choice}'`);
    table.choose(service, name);
  }
  for (const name of context.options.list("disable")) table.disable(name);
}

const show: Command = {
  name: "show",
  dialect: "argparse",
  summary: "Show what is known of a module",
  options: [alternative, disable],
  operands: [{ name: "MODULE", arity: "1", help: "Module name to show" }],
  run: (context) =>
    within(context, async ({ table }) => {
      applyChoices(context, table);
      const { needsAttrs, needsConfig, needsEnv, ...unit } = table.resolve(context.operands[0]!);
      const conditions: Record<string, readonly string[]> = {};
      if (needsAttrs.length > 0) conditions["needs-attrs"] = needsAttrs;
      if (needsConfig.length > 0) conditions["needs-config"] = needsConfig;
      if (needsEnv.length > 0) conditions["needs-env"] = needsEnv;
      context.out(`${pythonJson({ ...unit, ...conditions } as unknown as JsonObject)}\n`);
    }),
};

/** The lines under a unit: its requirements as a tree, each once unless `full`. */
function treeLines(table: UnitTable, unit: Unit, full: boolean, seen: Set<string>, indent: string): string[] {
  const fresh = unit.requires.filter((name) => {
    const isNew = full || !seen.has(table.resolve(name).name);
    seen.add(table.resolve(name).name);
    return isNew;
  });
  return fresh.flatMap((name, index) => {
    const isLast = index === fresh.length - 1;
    const line = `${indent}${isLast ? "└── " : "├── "}${titleOf(table, name)}`;
    return [line, ...treeLines(table, table.resolve(name), full, seen, `${indent}${isLast ? "    " : "│   "}`)];
  });
}

function titleOf(table: UnitTable, name: string): string {
  const unit = table.resolve(name);
  return unit.name === name ? name : `${name} (${unit.name})`;
}

const listDependencies: Command = {
  name: "list-dependencies",
  dialect: "argparse",
  summary: "Show what a module requires as a tree",
  options: [alternative, disable, { names: ["full"], short: "f", help: "Show duplicates too" }],
  operands: [{ name: "MODULE", arity: "1", help: "Module to show" }],
  run: (context) =>
    within(context, async ({ table }) => {
      applyChoices(context, table);
      const name = context.operands[0]!;
      const unit = table.resolve(name);
      const lines = treeLines(table, unit, context.options.has("full"), new Set([unit.name]), "");
      for (const line of [titleOf(table, name), ...lines]) context.out(`${line}\n`);
    }),
};

export const command: Command = defineCommand({
  name: "modprobe",
  dialect: "argparse",
  summary: "load and remove modules with what they need",
  description: "Task and module load/unload management for Flux",
  subcommands: [
    load,
    remove,
    run,
    runLevel("rc1", "Start the services of an instance"),
    runLevel("rc3", "Stop the services of an instance"),
    listDependencies,
    show,
  ],
});
