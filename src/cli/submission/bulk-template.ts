/**
 * The command lines of `flux bulksubmit`: a template with replacement strings, and lists of inputs.
 *
 *     echo {} ::: a b        -n{1} {0} ::: x y ::: 1 2      every x with every 1, 2
 *     {0} {1} ::: x y :::+ 1 2                              x with 1, y with 2
 *     {} :::: FILE                                          inputs from a file, `-` is standard input
 *
 * `{}` or `{N}` is an input; `{N.%}` without its extension, `{N./}` its base name, `{N./%}` both, `{N.//}` its directory,
 * `{N.NAME}` what the method of that name makes of it (`--define`); `{seq}` and `{seq1}` count. Each may have a form, as
 * in Python: `{seq:03d}`, `{0:>8}`. `{cc}` is replaced later, and `{{…}}` is the job's.
 *
 * Combinations of inputs are computed when asked for: a million of them cost no more memory than their lists.
 *
 * Pure: files come through a reader.
 */
import { FluxError } from "../../base/errors.ts";
import { formatValue } from "../output/format-string.ts";

export interface BulkInputs {
  /** The words before the first separator. */
  readonly command: readonly string[];
  /** How many jobs there are. */
  readonly count: number;
  /** The inputs of one of them. */
  at(index: number): readonly string[];
}

interface Source {
  readonly values: readonly string[];
  /** Goes together with what the others give, one by one. */
  readonly linked: boolean;
}

/** What `--define=NAME=CODE` makes of an input, by name. */
export type Methods = ReadonlyMap<string, (input: string) => string>;

const NO_METHODS: Methods = new Map();
const SEPARATOR = /^:::(:?)(\+?)$/;

/** Splits the operands at their separators. `readLines` gives the inputs of a file, or of standard input for "-". */
export function splitInputs(operands: readonly string[], readLines: (path: string) => readonly string[]): BulkInputs {
  const first = operands.findIndex((word) => SEPARATOR.test(word));
  if (first < 0) return combine(operands, [{ values: readLines("-"), linked: false }]);
  const sources: Source[] = [];
  for (let at = first; at < operands.length;) {
    const separator = operands[at]!;
    const [, fromFile, linked] = SEPARATOR.exec(separator)!;
    const following = operands.slice(at + 1).findIndex((word) => SEPARATOR.test(word));
    const end = following < 0 ? operands.length : at + 1 + following;
    const words = operands.slice(at + 1, end);
    if (fromFile !== "" && words.length !== 1)
      throw new FluxError(
        "EINVAL",
        words.length > 1 ? `Multiple args not allowed after ${separator}` : `A file name is missing after ${separator}`,
      );
    sources.push({ values: fromFile === "" ? words : readLines(words[0]!), linked: linked === "+" });
    at = end;
  }
  return combine(operands.slice(0, first), sources);
}

/**
 * Every value of each source with every one of the others, the last changing fastest. A linked source multiplies nothing:
 * it gives its values in turn, and begins again where it is short.
 */
function combine(words: readonly string[], sources: readonly Source[]): BulkInputs {
  const free = sources.filter(({ linked }) => !linked);
  const isEmpty = free.length === 0 || sources.some(({ values }) => values.length === 0);
  const count = isEmpty ? 0 : free.reduce((product, { values }) => product * values.length, 1);
  /** How many jobs have the same value of a source, one after the other. */
  const strides = new Map<Source, number>();
  let stride = 1;
  for (const source of free.toReversed()) {
    strides.set(source, stride);
    stride *= source.values.length;
  }
  return {
    // Without a command, the inputs are the commands.
    command: words.length === 0 ? ["{}"] : words,
    count,
    at: (index) =>
      sources.map((source) => source.values[Math.floor(index / (strides.get(source) ?? 1)) % source.values.length]!),
  };
}

/**
 * Replaces the replacement strings of a word: of the command, or the argument of an option (`-n`, `--output=`). Throws
 * FluxError EINVAL for one that is unknown.
 */
export function substituteInputs(
  word: string,
  inputs: readonly string[],
  sequence: number,
  methods: Methods = NO_METHODS,
  option: string | null = null,
): string {
  if (!/[{}]/.test(word)) return word;
  return word.replace(/\{\{.*?\}\}|\{([^{}]*)\}|[{}]/gs, (whole, inside: string | undefined) => {
    if (whole.length === 1) throw new FluxError("EINVAL", `Single '${whole}' encountered in format string`);
    if (inside === undefined || inside === "cc") return whole;
    const [, name, conversion, spec = ""] = /^([^!:]*)(?:!([rsa]))?(?::(.*))?$/s.exec(inside) ?? [];
    if (name === "seq" || name === "seq1") {
      const number = name === "seq" ? sequence : sequence + 1;
      return formatValue(conversion === undefined ? number : String(number), spec, name);
    }
    const match = /^(\d*)(?:\.(.*))?$/.exec(name ?? "");
    const value = match === null || conversion === "r" ? undefined : inputs[Number(match[1] || 0)];
    if (value === undefined) throw unknownReplacement(whole, option, word);
    return formatValue(transform(value, match![2], methods), spec, name!);
  });
}

function unknownReplacement(whole: string, option: string | null, word: string): FluxError {
  if (option === null) return new FluxError("EINVAL", `Invalid replacement string in command: '${whole}'`);
  const key = whole.slice(1, -1);
  const text = /^\d*(\.|$)/.test(key)
    ? `Invalid replacement index in ${option}${word}`
    : `Replacement key '${key}' not found in '${option}${word}'`;
  return new FluxError("EINVAL", text);
}

function transform(value: string, how: string | undefined, methods: Methods): string {
  const slash = value.lastIndexOf("/");
  const base = value.slice(slash + 1);
  switch (how) {
    case undefined:
      return value;
    case "%":
      return value.slice(0, slash + 1) + withoutExtension(base);
    case "/":
      return base;
    case "/%":
      return withoutExtension(base);
    case "//":
      return slash < 0 ? "" : value.slice(0, slash) || "/";
    default: {
      const method = methods.get(how);
      if (method === undefined) throw new FluxError("EINVAL", `Unknown input string method '.${how}'`);
      return method(value);
    }
  }
}

function withoutExtension(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot <= 0 ? name : name.slice(0, dot);
}
