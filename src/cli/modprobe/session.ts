/**
 * One run of `flux modprobe`: what is known of the broker, what rc files have asked for, and the carrying out of a plan,
 * step by step.
 */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, type JsonObject, type JsonValue } from "../../base/json.ts";
import { BUILTIN_SERVICES, DEFAULT_PERSONALITY } from "../../broker/personality.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Kvs } from "../../sdk/kvs.ts";
import type { CommandContext } from "../framework/command.ts";
import type { Answers } from "../framework/python-program.ts";
import { readCatalog } from "./catalog.ts";
import { planOf, type Plan, type Wish } from "./plan.ts";
import { RcProgram } from "./rc-program.ts";
import { unitOf, type Circumstances, type Unit, type UnitTable } from "./units.ts";

/** Services that end with the broker: they are no business of rc files. */
const BUILT_IN: ReadonlySet<string> = new Set(BUILTIN_SERVICES);

/** How long a step took; in seconds, `starttime` since the command began. */
interface Timing {
  readonly name: string;
  readonly starttime: number;
  readonly duration: number;
}

export class Session {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #attributes: ReadonlySet<string>;
  readonly #config: JsonObject;
  readonly #wanted: string[] = [];
  readonly #tasks: Unit[] = [];
  readonly #timings: Timing[] = [];
  #removing: readonly string[] | null = null;
  #program: RcProgram | null = null;
  readonly rank: number;
  readonly isVerbose: boolean;
  readonly table: UnitTable;
  /** Modules that are loaded, in the order of loading, but for those that are part of every broker. */
  readonly loaded: readonly string[];

  constructor(context: CommandContext, handle: Handle, known: Awaited<ReturnType<typeof ask>>) {
    this.#context = context;
    this.#handle = handle;
    this.#attributes = new Set(known.attributes);
    this.#config = known.config;
    this.rank = known.rank;
    this.loaded = known.modules.filter((name) => !BUILT_IN.has(name));
    this.isVerbose = context.options.has("verbose");
    this.table = readCatalog(context.host.env, known.config, (text) => this.#tell(text));
  }

  static async open(context: CommandContext): Promise<Session> {
    const handle = await context.open();
    return new Session(context, handle, await ask(handle));
  }

  /** Reads rc files and lets each say what it wants. Rejects with what a file or its `setup` raised. */
  async read(paths: readonly string[]): Promise<void> {
    const program = (this.#program = new RcProgram(this.#answers()));
    await program.start(this.#context, [String(this.rank), this.isVerbose ? "verbose" : "quiet"]);
    for (const path of paths) {
      this.#tell(`loading ${path}`);
      const absolute = resolve(this.#context.host.cwd, path);
      await readFile(absolute).catch((error: NodeJS.ErrnoException) => {
        throw error.code === "ENOENT"
          ? new FluxError("ENOENT", `No such file or directory: '${absolute}'`)
          : new FluxError("EIO", errorText(error));
      });
      for (const declared of await program.read(absolute)) {
        const task = unitOf(declared, "task");
        this.table.add(task);
        this.#tasks.push(task);
      }
    }
    await program.setup();
  }

  wantLoaded(names: readonly string[]): void {
    this.#wanted.push(...names);
  }

  /** The services of a complete instance, with the backing store that the broker was told to use. */
  async wantDefaults(): Promise<void> {
    if (this.#attributes.has("content.backing-module")) {
      this.table.choose("content-backing", await getAttribute(this.#handle, "content.backing-module"));
    }
    const services: Readonly<Record<string, string>> = { "content-sqlite": "content-backing", "sched-simple": "sched" };
    this.wantLoaded(DEFAULT_PERSONALITY.map(({ name }) => services[name] ?? name));
  }

  wantRemoved(names: readonly string[]): void {
    this.#removing = names;
  }

  async plan(): Promise<Plan> {
    const direction = this.#removing === null ? "load" : "remove";
    const wish: Wish = {
      direction,
      modules: this.#removing ?? this.#wanted,
      tasks: this.#tasks,
      loaded: new Set(this.loaded),
    };
    const { env } = this.#context.host;
    const circumstances: Circumstances = {
      rank: this.rank,
      hasAttribute: (name) => this.#attributes.has(name),
      hasConfig: (key) => this.#configured(key) !== undefined,
      hasVariable: (name) => env[name] !== undefined || brokerEnvironment[name] !== undefined,
    };
    const brokerEnvironment = await this.#brokerEnvironment();
    return planOf(this.table, wish, circumstances);
  }

  /** What a step would be called in a list. */
  describe(step: Unit): string {
    if (step.module === null) return `run ${step.name}`;
    return this.#removing === null
      ? ["load", step.name, ...this.#argumentsOf(step.name)].join(" ")
      : `remove ${step.name}`;
  }

  /** Does all steps whose predecessors succeeded; says which failed. Resolves with whether all succeeded. */
  async execute({ steps, predecessors }: Plan): Promise<boolean> {
    const missing = new Set<string>();
    for (const step of steps) {
      if ([...predecessors.get(step.name)!].some((name) => missing.has(name))) {
        missing.add(step.name);
        continue;
      }
      const starttime = performance.now() / 1000;
      try {
        await this.#do(step);
      } catch (error) {
        missing.add(step.name);
        this.#context.err(`${step.name}: ${errorText(error)}\n`);
      }
      this.#timings.push({ name: step.name, starttime, duration: performance.now() / 1000 - starttime });
    }
    return missing.size === 0;
  }

  /** Leaves in the key-value store how long each step took. */
  async storeTimings(): Promise<void> {
    if (this.rank === 0) await new Kvs(this.#handle).put("modprobe.stats", this.#timings);
  }

  async close(): Promise<void> {
    await this.#program?.close();
  }

  async #do(step: Unit): Promise<void> {
    if (step.module === null) {
      this.#tell(`start ${step.name}`);
      await this.#program?.run(step.name);
      return this.#tell(`completed ${step.name}`);
    }
    if (this.#removing !== null) {
      this.#tell(`remove ${step.name}`);
      await this.#handle.rpc("module.remove", { name: step.name });
      return;
    }
    const payload = {
      path: step.module,
      args: this.#argumentsOf(step.name),
      ...(step.module === step.name ? {} : { name: step.name }),
      ...(step.exec ? { exec: true } : {}),
    };
    this.#tell(`load ${[step.module, ...payload.args].join(" ")}`);
    await this.#handle.rpc("module.load", payload);
    this.#tell(`loaded ${step.name}`);
  }

  #tell(text: string): void {
    if (this.isVerbose) this.#context.err(`${text}\n`);
  }

  /** The arguments of a module at this moment, those that were given for a service it provides among them. */
  #argumentsOf(name: string): readonly string[] {
    return this.table.find(name)?.args ?? [];
  }

  #configured(key: string): JsonValue | undefined {
    return memberAt(this.#config, key.split("."));
  }

  /** The variables that conditions of tasks and modules speak of, as the broker has them. */
  async #brokerEnvironment(): Promise<JsonObject> {
    const names = [...this.table.units].flatMap(({ needsEnv }) => needsEnv).map((name) => name.replace(/^!/, ""));
    if (names.length === 0) return {};
    const { env } = await this.#handle.rpc<{ env: JsonObject }>("broker.getenv", { names });
    return env;
  }

  #answers(): Answers {
    const { table } = this;
    const done = (action: () => void): null => {
      action();
      return null;
    };
    return {
      "attr-get": async ({ name }) =>
        this.#attributes.has(textOf(name)) ? getAttribute(this.#handle, textOf(name)) : null,
      "config-get": ({ key }) => this.#configured(textOf(key)) ?? null,
      rpc: ({ topic, payload, nodeid }) =>
        this.#handle.rpc(
          textOf(topic),
          isJsonObject(payload) ? payload : undefined,
          typeof nodeid === "number" ? { nodeid } : {},
        ),
      "set-options": ({ module, options, overwrite }) =>
        done(() => {
          const old = overwrite === true ? [] : this.#argumentsOf(textOf(module));
          table.update(textOf(module), { args: [...old, ...textsOf(options)] });
        }),
      "get-options": ({ modules }) => textsOf(modules).flatMap((name) => this.#argumentsOf(name)),
      "load-modules": ({ modules }) => done(() => this.wantLoaded(textsOf(modules))),
      "remove-modules": ({ modules }) =>
        done(() => this.wantRemoved(Array.isArray(modules) ? textsOf(modules) : this.loaded)),
      choose: ({ service, name }) => done(() => table.choose(textOf(service), textOf(name))),
      enable: ({ name }) => done(() => table.enable(textOf(name))),
      disable: ({ name }) => done(() => table.disable(textOf(name))),
    };
  }
}

/** What a run needs to know of the broker. */
async function ask(
  handle: Handle,
): Promise<{ rank: number; attributes: string[]; modules: string[]; config: JsonObject }> {
  const [rank, attributes, modules, config] = await Promise.all([
    getAttribute(handle, "rank"),
    handle.rpc<{ names: string[] }>("attr.list"),
    handle.rpc<{ mods: { name: string }[] }>("module.list"),
    handle.rpc<JsonObject>("config.get"),
  ]);
  return {
    rank: Number(rank),
    attributes: attributes.names,
    modules: modules.mods.map(({ name }) => name),
    config,
  };
}

function textOf(value: JsonValue | undefined): string {
  if (typeof value !== "string") throw new FluxError("EINVAL", "a text is expected");
  return value;
}

function textsOf(value: JsonValue | undefined): string[] {
  if (!Array.isArray(value)) throw new FluxError("EINVAL", "a list of texts is expected");
  return value.map(textOf);
}
