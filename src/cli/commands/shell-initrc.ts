/**
 * `flux shell-initrc FILE`: runs a user's start-up file for job shells and says on standard output, as JSON, what it wants,
 * and then what it says to each thing that happens (`shell/initrc-process.ts`). Started by job shells. A module's default
 * export is called with one object, `RcShell`; other files are Lua.
 */
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { RC_LINE_MARK } from "../../shell/initrc-process.ts";
import { CommandExit, defineCommand, type Command, type CommandContext } from "../framework/command.ts";

/** Levels of messages that everybody sees. */
const LEVELS = { error: 3, notice: 5 } as const;

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

/** What has happened; for topics of tasks with the facts of the task, by the names of flux-shell-initrc(5). */
export interface RcEvent {
  readonly topic: string;
  readonly task?: JsonObject;
}

/** Returning false is failing. */
export type RcListener = (event: RcEvent) => unknown;

const LATER_TOPICS: readonly string[] = [
  "task.fork",
  "shell.start",
  "task.exit",
  "shell.tasks-complete",
  "shell.finish",
  "shell.exit",
];

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
  /** Calls back when one of `LATER_TOPICS` happens. */
  on(topic: string, listener: RcListener): void;
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
    try {
      return await (MODULE_NAME.test(path) ? runModule(context, path) : runLua(path));
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

/** What the job shell tells: first the facts, then what happens. Throws FluxError EPROTO. */
async function* happenings(): AsyncGenerator<JsonObject> {
  for await (const line of createInterface({ input: process.stdin })) {
    const happening = parseJson(line);
    if (isJsonObject(happening)) yield happening;
  }
}

async function runLua(path: string): Promise<number> {
  const [{ runLuaFile }, { builtinValues }] = await Promise.all([
    import("../framework/lua-file.ts"),
    import("../framework/builtin-values.ts"),
  ]);
  async function* inLuaNames(): AsyncGenerator<JsonObject> {
    for await (const told of happenings())
      yield "topic" in told ? told : luaFacts(told, builtinValues()["shell_pluginpath"]);
  }
  return runLuaFile(path, inLuaNames());
}

async function runModule(context: CommandContext, path: string): Promise<number> {
  const answer = (value: object): void => context.out(`\n${RC_LINE_MARK}${stringifyJson(value as JsonObject)}\n`);
  // A path, not a URL: in a bundle this is a require, which knows no URLs.
  const module = (await import(resolve(path))) as { default?: unknown };
  if (typeof module.default !== "function") return context.fail("the module has no function as its default export");
  let file: RcFile | null = null;
  for await (const told of happenings()) {
    if (file !== null) answer(await file.happened(told as object as RcEvent));
    else {
      file = new RcFile(told);
      answer(await file.report(module.default as (shell: RcShell) => unknown));
    }
  }
  return 0;
}

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

/** A module, and what it has said. */
class RcFile {
  readonly #facts: JsonObject;
  readonly #environment: Record<string, string>;
  readonly #changes: Changes = {};
  readonly #taskCallbacks: ((task: RcTask) => void)[] = [];
  readonly #listeners = new Map<string, RcListener[]>();
  #log: object[] = [];

  constructor(facts: JsonObject) {
    this.#facts = facts;
    this.#environment = { ...(facts["environment"] as Record<string, string>) };
  }

  async report(file: (shell: RcShell) => unknown): Promise<object> {
    const shell = this.#shell();
    const tasks: Record<string, object> = {};
    const refusal = await this.#refusalOf(async () => {
      await file(shell);
      for (const facet of this.#facts["tasks"] as { rank: number; localId: number }[])
        tasks[facet.rank] = taskReport(facet, shell.info["command"] as string[], this.#taskCallbacks);
    });
    const topics = Object.fromEntries([...this.#listeners.keys()].map((topic) => [topic, true]));
    return { options: shell.options, environment: this.#changes, tasks, log: this.#takeLog(), refusal, topics };
  }

  async happened(event: RcEvent): Promise<object> {
    let failed = false;
    const refusal = await this.#refusalOf(async () => {
      for (const listener of this.#listeners.get(event.topic) ?? []) failed ||= !(await this.#isWell(listener, event));
    });
    return { log: this.#takeLog(), failed, refusal };
  }

  async #isWell(listener: RcListener, event: RcEvent): Promise<boolean> {
    try {
      return (await listener(event)) !== false;
    } catch (error) {
      if (error instanceof Refusal) throw error;
      this.#say("error", `${event.topic}: ${String(error)}`);
      return false;
    }
  }

  async #refusalOf(action: () => Promise<void>): Promise<string | null> {
    try {
      await action();
      return null;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return error.message;
    }
  }

  #say(level: keyof typeof LEVELS, message: string): void {
    this.#log.push({ level: LEVELS[level], message, component: "initrc" });
  }

  #takeLog(): object[] {
    const log = this.#log;
    this.#log = [];
    return log;
  }

  #set(name: string, value: string | null): void {
    this.#changes[name] = value;
    if (value === null) delete this.#environment[name];
    else this.#environment[name] = value;
  }

  #on(topic: string, listener: RcListener): void {
    if (!LATER_TOPICS.includes(topic)) throw new Error(`there is no topic '${topic}', but ${LATER_TOPICS.join(", ")}`);
    this.#listeners.set(topic, [...(this.#listeners.get(topic) ?? []), listener]);
  }

  #shell(): RcShell {
    const environment = this.#environment;
    return {
      info: this.#facts["info"] as JsonObject,
      options: (this.#facts["options"] ?? {}) as Record<string, JsonValue>,
      getenv: (name) => environment[name],
      setenv: (name, value) => this.#set(name, String(value)),
      unsetenv: (name) => this.#set(name, null),
      prependPath: (name, directory) =>
        this.#set(name, environment[name] === undefined ? directory : `${directory}:${environment[name]}`),
      onTask: (callback) => void this.#taskCallbacks.push(callback),
      on: (topic, listener) => this.#on(topic, listener),
      log: (message) => this.#say("notice", String(message)),
      die: (message) => {
        throw new Refusal(message);
      },
    };
  }
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
