/**
 * Submission directives (RFC 36): options of `flux batch` inside of the script, in lines such as `# flux: -N4`.
 *
 * The first directive sets the sentinel: what stands before `flux:` and the tag itself. Directives end at the first line
 * that does not begin as the sentinel does; one after that is an error, because it would silently be ignored.
 */
import { FluxError } from "../base/errors.ts";
import { splitShellWords } from "./shell-words.ts";

export interface Directive {
  /** Where it begins, from 1. */
  readonly line: number;
  /** Its words: options of the command and their values. */
  readonly args: readonly string[];
}

const SENTINEL = /^([^\w]*)(flux|FLUX):/;

/**
 * Reads the directives of a script. Throws FluxError EINVAL with a text that begins with the line: `line 3: …`.
 * A script in a binary format has none.
 */
export function parseDirectives(script: string): Directive[] {
  const lines = script.split(/\r?\n/);
  const first = lines.findIndex((line) => SENTINEL.test(line));
  if (first < 0) return [];
  const [sentinel, prefix = ""] = SENTINEL.exec(lines[first]!) as unknown as [string, string];
  // The blank after a comment sign does not count: an empty comment line does not end the directives.
  const start = prefix.trim() === "" ? prefix : prefix.trimEnd();
  const directives: Directive[] = [];
  /** The first line that is no directive any more, from 0. */
  let over: number | null = null;
  for (let index = first; index < lines.length;) {
    const line = lines[index]!;
    const found = SENTINEL.exec(line);
    if (found !== null && over !== null && found[0] === sentinel) {
      throw at(index, `orphan '${found[2]}:' detected: directives disabled after line ${over}`);
    }
    if (found !== null && over === null) {
      if (found[0] !== sentinel) throw at(index, changedSentinel(sentinel, line, found[0]));
      const { text, end } = gather(lines, index, sentinel);
      const args = split(text, index);
      if (args.length > 0) directives.push({ line: index + 1, args });
      index = end;
      continue;
    }
    if (line.trim() !== "" && !line.startsWith(start)) over ??= index;
    index += 1;
  }
  return directives;
}

function changedSentinel(sentinel: string, line: string, found: string): string {
  const text = line.slice(found.length).trim();
  return (
    `sentinel changed from '${sentinel}' to '${found}'\n\nEach directive of a script begins alike. ` +
    `A line that is not to count is disabled by a '#' behind that:\n\n  ${sentinel} # ${text}`
  );
}

/** The text of a directive, with the lines of a literal that it opens; and the line after it. */
function gather(lines: readonly string[], index: number, sentinel: string): { text: string; end: number } {
  const opening = lines[index]!.slice(sentinel.length);
  const text = opening.trim();
  const quote = /("""|''')$/.exec(text)?.[1];
  // An even number of them has closed what it opened.
  if (quote === undefined || text.split(quote).length % 2 === 1) return { text, end: index + 1 };
  const body: string[] = [];
  for (let next = index + 1; next < lines.length; next++) {
    const line = lines[next]!;
    if (!line.startsWith(sentinel)) throw at(next, `unterminated multi-line quote at line ${index + 1}: \`${quote}'`);
    const content = line.slice(sentinel.length);
    if (content.trimEnd().endsWith(quote)) {
      const [, ...literal] = dedent([opening, ...body, content.trimEnd()]);
      return { text: text + literal.join("\n"), end: next + 1 };
    }
    body.push(content);
  }
  throw at(lines.length - 1, `unterminated multi-line quote at line ${index + 1}: \`${quote}'`);
}

/** Strips the indentation that all lines of a directive share, from the one that opens the literal to the one that ends it. */
function dedent(lines: readonly string[]): string[] {
  const indents = lines.filter((line) => line.trim() !== "").map((line) => /^\s*/.exec(line)![0].length);
  const indent = Math.min(...indents);
  return lines.map((line) => (line.trim() === "" ? "" : line.slice(indent)));
}

function split(text: string, index: number): string[] {
  let args: string[];
  try {
    args = splitShellWords(text, { comments: true, tripleQuotes: true });
  } catch (error) {
    throw at(index, `${text}: ${(error as Error).message}`);
  }
  if (args[0] !== undefined && !args[0].startsWith("-")) throw at(index, `Unknown directive: ${args[0]}`);
  return args;
}

function at(index: number, text: string): FluxError {
  return new FluxError("EINVAL", `line ${index + 1}: ${text}`);
}
