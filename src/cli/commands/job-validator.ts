/**
 * `flux job-validator` and `flux job-frobnicator`: what the ingest service does to a job, for lines of JSON on standard
 * input; the service itself runs them as worker programs where plugins are not built in (flux-config-ingest(5)).
 *
 * A plugin is a built-in name, a JavaScript or TypeScript module that exports `validate(job)` or `frob(job)`, or a Python
 * file for the bindings of flux-core, which then do the whole work where they are installed.
 */
import { pathToFileURL } from "node:url";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { commandEnvironment } from "../../broker/environment.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { parsePolicyConfig } from "../../formats/policy-config.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { FROBNICATORS, frobnicate } from "../../services/job-ingest/frobnicate.ts";
import { validatorArguments } from "../../services/job-ingest/settings.ts";
import { validate, VALIDATORS } from "../../services/job-ingest/validate.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { pythonJson } from "../output/python-json.ts";
import { runInEnvironment } from "./env.ts";

const COMMON: readonly OptionSpec[] = [
  { names: ["jobspec-only"], help: "Expect only JSON encoded jobspec on stdin" },
  { names: ["list-plugins"], help: "List available plugins and exit" },
  { names: ["plugins", "plugin"], argument: "PLUGINS", repeatable: true, help: "Use these plugins, in this order" },
];

const validator: Command = defineCommand({
  name: "job-validator",
  dialect: "argparse",
  summary: "Validate Flux jobs from lines of JSON input on stdin",
  options: [
    ...COMMON,
    { names: ["require-version"], argument: "V", help: "Require jobspec version V (or any)" },
    {
      names: ["require-instance-minnodes"],
      argument: "N",
      help: "minimum node count that requires flux-batch/alloc be used. default: 0",
    },
    {
      names: ["require-instance-mincores"],
      argument: "N",
      help: "minimum core count that requires flux-batch/alloc be used. default: 0",
    },
  ],
  run: runValidator,
});

const frobnicator: Command = defineCommand({
  name: "job-frobnicator",
  dialect: "argparse",
  summary: "Modify Flux jobs from lines of JSON input on stdin",
  options: COMMON,
  run: runFrobnicator,
});

export const commands: Readonly<Record<string, Command>> = {
  "job-validator": validator,
  "job-frobnicator": frobnicator,
};

/** What a plugin says of a job: undefined or null where it has nothing against it, else why. Throws the same. */
type Judge = (job: JsonObject) => Promise<JsonValue | void> | JsonValue | void;

async function runValidator(context: CommandContext): Promise<number | void> {
  const names = pluginsOf(context, ["jobspec"]);
  if (context.options.has("list-plugins")) {
    const lines = VALIDATORS.map(({ name, summary }) => `${name.padEnd(21)} ${summary}\n`);
    return context.out(`Available plugins:\n${lines.join("")}`);
  }
  if (names.some((name) => name.endsWith(".py"))) return runPython(context, "validator", names);
  const judges: Judge[] = [];
  for (const name of names) judges.push(await judgeOf(context, name));
  return forEachJob(context, async (job) => {
    const reasons: string[] = [];
    for (const judge of judges) {
      try {
        const reason = await judge(job);
        if (typeof reason === "string" && reason !== "") reasons.push(reason);
      } catch (error) {
        reasons.push(errorText(error));
      }
    }
    return reasons.length === 0 ? { errnum: 0 } : { errnum: 1, errstr: reasons.join(", ") };
  });
}

async function judgeOf(context: CommandContext, name: string): Promise<Judge> {
  if (name === "feasibility") {
    const handle = await context.open();
    return async ({ jobspec }) => void (await handle.rpc("feasibility.check", { jobspec }));
  }
  if (!VALIDATORS.some((plugin) => plugin.name === name)) return pluginFunction(context, "validator", name, "validate");
  const { options } = context;
  const given = ["require-version", "require-instance-minnodes", "require-instance-mincores"];
  const args = given.flatMap((option) => (options.has(option) ? [`--${option}=${options.text(option)}`] : []));
  const settings = { ...argumentsOf(context, args), plugins: [name] };
  const hosts = await hostsOf(context);
  return ({ jobspec }) => void validate(jobspec ?? null, settings, () => hosts);
}

function argumentsOf(context: CommandContext, args: readonly string[]): ReturnType<typeof validatorArguments> {
  try {
    return validatorArguments({ args, table: {} });
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    return context.fail(error.message);
  }
}

/** The hosts of the instance, where there is one: jobspecs can be validated without. */
async function hostsOf(context: CommandContext): Promise<Hostlist | null> {
  if (context.host.env["FLUX_URI"] === undefined) return null;
  const handle = await context.open();
  const hosts = Hostlist.tryParse(await getAttribute(handle, "hostlist"));
  return hosts === null || hosts.isEmpty ? null : hosts;
}

async function runFrobnicator(context: CommandContext): Promise<number | void> {
  const names = pluginsOf(context, FROBNICATORS);
  if (context.options.has("list-plugins")) {
    const lines = ["constraints", "defaults"].map(
      (name) => `${name.padEnd(21)} Apply ${name} to incoming jobspec based on broker config.\n`,
    );
    return context.out(`Available plugins:\n${lines.join("")}`);
  }
  if (names.some((name) => name.endsWith(".py"))) return runPython(context, "frobnicator", names);
  const handle: Handle = await context.open();
  const policy = parsePolicyConfig(await handle.rpc<JsonObject>("config.get"));
  const changes: ((job: JsonObject) => Promise<JsonValue>)[] = [];
  for (const name of names) {
    if (FROBNICATORS.includes(name)) changes.push(async ({ jobspec }) => frobnicate(jobspec ?? null, [name], policy));
    else {
      const frob = await pluginFunction(context, "frobnicator", name, "frob");
      changes.push(async (job) => (await frob(job)) ?? job["jobspec"] ?? null);
    }
  }
  return forEachJob(context, async (job) => {
    let { jobspec = null } = job;
    try {
      for (const change of changes) jobspec = await change({ ...job, jobspec });
      return { errnum: 0, data: jobspec };
    } catch (error) {
      return { errnum: 1, errstr: errorText(error) };
    }
  });
}

function pluginsOf(context: CommandContext, fallback: readonly string[]): readonly string[] {
  const { options } = context;
  if (!options.has("plugins")) return fallback;
  return options
    .list("plugins")
    .flatMap((text) => text.split(","))
    .filter((name) => name !== "");
}

/** The function that a module exports. Ends the command where there is none. */
async function pluginFunction(
  context: CommandContext,
  kind: string,
  name: string,
  exported: "validate" | "frob",
): Promise<Judge> {
  if (!/\.(?:js|mjs|cjs|ts|mts)$/.test(name)) return context.fail(`${kind} plugin '${name}' not found`);
  try {
    const module = (await import(pathToFileURL(name).href)) as Record<string, unknown>;
    const found = module[exported] ?? module["default"];
    if (typeof found === "function") return found as Judge;
  } catch (error) {
    return context.fail(`${kind} plugin '${name}': ${errorText(error)}`);
  }
  return context.fail(`${kind} plugin '${name}' exports no function ${exported}`);
}

/** Hands lines of JSON on, and prints the answers. Resolves with the exit code. */
async function forEachJob(
  context: CommandContext,
  work: (job: JsonObject) => Promise<JsonObject>,
): Promise<number | void> {
  const isBare = context.options.has("jobspec-only");
  let exitCode = 0;
  for await (const line of inputLines(context)) {
    const value = parseJson(line);
    if (!isJsonObject(value)) return context.fail("input is not an object");
    const isWhole = ["jobspec", "userid", "urgency", "flags"].every((key) => value[key] !== undefined);
    if (!isBare && !isWhole) return context.fail("Missing keys in input. Did you mean to use --jobspec-only?");
    const { uid: userid } = context.host;
    const answer = await work(isBare ? { jobspec: value, userid, rolemask: 1, urgency: 16, flags: 0 } : value);
    if (isBare && answer["errnum"] !== 0) exitCode = 1;
    context.out(`${pythonJson(answer)}\n`);
    await context.flush();
  }
  return exitCode;
}

async function* inputLines(context: CommandContext): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of context.inputChunks()) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line.trim() !== "") yield line;
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield rest;
}

/** The same loop for plugins that are written against the Python bindings of flux-core. */
const PYTHON = {
  validator: `
import json, sys
from flux.job.validator.validator import JobValidator
worker = JobValidator(sys.argv[1:])
worker.start()
for line in sys.stdin:
    answer = worker.validate(json.loads(line))
    if hasattr(answer, "result"):
        answer = answer.result()
    print(json.dumps({"errnum": 0} if answer.success else {"errnum": 1, "errstr": answer.errmsg}), flush=True)
`,
  frobnicator: `
import json, sys
from flux.job.frobnicator.frobnicator import JobFrobnicator
worker = JobFrobnicator(sys.argv[1:])
worker.start()
for line in sys.stdin:
    job = json.loads(line)
    try:
        worker.frob(job["jobspec"], job["userid"], job["urgency"], job["flags"])
        print(json.dumps({"errnum": 0, "data": job["jobspec"]}), flush=True)
    except Exception as error:
        print(json.dumps({"errnum": 1, "errstr": str(error)}), flush=True)
`,
};

function runPython(context: CommandContext, kind: keyof typeof PYTHON, names: readonly string[]): Promise<number> {
  const { host, options } = context;
  const given = options.given.filter(({ name, value }) => value !== null && name !== "plugins");
  const args = [`--plugins=${names.join(",")}`, ...given.map(({ name, value }) => `--${name}=${value}`)];
  const python = host.env["FLUX_PYTHON"] ?? "python3";
  const env = commandEnvironment(host.env, host.fluxPath);
  return runInEnvironment(context, [python, "-c", PYTHON[kind], ...args], env);
}
