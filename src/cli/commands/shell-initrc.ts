/**
 * `flux shell-initrc FILE`: runs a user's start-up file for job shells and says on standard output, as JSON, what it wants.
 * Started by job shells. A module's default export is called with one object, `RcShell`; other files are Lua.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { CommandExit, defineCommand, type Command } from "../framework/command.ts";

/** The level of messages that everybody sees. */
const NOTICE = 5;

/** What files are called that are modules; all others are Lua. */
const MODULE_NAME = /\.(?:js|mjs|cjs|ts|mts|cts)$/;

type Changes = Record<string, string | null>;

/** One task, as a start-up file sees it. */
export interface RcTask {
  readonly rank: number;
  readonly localId: number;
  /** Its command; may be replaced. */
  command: string[];
  setenv(name: string, value: string): void;
  unsetenv(name: string): void;
}

/** What a start-up file is given. */
export interface RcShell {
  /** The job and this node: jobId, name, rank (of the shell), size (shells), taskCount, host, cwd, cores, gpus, command. */
  readonly info: JsonObject;
  /** The shell options; change them as any object. */
  readonly options: JsonObject;
  getenv(name: string): string | undefined;
  setenv(name: string, value: string): void;
  unsetenv(name: string): void;
  /** Puts a directory before those of a variable like PATH. */
  prependPath(name: string, directory: string): void;
  /** Calls back for every task of this node. */
  onTask(callback: (task: RcTask) => void): void;
  /** A message in the job's log. */
  log(message: string): void;
  /** The job is not to run. */
  die(message: string): never;
}

class Refusal extends Error {}

export const command: Command = defineCommand({
  name: "shell-initrc",
  dialect: "getopt",
  summary: "Run a start-up file of job shells (started by them)",
  hidden: true,
  operands: [{ name: "FILE", arity: "1" }],
  async run(context) {
    const [path] = context.operands;
    if (path === undefined) return context.failUsage();
    const facts = parseJson(utf8Decode(await context.readInput()));
    if (!isJsonObject(facts)) return context.fail("a JSON object on standard input is wanted");
    try {
      if (!MODULE_NAME.test(path)) {
        const [{ runLuaFile }, { builtinValues }] = await Promise.all([
          import("../framework/lua-file.ts"),
          import("../framework/builtin-values.ts"),
        ]);
        const report = runLuaFile(path, luaFacts(facts, builtinValues()["shell_pluginpath"]));
        context.out(stringifyJson(report));
        return 0;
      }
      // A path, not a URL: in a bundle this is a require, which knows no URLs.
      const module = (await import(path)) as { default?: unknown };
      if (typeof module.default !== "function") return context.fail("the module has no function as its default export");
      const report = await reportOf(facts, module.default as (shell: RcShell) => unknown);
      context.out(stringifyJson(report as object as JsonObject));
      return 0;
    } catch (error) {
      if (error instanceof CommandExit) throw error;
      if (isFluxError(error)) return context.fail(error.message);
      // The user's mistake: what, and where in the file.
      const [what = "", where = ""] = (error instanceof Error ? (error.stack ?? error.message) : String(error)).split(
        "\n",
      );
      return context.fail(`${what} ${where.trim()}`.trimEnd());
    }
  },
});

/** The same facts by the names of flux-shell-initrc(5). */
function luaFacts(facts: JsonObject, searchpath: string | undefined): JsonObject {
  const { info, options, environment, tasks, service, instanceOwner, jobid, jobspec, R, ranks } = facts;
  const { rank, size, taskCount } = info as JsonObject;
  return {
    info: { jobid, instance_owner: instanceOwner, rank, size, ntasks: taskCount, service, options, jobspec, R },
    environment,
    ranks,
    tasks: (tasks as JsonObject[]).map((task) => ({ rank: task["rank"], localid: task["localId"], state: "Init" })),
    searchpath,
  } as object as JsonObject;
}

async function reportOf(facts: JsonObject, file: (shell: RcShell) => unknown): Promise<object> {
  const environment = { ...(facts["environment"] as Record<string, string>) };
  const changes: Changes = {};
  const options = (facts["options"] ?? {}) as Record<string, JsonValue>;
  const log: object[] = [];
  const callbacks: ((task: RcTask) => void)[] = [];
  const set = (name: string, value: string | null): void => {
    changes[name] = value;
    if (value === null) delete environment[name];
    else environment[name] = value;
  };
  const shell: RcShell = {
    info: facts["info"] as JsonObject,
    options,
    getenv: (name) => environment[name],
    setenv: (name, value) => set(name, String(value)),
    unsetenv: (name) => set(name, null),
    prependPath: (name, directory) =>
      set(name, environment[name] === undefined ? directory : `${directory}:${environment[name]}`),
    onTask: (callback) => void callbacks.push(callback),
    log: (message) => void log.push({ level: NOTICE, message: String(message), component: "initrc" }),
    die: (message) => {
      throw new Refusal(message);
    },
  };
  const tasks: Record<string, object> = {};
  let refusal: string | null = null;
  try {
    await file(shell);
    for (const facet of facts["tasks"] as { rank: number; localId: number }[])
      tasks[facet.rank] = taskReport(facet, shell.info["command"] as string[], callbacks);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refusal = error.message;
  }
  return { options, environment: changes, tasks, log, refusal };
}

function taskReport(
  { rank, localId }: { rank: number; localId: number },
  command: readonly string[],
  callbacks: readonly ((task: RcTask) => void)[],
): object {
  const environment: Changes = {};
  const task: RcTask = {
    rank,
    localId,
    command: [...command],
    setenv: (name, value) => void (environment[name] = String(value)),
    unsetenv: (name) => void (environment[name] = null),
  };
  for (const callback of callbacks) callback(task);
  const isSame = task.command.length === command.length && task.command.every((word, index) => word === command[index]);
  return { environment, ...(isSame ? {} : { command: task.command.map(String) }) };
}
