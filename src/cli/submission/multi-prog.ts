/**
 * The configuration of `flux multi-prog`: for each set of task ranks, a command. Pure.
 *
 * Invariant: a rank has one line at most, besides that of `*`.
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { Idset } from "../../formats/idset.ts";
import { splitShellWords } from "../../formats/shell-words.ts";

interface Line {
  /** From 1. */
  readonly number: number;
  /** Null is every rank that no other line has. */
  readonly ranks: Idset | null;
  readonly words: readonly string[];
}

export class MultiProgConfig {
  readonly #path: string;
  readonly #lines: readonly Line[];

  /** Throws FluxError EINVAL with the path, the line and what is wrong. */
  constructor(path: string, text: string) {
    this.#path = path;
    this.#lines = text.split(/\r?\n/).flatMap((line, index) => this.#parse(line, index + 1));
    this.#checkUnique();
  }

  /** The command of a task. Throws FluxError EINVAL where it has none. */
  wordsOf(rank: number): string[] {
    const line = this.#lines.find(({ ranks }) => ranks?.has(rank)) ?? this.#lines.find(({ ranks }) => ranks === null);
    if (line === undefined) throw new FluxError("EINVAL", `${this.#path}: No matching line for rank ${rank}`);
    const offset = line.ranks === null ? 0 : [...line.ranks].indexOf(rank);
    return line.words.map((word) => word.replace(/%([to])/g, (_, what) => String(what === "t" ? rank : offset)));
  }

  #parse(text: string, number: number): Line[] {
    const where = `${this.#path}: line ${number}`;
    let words: string[];
    try {
      words = splitShellWords(text, { comments: true });
    } catch (error) {
      throw new FluxError("EINVAL", `${where}: '${text}': ${errorText(error)}`, { cause: error });
    }
    const [set, ...command] = words;
    if (set === undefined) return [];
    const ranks = set === "*" ? null : Idset.tryParse(set);
    if (ranks === null && set !== "*") throw new FluxError("EINVAL", `${where}: invalid idset: ${set}`);
    if (command.length === 0) throw new FluxError("EINVAL", `${where}: a command is missing`);
    return [{ number, ranks, words: command }];
  }

  #checkUnique(): void {
    const known = new Idset();
    let hasRest = false;
    for (const { number, ranks } of this.#lines) {
      const again = ranks === null ? hasRest : known.overlaps(ranks);
      const what = ranks === null ? "*" : `rank ${known.intersect(ranks).toString()}`;
      if (again) throw new FluxError("EINVAL", `${this.#path}: line ${number}: ${what} has a line already`);
      if (ranks === null) hasRest = true;
      else for (const rank of ranks) known.add(rank);
    }
  }
}

/** Words as a shell would read them again. */
export function shellText(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)).join(" ");
}
