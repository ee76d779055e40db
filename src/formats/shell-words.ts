/**
 * Words as a POSIX shell splits them, without expansion of any kind.
 */
import { FluxError } from "../base/errors.ts";

export interface SplitOptions {
  /** A bare `#`, also inside of a word, makes the rest of the line a comment. */
  readonly comments?: boolean;
  /** Three quotes in a row open a literal that only three such quotes close (RFC 36). */
  readonly tripleQuotes?: boolean;
}

/** Splits text into words. Throws FluxError EINVAL where a quote is not closed. */
export function splitShellWords(text: string, options: SplitOptions = {}): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let at = 0;
  while (at < text.length) {
    const char = text[at]!;
    if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
      at += 1;
    } else if (char === "#" && options.comments === true) {
      const end = text.indexOf("\n", at);
      at = end < 0 ? text.length : end;
    } else {
      const part = scanPart(text, at, options.tripleQuotes === true);
      word = (word ?? "") + part.text;
      at = part.end;
    }
  }
  if (word !== null) words.push(word);
  return words;
}

/** Reads a quoted part, an escaped character or a plain one. */
function scanPart(text: string, at: number, hasTripleQuotes: boolean): { text: string; end: number } {
  const char = text[at]!;
  const triple = char.repeat(3);
  if (char === "'" || char === '"') {
    if (hasTripleQuotes && text.startsWith(triple, at)) {
      const end = text.indexOf(triple, at + 3);
      if (end < 0) throw unclosed();
      return { text: text.slice(at + 3, end), end: end + 3 };
    }
    return char === "'" ? scanSingle(text, at) : scanDouble(text, at);
  }
  if (char !== "\\") return { text: char, end: at + 1 };
  if (at + 1 >= text.length) throw new FluxError("EINVAL", "No escaped character");
  return { text: text[at + 1] === "\n" ? "" : text[at + 1]!, end: at + 2 };
}

function scanSingle(text: string, at: number): { text: string; end: number } {
  const end = text.indexOf("'", at + 1);
  if (end < 0) throw unclosed();
  return { text: text.slice(at + 1, end), end: end + 1 };
}

function scanDouble(text: string, start: number): { text: string; end: number } {
  let result = "";
  for (let at = start + 1; at < text.length; at++) {
    const char = text[at]!;
    const next = text[at + 1];
    if (char === '"') return { text: result, end: at + 1 };
    if (char === "\\" && next !== undefined && '$`"\\\n'.includes(next)) {
      if (next !== "\n") result += next;
      at += 1;
    } else {
      result += char;
    }
  }
  throw unclosed();
}

function unclosed(): FluxError {
  return new FluxError("EINVAL", "No closing quotation");
}
