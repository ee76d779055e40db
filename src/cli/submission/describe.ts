/** How `flux bulksubmit --dry-run` shows a job: its command, and the options that the inputs have shaped. Pure. */
import type { ParsedOptions } from "../framework/command.ts";

/** The options that may be shown, in their order, with the letter of those that are shown by it. */
const SHOWN: readonly (readonly [name: string, short?: string])[] = [
  ["queue", "q"],
  ["bank", "B"],
  ["ntasks", "n"],
  ["nodes", "N"],
  ["cores-per-task", "c"],
  ["gpus-per-task", "g"],
  ["cores"],
  ["tasks-per-node"],
  ["tasks-per-core"],
  ["gpus-per-node"],
  ["time-limit", "t"],
  ["env"],
  ["urgency"],
  ["setopt", "o"],
  ["setattr"],
  ["job-name"],
  ["input"],
  ["output"],
  ["error"],
  ["cc"],
  ["bcc"],
  ["log"],
  ["log-stderr"],
  ["dependency"],
  ["taskmap"],
  ["requires"],
  ["wait-event"],
  ["cwd"],
  ["flags"],
  ["signal"],
  ["add-file"],
  ["rlimit"],
];
const LISTS: ReadonlySet<string> = new Set([
  "env",
  "setopt",
  "setattr",
  "dependency",
  "requires",
  "flags",
  "add-file",
  "rlimit",
]);
/** Other spellings of rules for the environment, and what they put before the rule. */
const ENVIRONMENT: Readonly<Record<string, string>> = { env: "", "env-remove": "-", "env-file": "^" };

/** The line of a job: `template` has the options as they were given, `options` as its inputs have made them. */
export function describeLine(template: ParsedOptions, options: ParsedOptions, command: readonly string[]): string {
  const shown = SHOWN.flatMap(([name, short]) => {
    const values = valuesOf(options, name);
    const isShaped = values.some((value, index) => value !== valuesOf(template, name)[index]);
    if (values.length === 0 || (!isShaped && name !== "cc")) return [];
    if (!LISTS.has(name)) return [short === undefined ? `--${name}=${values.at(-1)!}` : `-${short}${values.at(-1)!}`];
    const list = `[${values.map((value) => `'${value}'`).join(", ")}]`;
    return [short === undefined ? `--${name}=${list}` : `-${short} ${list}`];
  });
  return [...shown, ...command].join(" ");
}

function valuesOf(options: ParsedOptions, name: string): readonly string[] {
  if (name !== "env") return options.list(name);
  return options.given.flatMap((each) => {
    const prefix = Object.hasOwn(ENVIRONMENT, each.name) ? ENVIRONMENT[each.name] : undefined;
    return prefix === undefined ? [] : [`${prefix}${each.value ?? ""}`];
  });
}
