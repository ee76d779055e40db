/**
 * Formats that have a name: those a command knows, and those of configuration files (`flux-jobs.toml`, `.yaml`, `.json`) in the
 * user's and the system's configuration directories.
 */
import { readFileSync } from "node:fs";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";

export interface NamedFormat {
  readonly description: string;
  readonly format: string;
}

/** Where formats of a command are configured: `FILE.toml` (or `.yaml`, `.json`), under `formats` or `SECTION.formats`. */
export interface FormatSource {
  readonly file: string;
  readonly section?: string;
}

/** Columns for names in the list of formats, at least. */
const NAME_WIDTH = 12;

type Formats = Readonly<Record<string, NamedFormat>>;
type Environment = Readonly<Record<string, string>>;

/**
 * The format that was asked for by its name or in full. What is wrong with a configuration file is told whatever is asked
 * for. Throws FluxError EINVAL.
 */
export async function findFormat(
  source: FormatSource,
  requested: string,
  known: Formats,
  env: Environment,
): Promise<string> {
  const own = await configuredFormats(source, known, env);
  if (requested.includes("{")) return requested;
  if (Object.hasOwn(known, requested)) return known[requested]!.format;
  if (Object.hasOwn(own, requested)) return own[requested]!.format;
  throw new FluxError("EINVAL", `--format: No such format ${requested} (Did you mean '{${requested}}'?)`);
}

/** The answer to `--format=help` and `--format=get-config=NAME`; null for other formats. */
export async function formatHelp(
  program: string,
  source: FormatSource,
  requested: string,
  known: Formats,
  env: Environment,
): Promise<string | null> {
  const name = /^get-config=(.*)$/.exec(requested)?.[1];
  if (name === undefined && requested !== "help") return null;
  const all = { ...known, ...(await configuredFormats(source, known, env)) };
  if (name === undefined) {
    const width = Math.max(NAME_WIDTH, ...Object.keys(all).map((each) => each.length));
    const lines = Object.entries(all).map(
      ([each, { description }]) => `  ${each.padEnd(width)}${description && ` ${description}`}\n`,
    );
    return `\nConfigured ${program} output formats:\n\n${lines.join("")}`;
  }
  const format = Object.hasOwn(all, name) ? all[name] : undefined;
  if (format === undefined) throw new FluxError("EINVAL", `--format: No such format ${name}`);
  const text = (value: string): string => JSON.stringify(value);
  const prefix = source.section === undefined ? "" : `${source.section}.`;
  return `[${prefix}formats.${name}]\ndescription = ${text(format.description)}\nformat = ${text(format.format)}\n`;
}

async function configuredFormats(source: FormatSource, known: Formats, env: Environment): Promise<Formats> {
  const formats: Record<string, NamedFormat> = {};
  for (const { path, config } of await readConfigs(source.file, env)) {
    const refuse = (text: string): never => {
      throw new FluxError("EINVAL", `${path}: ${text}`);
    };
    const stray = Object.keys(config).find((key) => key !== "formats");
    if (source.section === undefined && stray !== undefined) refuse(`invalid key ${stray}`);
    const section = source.section === undefined ? config : config[source.section];
    const given = isJsonObject(section) ? (section["formats"] ?? {}) : {};
    if (!isJsonObject(given)) return refuse("the 'formats' key must be a mapping");
    for (const [name, value] of Object.entries(given)) {
      if (Object.hasOwn(known, name)) refuse(`override of builtin format '${name}' not permitted`);
      if (!isJsonObject(value)) return refuse(`'formats.${name}' must be a mapping`);
      const { format, description } = value;
      if (format === undefined) refuse(`formats.${name}: required key 'format' missing`);
      if (typeof format !== "string") return refuse(`formats.${name}: 'format' key must be a string`);
      formats[name] = { description: String(description ?? ""), format };
    }
  }
  return formats;
}

/** The configuration files of a command, those that count more last. */
export async function readConfigs(file: string, env: Environment): Promise<{ path: string; config: JsonObject }[]> {
  const home = env["XDG_CONFIG_HOME"] || `${env["HOME"] ?? ""}/.config`;
  const directories = [home, ...(env["XDG_CONFIG_DIRS"] || "/etc/xdg").split(":")].reverse();
  const configs: { path: string; config: JsonObject }[] = [];
  for (const directory of directories)
    for (const ending of ["json", "toml", "yaml"]) {
      const path = `${directory}/flux/${file}.${ending}`;
      const config = await readConfig(path);
      if (config !== null) configs.push({ path, config });
    }
  return configs;
}

async function readConfig(path: string): Promise<JsonObject | null> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT" || (error as { code?: string }).code === "ENOTDIR") return null;
    throw new FluxError("EIO", `${path} cannot be read`, { cause: error });
  }
  if (path.endsWith(".toml")) return (await import("../../formats/toml.ts")).parseToml(text, path);
  if (path.endsWith(".yaml")) return (await import("../../formats/yaml-mapping.ts")).parseYamlMapping(text, path);
  return parseObject(text, path);
}

function parseObject(text: string, path: string): JsonObject {
  try {
    const value = parseJson(text);
    if (isJsonObject(value)) return value;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError("EINVAL", `${path}: ${error.message}`, { cause: error });
  }
  throw new FluxError("EINVAL", `${path} is not an object`);
}
