/**
 * The environment of a job, built from that of the submitting process by rules (`--env`, `--env-remove`, `--env-file`):
 * `-PATTERN` removes, `^FILE` reads rules from a file, `NAME=VALUE` sets (with `$NAME` and `${NAME}` from what was built so far),
 * `PATTERN` brings back what was removed. A pattern is a shell glob, or a regular expression after `/`.
 *
 * Pure: the process's environment and files come as arguments.
 */
import { FluxError, errorText, isFluxError } from "../../base/errors.ts";
import { globExpression } from "../../formats/glob.ts";

export type Environment = Readonly<Record<string, string>>;

export interface EnvironmentSource {
  readonly env: Environment;
  /** The text of a file. Throws FluxError. */
  readFile(path: string): string;
}

const NESTED_FILES_MAX = 16;

/** Applies rules in order to a copy of the source's environment. Throws FluxError EINVAL. */
export function buildEnvironment(rules: readonly string[], source: EnvironmentSource): Record<string, string> {
  const built: Record<string, string> = { ...source.env };
  applyRules(built, rules, source, 0);
  return built;
}

function applyRules(
  built: Record<string, string>,
  rules: readonly string[],
  source: EnvironmentSource,
  depth: number,
): void {
  for (const rule of rules) {
    if (rule.startsWith("-")) removeMatching(built, rule.slice(1));
    else if (rule.startsWith("^")) {
      if (depth >= NESTED_FILES_MAX)
        throw new FluxError("EINVAL", `--env: ${rule.slice(1)}: files are nested too deeply`);
      applyRules(built, rulesOfFile(rule.slice(1), source), source, depth + 1);
    } else if (rule.includes("=")) {
      const at = rule.indexOf("=");
      built[rule.slice(0, at)] = substitute(rule.slice(at + 1), rule, { ...source.env, ...built });
    } else copyMatching(built, rule, source.env);
  }
}

function rulesOfFile(path: string, source: EnvironmentSource): string[] {
  const home = source.env["HOME"];
  const expanded = path.startsWith("~/") && home !== undefined ? home + path.slice(1) : path;
  let text: string;
  try {
    text = source.readFile(expanded);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `--env: [Errno ${error.errnum}] ${error.message}`, { cause: error });
  }
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !line.startsWith("#"));
}

function removeMatching(built: Record<string, string>, pattern: string): void {
  const expression = patternOf(pattern);
  for (const name of Object.keys(built)) if (expression.test(name)) delete built[name];
}

function copyMatching(built: Record<string, string>, pattern: string, env: Environment): void {
  const expression = patternOf(pattern);
  for (const [name, value] of Object.entries(env))
    if (expression.test(name) && !Object.hasOwn(built, name)) built[name] = value;
}

function patternOf(pattern: string): RegExp {
  if (!pattern.startsWith("/")) return globExpression(pattern);
  const source = pattern.slice(1).replace(/\/$/, "");
  try {
    return new RegExp(`^(?:${source.replace(/^\^/, "")})`);
  } catch (error) {
    throw new FluxError("EINVAL", `--env: ${pattern} is no regular expression: ${errorText(error)}`, { cause: error });
  }
}

/** `$$`, `$NAME`, `${NAME}`; anything else after a dollar is an error. `{{…}}` is left to the job. */
function substitute(value: string, rule: string, env: Environment): string {
  return value.replace(/\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\}|)/g, (_, dollar, plain, braced) => {
    if (dollar !== undefined) return "$";
    const name = (plain ?? braced) as string | undefined;
    if (name === undefined) throw new FluxError("EINVAL", `--env: Unable to substitute ${rule}`);
    if (!Object.hasOwn(env, name)) throw new FluxError("EINVAL", `--env: Variable '${name}' not found in ${rule}`);
    return env[name]!;
  });
}
