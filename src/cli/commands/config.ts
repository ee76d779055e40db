/** `flux config`: the configuration of an instance (flux-config(1)). */
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, parseJson, stringifyJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { utf8Decode } from "../../base/bytes.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { builtinValue } from "../framework/builtin-values.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const FSD_TYPES = ["fsd", "fsd-integer", "fsd-real"];
const TYPES = ["string", "integer", "real", "boolean", "object", "array", ...FSD_TYPES];

const get: Command = {
  name: "get",
  dialect: "getopt",
  summary: "Query broker configuration values",
  description: "Query broker configuration values",
  usage: "[OPTIONS] [NAME]",
  options: [
    { names: ["default"], short: "d", argument: "VALUE", help: "Set value to use if config key does not exist" },
    { names: ["quiet"], short: "q", help: "Suppress printing errors if config key does not exist" },
    {
      names: ["type"],
      short: "t",
      argument: "TYPE",
      help: "Set expected type (any, string, integer, real, boolean, object, array, fsd, fsd-integer, fsd-real)",
    },
    { names: ["config-path"], short: "c", argument: "PATH", help: "Get broker config from PATH" },
  ],
  operands: [{ name: "NAME", arity: "?" }],
  run: async (context) => {
    const { options, operands } = context;
    const type = options.text("type") ?? "any";
    if (type !== "any" && !TYPES.includes(type)) context.fail(`Unknown type: ${type}`);
    const [name] = operands;
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

async function configOf(context: CommandContext): Promise<JsonObject> {
  const path = context.options.text("config-path");
  if (path === null) return (await context.open()).rpc<JsonObject>("config.get");
  const { loadConfigPath } = await import("../../broker/configuration.ts");
  const { disk } = await context.ports();
  return loadConfigPath(disk, path);
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
  summary: "Load broker configuration",
  description: "Load broker configuration",
  usage: "[PATH]",
  operands: [{ name: "PATH", arity: "?" }],
  run: async (context) => {
    const config = await configToLoad(context, context.operands[0]);
    const handle = await context.open();
    await handle.rpc("config.load", config).catch((error: unknown) => context.fail(`load: ${errorText(error)}`));
  },
};

async function configToLoad(context: CommandContext, path: string | undefined): Promise<JsonObject> {
  if (path !== undefined) {
    const { loadConfigPath } = await import("../../broker/configuration.ts");
    return loadConfigPath((await context.ports()).disk, path);
  }
  const text = utf8Decode(await context.readInput());
  try {
    const value = parseJson(text);
    if (isJsonObject(value)) return value;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
  }
  const { parseToml } = await import("../../formats/toml.ts");
  return parseToml(text, "stdin");
}

const reload: Command = {
  name: "reload",
  dialect: "getopt",
  summary: "Reload broker configuration from files",
  description: "Reload broker configuration from files",
  usage: "[OPTIONS]",
  options: [{ names: ["follower-noop"], help: "Exit with success if this broker is a follower" }],
  run: async (context) => {
    const handle = await context.open();
    const { value } = await handle.rpc<{ value: string }>("attr.get", { name: "rank" });
    if (context.options.has("follower-noop") && value !== "0") return;
    await handle.rpc("config.reload").catch((error: unknown) => context.fail(`reload: ${errorText(error)}`));
  },
};

const set: Command = {
  name: "set",
  dialect: "getopt",
  summary: "Set broker configuration value",
  description: "Set broker configuration value",
  usage: "[OPTIONS] NAME VALUE",
  options: [{ names: ["type"], short: "t", argument: "TYPE", help: "Set value type" }],
  operands: [
    { name: "NAME", arity: "1" },
    { name: "VALUE", arity: "1" },
  ],
  run: async (context) => {
    const [name, text] = context.operands;
    if (name === undefined || text === undefined) return context.failUsage();
    const handle = await context.open();
    const config = await handle.rpc<JsonObject>("config.get");
    const before = memberAt(config, name.split("."));
    const type = context.options.text("type") ?? (before === undefined ? "any" : typeOf(before));
    await handle.rpc("config.load", withMember(config, name.split("."), valueFrom(context, text, type)));
  },
};

function valueFrom(context: CommandContext, text: string, type: string): JsonValue {
  if (type === "string" || type === "fsd") return text;
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    return type === "any" ? text : context.fail(`'${text}' is not a value of type ${type}`);
  }
}

/** `undefined` removes the member. */
function withMember(config: JsonObject, path: readonly string[], value: JsonValue | undefined): JsonObject {
  const [key, ...rest] = path;
  const copy: Record<string, JsonValue | undefined> = { ...config };
  const inner = copy[key!];
  copy[key!] = rest.length === 0 ? value : withMember(isJsonObject(inner) ? inner : {}, rest, value);
  return copy;
}

const unset: Command = {
  name: "unset",
  dialect: "getopt",
  summary: "Unset broker configuration value",
  description: "Unset broker configuration value",
  usage: "NAME",
  operands: [{ name: "NAME", arity: "1" }],
  run: async (context) => {
    const [name] = context.operands;
    if (name === undefined) return context.failUsage();
    const handle = await context.open();
    const config = await handle.rpc<JsonObject>("config.get");
    if (memberAt(config, name.split(".")) === undefined) context.fail(`${name} is not set`);
    await handle.rpc("config.load", withMember(config, name.split("."), undefined));
  },
};

export const command: Command = defineCommand({
  name: "config",
  usageProgram: "flux config",
  dialect: "getopt",
  summary: "Manage configuration",
  description: "Manage configuration",
  usage: "COMMAND [OPTIONS]",
  subcommands: [load, reload, get, builtin, set, unset],
});
