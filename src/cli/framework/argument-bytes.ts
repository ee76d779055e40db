/**
 * The bytes of a word of the command line. Node decodes all words as UTF-8, and what is none is lost: this gets it back from
 * the kernel, where that tells it (`/proc`). For commands whose arguments are data, not names.
 */
import { readFileSync } from "node:fs";
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";

const REPLACEMENT_CHARACTER = "\uFFFD";

/** The bytes that were given for a word; where nobody knows them any more, its UTF-8. */
export function argumentBytes(word: string, commandLine: () => Uint8Array = readCommandLine): Uint8Array {
  if (!word.includes(REPLACEMENT_CHARACTER)) return utf8Encode(word);
  const bytes = commandLine();
  for (let start = 0; start < bytes.byteLength;) {
    const end = bytes.indexOf(0, start);
    const argument = bytes.subarray(start, end < 0 ? bytes.byteLength : end);
    if (utf8Decode(argument) === word) return argument;
    start += argument.byteLength + 1;
  }
  return utf8Encode(word);
}

function readCommandLine(): Uint8Array {
  try {
    return readFileSync("/proc/self/cmdline");
  } catch {
    // A system without /proc does not tell.
    return new Uint8Array(0);
  }
}
