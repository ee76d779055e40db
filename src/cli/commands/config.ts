/** `flux config`: the configuration of an instance (flux-config(1)). */
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { utf8Decode } from "../../base/bytes.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { builtinValue } from "../framework/builtin-values.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { getAttribute } from "../../sdk/attributes.ts";

const FSD_TYPES = ["fsd", "fsd-integer", "fsd-real"];
const TYPES = ["string", "integer", "real", "boolean", "object", "array", ...FSD_TYPES];

const get: Command = {
  name: "get",
  dialect: "getopt",
  summary: "Query broker configuration values",
  description: "Query broker configuration values",
  usage: "[OPTIONS] [NAME]",
  options: [
    {
      names: ["config-path"],
      short: "c",
      argument: "PATH|system|security|imp",
      help: "Get broker config from PATH (default: use live config)",
    },
    {
      names: ["type"],
      short: "t",
      argument: "TYPE",
      help: "Set expected type (any, string, integer, real, boolean, object, array, fsd, fsd-integer, fsd-real)",
    },
    { names: ["quiet"], short: "q", help: 'Suppress printing of "[key] is not set" errors.' },
    { names: ["default"], short: "d", argument: "VAL", help: "Use this value if config key is unset" },
  ],
  operands: [{ name: "NAME", arity: "?" }],
  run: async (context) => {
    const { options, operands } = context;
    const type = options.text("type") ?? "any";
    if (type !== "any" && !TYPES.includes(type)) context.fail(`Unknown type: ${type}`);
    const [name, ...others] = operands;
    if (others.length > 0) return context.failUsage();
    if (name?.split(".").includes("") === true) context.fail(`${name}: Invalid argument`);
    const value = name === undefined ? await configOf(context) : memberAt(await configOf(context), name.split("."));
    if (value === undefined) {
      const fallback = options.text("default");
      if (fallback !== null) {
        context.out(`${fallback}\n`);
        return 0;
      }
      if (!options.has("quiet")) context.complain(`${name} is not set`);
      return 1;
    }
    context.out(`${textOf(context, name ?? "", value, type)}\n`);
    return 0;
  },
};

/** Words for the places where configurations of a system are installed. */
const INSTALLED_CONFIGS = ["system", "security", "imp"];

async function configOf(context: CommandContext): Promise<JsonObject> {
  const path = context.options.text("config-path");
  if (path === null) return (await context.open()).rpc<JsonObject>("config.get");
  return readConfig(context, INSTALLED_CONFIGS.includes(path) ? `${builtinValue("confdir")}/${path}/conf.d` : path);
}

async function readConfig(context: CommandContext, path: string): Promise<JsonObject> {
  const { loadConfigPath } = await import("../../broker/configuration.ts");
  return loadConfigPath((await context.ports()).disk, path);
}

const builtin: Command = {
  name: "builtin",
  dialect: "getopt",
  summary: "Print compiled-in Flux configuration values",
  description: "Print compiled-in Flux configuration values",
  usage: "NAME",
  options: [
    { names: ["intree"], help: "Force in-tree paths to be used" },
    { names: ["installed"], help: "Force installed paths to be used" },
  ],
  operands: [{ name: "NAME", arity: "1" }],
  run: (context) => {
    const [name, ...others] = context.operands;
    if (name === undefined || others.length > 0) return context.failUsage();
    const value = builtinValue(name) ?? context.fail(`${name} is invalid`);
    context.out(`${value}\n`);
  },
};

function typeOf(value: JsonValue): string {
  if (typeof value === "bigint") return "integer";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "real";
  if (Array.isArray(value)) return "array";
  return value === null ? "null" : typeof value;
}

function textOf(context: CommandContext, name: string, value: JsonValue, type: string): string {
  if (FSD_TYPES.includes(type)) return durationText(context, name, value, type);
  const actual = typeOf(value);
  const fits = type === "any" || type === actual || (type === "real" && actual === "integer");
  if (!fits) context.fail(`${name} does not have the requested type`);
  return typeof value === "string" ? value : stringifyJson(value);
}

function durationText(context: CommandContext, name: string, value: JsonValue, type: string): string {
  const seconds = typeof value === "string" ? tryParseFsd(value) : null;
  if (seconds === null) return context.fail(`${name} is not a valid Flux Standard Duration`);
  if (type === "fsd") return String(value);
  return type === "fsd-integer" ? String(Math.trunc(seconds)) : String(seconds);
}

const load: Command = {
  name: "load",
  dialect: "getopt",
  summary: "Load broker configuration from stdin or PATH",
  description: "Load broker configuration from stdin or PATH",
  usage: "[PATH]",
  operands: [{ name: "PATH", arity: "?" }],
  run: async (context) => {
    if (context.operands.length > 1) context.failUsage();
    const config = await configToLoad(context, context.operands[0]);
    await replaceConfig(context, config, "load");
  },
};

/** Hands a whole configuration to the leader; `what` failed where it is refused. */
async function replaceConfig(context: CommandContext, config: JsonObject, what: string): Promise<void> {
  const handle = await context.open();
  await handle.rpc("config.load", config).catch((error: unknown) => context.fail(`${what}: ${errorText(error)}`));
}

async function configToLoad(context: CommandContext, path: string | undefined): Promise<JsonObject> {
  if (path !== undefined)
    try {
      return await readConfig(context, path);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      return context.fail(`Error parsing config: ${error.message}`);
    }
  const text = utf8Decode(await context.readInput());
  try {
    const value = parseJson(text);
    return isJsonObject(value) ? value : context.fail("the configuration on standard input is no JSON object");
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
  const { parseToml } = await import("../../formats/toml.ts");
  try {
    return parseToml(text, "stdin");
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    return context.fail(`TOML parse error: ${error.message}`);
  }
}

const reload: Command = {
  name: "reload",
  dialect: "getopt",
  summary: "Reload broker configuration from files",
  description: "Reload broker configuration from files",
  usage: "[OPTIONS]",
  options: [{ names: ["follower-noop"], help: "Do nothing if run on a non-leader broker (for systemd use)" }],
  run: async (context) => {
    if (context.operands.length > 0) context.failUsage();
    const handle = await context.open();
    if (context.options.has("follower-noop") && (await getAttribute(handle, "rank")) !== "0") return;
    await handle.rpc("config.reload").catch((error: unknown) => context.fail(`reload: ${errorText(error)}`));
  },
};

const set: Command = {
  name: "set",
  dialect: "getopt",
  summary: "Set broker configuration value",
  description: "Set broker configuration value",
  usage: "[OPTIONS] NAME VALUE",
  options: [
    {
      names: ["type"],
      short: "t",
      argument: "TYPE",
      help: "Specify type (string, integer, real, boolean, object, array, fsd)",
    },
  ],
  operands: [
    { name: "NAME", arity: "1" },
    { name: "VALUE", arity: "1" },
  ],
  run: async (context) => {
    const [name, text, ...others] = context.operands;
    if (name === undefined || text === undefined || others.length > 0) return context.failUsage();
    const given = context.options.text("type");
    if (given !== null && given !== "any" && !TYPES.includes(given)) context.fail(`Unknown type: ${given}`);
    const handle = await context.open();
    const config = await handle.rpc<JsonObject>("config.get");
    const path = name.split(".");
    const before = path.includes("") ? undefined : memberAt(config, path);
    const type = given ?? (before === undefined ? null : typeOf(before));
    if (type === null || type === "null") return context.fail("Type is unknown, please specify --type");
    const value = Object.hasOwn(READERS, type)
      ? READERS[type]!(text)
      : context.fail(`Invalid type for the set subcommand: ${type}`);
    if (value === undefined) return context.fail(`Error parsing ${TYPE_NAMES[type] ?? `${type} value`}`);
    await replaceConfig(context, changed(context, config, name, value), "Error updating config object");
  },
};

/** What a text is as a value of each type; undefined where it is none. */
const READERS: Readonly<Record<string, (text: string) => JsonValue | undefined>> = {
  string: (text) => text,
  integer: (text) => {
    if (!/^[+-]?(0x[0-9a-f]+|\d+)$/i.test(text)) return undefined;
    const digits = BigInt(text.replace(/^[+-]/, ""));
    const value = text.startsWith("-") ? -digits : digits;
    if (value !== BigInt.asIntN(64, value)) return undefined;
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  },
  real: (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined),
  boolean: (text) => {
    if (/^(true|yes|on|1)$/i.test(text)) return true;
    return /^(false|no|off|0)$/i.test(text) ? false : undefined;
  },
  object: (text) => jsonOf(text, isJsonObject),
  array: (text) => jsonOf(text, Array.isArray),
  fsd: (text) => (tryParseFsd(text) === null ? undefined : text),
};
const TYPE_NAMES: Readonly<Record<string, string>> = {
  object: "json object",
  array: "json array",
  fsd: "Flux Standard Duration",
};

function jsonOf(text: string, fits: (value: JsonValue) => boolean): JsonValue | undefined {
  try {
    const value = parseJson(text);
    return fits(value) ? value : undefined;
  } catch (error) {
    if (error instanceof FluxError) return undefined;
    throw error;
  }
}

/** The configuration with one value changed; `undefined` removes it. */
function changed(context: CommandContext, config: JsonObject, name: string, value: JsonValue | undefined): JsonObject {
  const path = name.split(".");
  if (path.includes("")) context.fail(`'${name}' is no period-delimited name of a key`);
  return withMember(context, config, path, value, "");
}

function withMember(
  context: CommandContext,
  config: JsonObject,
  path: readonly string[],
  value: JsonValue | undefined,
  above: string,
): JsonObject {
  const key = path[0]!;
  const rest = path.slice(1);
  const inner = Object.hasOwn(config, key) ? config[key] : undefined;
  if (rest.length === 0) {
    if (value !== undefined) return { ...config, [key]: value };
    return Object.fromEntries(Object.entries(config).filter(([name]) => name !== key)) as JsonObject;
  }
  if (inner === undefined && value === undefined) return config;
  if (inner !== undefined && !isJsonObject(inner)) return context.fail(`${above}${key} is set, and is no table`);
  return { ...config, [key]: withMember(context, inner ?? {}, rest, value, `${above}${key}.`) };
}

const unset: Command = {
  name: "unset",
  dialect: "getopt",
  summary: "Unset broker configuration value",
  description: "Unset broker configuration value",
  usage: "NAME",
  operands: [{ name: "NAME", arity: "1" }],
  run: async (context) => {
    const [name, ...others] = context.operands;
    if (name === undefined || others.length > 0) return context.failUsage();
    const handle = await context.open();
    const config = await handle.rpc<JsonObject>("config.get");
    await replaceConfig(context, changed(context, config, name, undefined), "Error updating config object");
  },
};

export const command: Command = defineCommand({
  name: "config",
  usageProgram: "flux config",
  dialect: "getopt",
  summary: "Manage configuration",
  description: "Manage configuration",
  listsUsages: true,
  subcommands: [load, reload, get, set, unset, builtin],
});
