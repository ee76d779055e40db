/**
 * Formats that have a name: those a command knows, and those of configuration files (`flux-jobs.toml`, `.json`) in the
 * user's and the system's configuration directories.
 */
import { readFileSync } from "node:fs";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";

export interface NamedFormat {
  readonly description: string;
  readonly format: string;
}

type Formats = Readonly<Record<string, NamedFormat>>;
type Environment = Readonly<Record<string, string>>;

/** The format that was asked for by its name or in full. Throws FluxError EINVAL. */
export async function findFormat(file: string, requested: string, known: Formats, env: Environment): Promise<string> {
  if (requested.includes("{")) return requested;
  if (Object.hasOwn(known, requested)) return known[requested]!.format;
  const own = await configuredFormats(file, known, env);
  if (Object.hasOwn(own, requested)) return own[requested]!.format;
  throw new FluxError("EINVAL", `--format: No such format ${requested} (Did you mean '{${requested}}'?)`);
}

/** The answer to `--format=help` and `--format=get-config=NAME`; null for other formats. */
export async function formatHelp(
  program: string,
  file: string,
  requested: string,
  known: Formats,
  env: Environment,
): Promise<string | null> {
  const name = /^get-config=(.*)$/.exec(requested)?.[1];
  if (name === undefined && requested !== "help") return null;
  const all = { ...(await configuredFormats(file, known, env)), ...known };
  if (name === undefined) {
    const width = Math.max(...Object.keys(all).map((each) => each.length)) + 3;
    const lines = Object.entries(all).map(([each, { description }]) => `  ${each.padEnd(width)} ${description}\n`);
    return `\nConfigured ${program} output formats:\n\n${lines.join("")}\n`;
  }
  const format = Object.hasOwn(all, name) ? all[name] : undefined;
  if (format === undefined) throw new FluxError("EINVAL", `--format: No such format ${name}`);
  const text = (value: string): string => JSON.stringify(value);
  return `[formats.${name}]\ndescription = ${text(format.description)}\nformat = ${text(format.format)}\n`;
}

async function configuredFormats(file: string, known: Formats, env: Environment): Promise<Formats> {
  const home = env["XDG_CONFIG_HOME"] || `${env["HOME"] ?? ""}/.config`;
  const directories = [home, ...(env["XDG_CONFIG_DIRS"] || "/etc/xdg").split(":")].reverse();
  const formats: Record<string, NamedFormat> = {};
  for (const directory of directories)
    for (const ending of ["json", "toml"]) {
      const path = `${directory}/flux/${file}.${ending}`;
      const config = await readConfig(path);
      for (const [name, value] of Object.entries((config?.["formats"] as JsonObject | undefined) ?? {})) {
        if (Object.hasOwn(known, name))
          throw new FluxError("EINVAL", `${path}: override of internal format ${name} not permitted`);
        if (!isJsonObject(value) || typeof value["format"] !== "string")
          throw new FluxError("EINVAL", `${path}: format '${name}' has no format string`);
        formats[name] = { description: String(value["description"] ?? ""), format: value["format"] };
      }
    }
  return formats;
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
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EINVAL", `${path} is not an object`);
  return value;
}
