/** `flux module`: the services of a broker (flux-module(1)). */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { errnoSentence, errorText, isFluxError } from "../../base/errors.ts";
import {
  memberAt,
  parseJsonReals,
  stringifyJson,
  textOfReal,
  type JsonObject,
  type JsonValue,
} from "../../base/json.ts";
import { moduleNameOf } from "../../broker/module-files.ts";
import type { Payload } from "../../protocol/message.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { TRACE_OPTIONS, tracePrinter, typemaskOf, type TracedMessage } from "../output/message-trace.ts";
import { pythonJson } from "../output/python-json.ts";

interface ModuleEntry {
  readonly name: string;
  readonly path: string;
  readonly idle: number;
  readonly status: number;
  readonly services: readonly string[];
  readonly sendqueue: number;
  readonly recvqueue: number;
}

const STATUS_LETTERS = "IRFX";
const IDLE_UNKNOWN = 99999;
const SERVICE_COLUMNS = 7;

const name: OptionSpec = { names: ["name"], short: "n", argument: "NAME", help: "Override default module name" };
const exec: OptionSpec = { names: ["exec"], help: "Run module as a separate process" };
const loader: OptionSpec = { names: ["loader"], argument: "PATH", help: "Specify module loader path (implies --exec)" };

const list: Command = {
  name: "list",
  dialect: "getopt",
  summary: "List loaded modules",
  usage: "[OPTIONS]",
  options: [{ names: ["long"], short: "l", help: "Include full DSO path for each module" }],
  run: async (context) => {
    if (context.operands.length > 0) context.failUsage();
    const handle = await context.open();
    const { mods } = await handle.rpc<{ mods: ModuleEntry[] }>("module.list");
    const isLong = context.options.has("long");
    context.out(`Module                    Idle  S Sendq Recvq Service${isLong ? "  Path" : ""}\n`);
    for (const module of mods) context.out(`${rowOf(module, isLong)}\n`);
  },
};

function rowOf(module: ModuleEntry, isLong: boolean): string {
  const idle = module.idle > IDLE_UNKNOWN ? "idle" : String(module.idle);
  const letter = STATUS_LETTERS[module.status] ?? "?";
  const services = module.services.join(",");
  const cut = services.length > SERVICE_COLUMNS ? `${services.slice(0, SERVICE_COLUMNS - 1)}+` : services;
  const row = [
    module.name.padEnd(24),
    idle.padStart(5),
    ` ${letter}`,
    String(module.sendqueue).padStart(5),
    String(module.recvqueue).padStart(5),
  ].join(" ");
  return isLong ? `${row} ${cut.padEnd(SERVICE_COLUMNS)}  ${module.path}` : `${row} ${services}`;
}

function loadRequest(context: CommandContext): { path: string; payload: JsonObject } {
  const [path, ...args] = context.operands;
  if (path === undefined) return context.failUsage();
  const { options } = context;
  const wanted = options.text("name");
  const loaderPath = options.text("loader");
  const payload = {
    // The broker has another working directory.
    path: path.includes("/") ? resolve(path) : path,
    args,
    ...(wanted === null ? {} : { name: wanted }),
    ...(options.has("exec") || loaderPath !== null ? { exec: true } : {}),
    ...(loaderPath === null ? {} : { loader: loaderPath }),
  };
  return { path, payload };
}

const load: Command = {
  name: "load",
  dialect: "getopt",
  summary: "Load module",
  usage: "[OPTIONS] module [args...]",
  stopAtOperand: true,
  options: [name, exec, loader],
  operands: [
    { name: "module", arity: "1" },
    { name: "args", arity: "*" },
  ],
  run: async (context) => {
    const { path, payload } = loadRequest(context);
    const handle = await context.open();
    await handle.rpc("module.load", payload).catch((error: unknown) => refuseLoad(context, path, error));
  },
};

function refuseLoad(context: CommandContext, path: string, error: unknown): never {
  // A path that leads nowhere is likelier a slip than a module that is missing.
  if (path.includes("/") && !existsSync(path))
    context.fail(`could not canonicalize module path '${path}': No such file or directory`);
  return context.fail(`load ${path}: ${errorText(error)}`);
}

async function removeModule(context: CommandContext, target: string, force: boolean): Promise<void> {
  const handle = await context.open();
  const name = target.includes("/") ? moduleNameOf(target) : target;
  try {
    await handle.rpc("module.remove", { name, ...(context.options.has("cancel") ? { cancel: true } : {}) });
  } catch (error) {
    if (!(force && isFluxError(error, "ENOENT"))) context.fail(`remove ${target}: ${errorText(error)}`);
  }
}

const remove: Command = {
  name: "remove",
  dialect: "getopt",
  summary: "Unload module",
  usage: "[OPTIONS] name",
  options: [
    { names: ["force"], short: "f", help: "Ignore nonexistent modules" },
    { names: ["cancel"], help: "Force the module to end" },
  ],
  operands: [{ name: "name", arity: "1" }],
  run: async (context) => {
    const [target, ...rest] = context.operands;
    if (target === undefined || rest.length > 0) return context.failUsage();
    await removeModule(context, target, context.options.has("force"));
  },
};

const reload: Command = {
  name: "reload",
  dialect: "getopt",
  summary: "Reload module",
  usage: "[OPTIONS] module [args...]",
  stopAtOperand: true,
  options: [{ names: ["force"], short: "f", help: "Ignore nonexistent modules" }, name, exec, loader],
  operands: [
    { name: "module", arity: "1" },
    { name: "args", arity: "*" },
  ],
  run: async (context) => {
    const { path, payload } = loadRequest(context);
    await removeModule(context, context.options.text("name") ?? moduleNameOf(path), context.options.has("force"));
    const handle = await context.open();
    await handle.rpc("module.load", payload).catch((error: unknown) => refuseLoad(context, path, error));
  },
};

const stats: Command = {
  name: "stats",
  dialect: "getopt",
  summary: "Display stats on module",
  usage: "[OPTIONS] name",
  options: [
    { names: ["parse"], short: "p", argument: "OBJNAME", help: "Parse object period-delimited object name" },
    { names: ["scale"], short: "s", argument: "N", help: "Scale numeric JSON value by N" },
    {
      names: ["type"],
      short: "t",
      argument: "int|double",
      choices: ["int", "double"],
      help: "Convert JSON value to specified type",
    },
    {
      names: ["rusage"],
      short: "R",
      argument: "WHO",
      optionalArgument: true,
      help: "Request rusage data instead of stats",
    },
    { names: ["clear"], short: "c", help: "Clear stats on target rank" },
    { names: ["clear-all"], short: "C", help: "Clear stats on all ranks" },
  ],
  operands: [{ name: "name", arity: "1" }],
  run: showStats,
};

async function showStats(context: CommandContext): Promise<void> {
  const [target, ...rest] = context.operands;
  if (target === undefined || rest.length > 0) return context.failUsage();
  const { options } = context;
  const handle = await context.open();
  const call = (topic: string, payload?: object): Promise<Payload | null> =>
    handle
      .call(`${target}.${topic}`, payload)
      .catch((error: unknown) => context.fail(`${target}.${topic}: ${errorText(error)}`));
  if (options.has("clear-all")) return handle.sendEvent(`${target}.stats-clear`);
  if (options.has("clear")) return void (await call("stats-clear"));
  const payload = options.has("rusage")
    ? await call("rusage", { who: options.text("rusage") ?? "self" })
    : await call("stats-get");
  const answer = parseJsonReals(payload?.text ?? "{}");
  const path = options.text("parse");
  const value = path === null ? answer : memberAt(answer, path.split("."));
  if (value === undefined) context.fail(`\`${path}' not found in response`);
  context.out(`${statText(context, value)}\n`);
}

function statText(context: CommandContext, value: JsonValue): string {
  const { options } = context;
  const type = options.text("type");
  const scale = Number(options.text("scale") ?? "1");
  if (Number.isNaN(scale)) context.fail(`--scale: '${options.text("scale")}' is not a number`);
  const real = textOfReal(value);
  if (typeof value === "number" || real !== null || type !== null) {
    const number = real ?? (typeof value === "number" ? value : 0);
    const scaled = Number(number) * scale;
    // What is counted stays whole.
    const isWhole = type === "int" || typeof value === "number";
    return isWhole ? String(Math.trunc(scaled)) : scaled.toFixed(6);
  }
  return typeof value === "object" ? pythonJson(value, { indent: 1 }) : stringifyJson(value);
}

const debug: Command = {
  name: "debug",
  dialect: "getopt",
  summary: "Get/set module debug flags",
  usage: "[OPTIONS] name",
  options: [
    { names: ["clear"], short: "C", help: "Set debug flags to 0" },
    { names: ["set"], short: "S", argument: "MASK", help: "Set debug flags to MASK" },
    { names: ["setbit"], short: "s", argument: "MASK", help: "Set one debug flag to 1" },
    { names: ["clearbit"], short: "c", argument: "MASK", help: "Set one debug flag to 0" },
  ],
  operands: [{ name: "name", arity: "1" }],
  run: async (context) => {
    const [target, ...rest] = context.operands;
    if (target === undefined || rest.length > 0) return context.failUsage();
    const { options } = context;
    const operations: readonly (readonly [string, string])[] = [
      ["clear", "clr"],
      ["set", "set"],
      ["setbit", "setbit"],
      ["clearbit", "clrbit"],
    ];
    const [option, op] = operations.find(([each]) => options.has(each)) ?? ["", "setbit"];
    const flags = Number(option === "" ? "0" : (options.text(option) ?? "0"));
    if (!Number.isInteger(flags)) context.fail(`'${options.text(option)}' is not a mask`);
    const handle = await context.open();
    const answer = await handle
      .rpc<{ flags: number }>(`${target}.debug`, { op, flags })
      .catch((error: unknown) =>
        context.fail(`${target}.debug: ${isFluxError(error) ? errnoSentence(error.errnum) : errorText(error)}`),
      );
    context.out(`0x${answer.flags.toString(16)}\n`);
  },
};

const trace: Command = {
  name: "trace",
  dialect: "getopt",
  summary: "Trace module messages",
  usage: "[OPTIONS] [module module...]",
  options: [
    { names: ["full"], short: "f", help: "Show JSON message payload, if any" },
    { names: ["topic"], short: "T", argument: "GLOB", help: "Filter output by message topic glob" },
    ...TRACE_OPTIONS,
  ],
  operands: [{ name: "module", arity: "*" }],
  run: async (context) => {
    const { options, operands: names } = context;
    const typemask = typemaskOf(context);
    const width = Math.max(0, ...names.map((each) => each.length));
    const print = tracePrinter(context, ({ name: of, prefix }) => `${(of ?? "").padStart(width)} ${prefix}`);
    const request = { names, typemask, topic_glob: options.text("topic") ?? "*", full: options.has("full") };
    const handle = await context.open();
    for await (const message of handle.stream<TracedMessage>("module.trace", request)) print(message);
  },
};

const SUBCOMMANDS: readonly Command[] = [list, remove, load, reload, stats, debug, trace];
const NAME_COLUMNS = 15;

export const command: Command = defineCommand({
  name: "module",
  dialect: "getopt",
  summary: "manage broker modules",
  usage: "COMMAND [OPTIONS]",
  subcommands: [...SUBCOMMANDS, { ...remove, name: "unload", hidden: true }],
  epilogue: `\nflux module subcommands:\n${SUBCOMMANDS.map(
    ({ name: word, summary }) => `   ${word.padEnd(NAME_COLUMNS)} ${summary}\n`,
  ).join("")}`,
  // As the reference has it: help of a command that needs a word more is no success.
  helpExitCode: 1,
});
