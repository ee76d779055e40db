/**
 * The command lines of `flux bulksubmit`: a template with replacement strings, and lists of inputs.
 *
 *     echo {} ::: a b        -n{1} {0} ::: x y ::: 1 2      every x with every 1, 2
 *     {0} {1} ::: x y :::+ 1 2                              x with 1, y with 2
 *     {} :::: FILE                                          inputs from a file, `-` is standard input
 *
 * `{}` or `{N}` is an input; `{N.%}` without its extension, `{N./}` its base name, `{N./%}` both, `{N.//}` its directory;
 * `{seq}` and `{seq1}` count. `{cc}` is replaced later, and `{{…}}` is the job's.
 *
 * Pure: files come through a reader.
 */
import { FluxError } from "../../base/errors.ts";

export interface BulkInputs {
  /** The words before the first separator. */
  readonly command: readonly string[];
  /** One set of inputs for each job. */
  readonly sets: readonly (readonly string[])[];
}

interface Source {
  readonly values: readonly string[];
  /** Goes together with the source before it, one by one. */
  readonly linked: boolean;
}

const SEPARATOR = /^:::(:?)(\+?)$/;

/** Splits the operands at their separators. `readLines` gives the inputs of a file, or of standard input for "-". */
export function splitInputs(operands: readonly string[], readLines: (path: string) => readonly string[]): BulkInputs {
  const first = operands.findIndex((word) => SEPARATOR.test(word));
  if (first < 0) return { command: operands, sets: readLines("-").map((line) => [line]) };
  const sources: Source[] = [];
  for (let at = first; at < operands.length;) {
    const [, fromFile, linked] = SEPARATOR.exec(operands[at]!)!;
    const following = operands.slice(at + 1).findIndex((word) => SEPARATOR.test(word));
    const end = following < 0 ? operands.length : at + 1 + following;
    const words = operands.slice(at + 1, end);
    sources.push({ values: fromFile === "" ? words : words.flatMap(readLines), linked: linked === "+" });
    at = end;
  }
  return { command: operands.slice(0, first), sets: combine(sources) };
}

/** Every value of each source with every one of the others; linked sources step together. */
function combine(sources: readonly Source[]): string[][] {
  const groups: string[][][] = [];
  for (const { values, linked } of sources) {
    const before = groups.at(-1);
    if (linked && before !== undefined && values.length > 0) {
      // The shorter list starts again; one that is empty has nothing to start again with.
      const length = before.length === 0 ? 0 : Math.max(before.length, values.length);
      groups[groups.length - 1] = Array.from({ length }, (_, index) => [
        ...before[index % before.length]!,
        values[index % values.length]!,
      ]);
    } else groups.push(values.map((value) => [value]));
  }
  let sets: string[][] = [[]];
  for (const group of groups) sets = sets.flatMap((set) => group.map((values) => [...set, ...values]));
  return sets;
}

/** Replaces the replacement strings of a word. Throws FluxError EINVAL for one that is unknown. */
export function substituteInputs(word: string, inputs: readonly string[], sequence: number): string {
  return word.replace(/\{\{.*?\}\}|\{([^{}]*)\}/g, (whole, inside: string | undefined) => {
    if (inside === undefined || inside === "cc") return whole;
    if (inside === "seq") return String(sequence);
    if (inside === "seq1") return String(sequence + 1);
    const match = /^(\d*)(?:\.(.*))?$/.exec(inside);
    const value = match === null ? undefined : inputs[Number(match[1] || 0)];
    const changed = value === undefined ? null : transform(value, match?.[2]);
    if (changed === null) throw new FluxError("EINVAL", `Invalid replacement string in command: '${whole}'`);
    return changed;
  });
}

function transform(value: string, how: string | undefined): string | null {
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
      return slash < 0 ? "" : value.slice(0, slash);
    default:
      return null;
  }
}

function withoutExtension(name: string): string {
  const dot = name.lastIndexOf(".");
  return dot <= 0 ? name : name.slice(0, dot);
}
