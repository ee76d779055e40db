/**
 * Takes the long strings out of a JSON text that comes in pieces: what is left is short and is parsed as a whole, the
 * strings go on as they come.
 *
 * In the place of each long string stands `{"long":N}`, counted from 0. Pure; resumable at any byte; it checks nothing that
 * the parser of the rest does not.
 */
import { concatBytes, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";

/** A string that is longer is taken out, in bytes. */
export const LONG_STRING_BYTES: number = 16 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const QUOTE_BYTES: Uint8Array = Uint8Array.of(QUOTE);
const SLASH_BYTES: Uint8Array = Uint8Array.of(SLASH);

/** Where the long strings go, one after the other. */
export interface LongStringSink {
  begin(): void;
  /** Bytes of the string that began last. */
  data(bytes: Uint8Array): void;
  end(): void;
}

export class LongStrings {
  readonly #sink: LongStringSink;
  /** What is left. */
  readonly #rest: Uint8Array[] = [];
  /** The string that is being read, while it may be a short one. */
  #short: Uint8Array[] = [];
  #length = 0;
  #count = 0;
  #state: "outside" | "short" | "long" = "outside";
  /** The last byte was a backslash in a string. */
  #isEscaped = false;

  constructor(sink: LongStringSink) {
    this.#sink = sink;
  }

  /** Takes a piece of the text. Throws FluxError EINVAL for a long string with escapes: then it is no base64. */
  feed(bytes: Uint8Array): void {
    let position = 0;
    // Found once for many strings: they seldom have one.
    let backslash = -2;
    while (position < bytes.byteLength) {
      if (this.#state === "outside") {
        position = this.#skipToString(bytes, position);
        continue;
      }
      if (this.#isEscaped) {
        this.#takeEscaped(bytes, position++);
        continue;
      }
      if (backslash !== -1 && backslash < position) backslash = bytes.indexOf(BACKSLASH, position);
      const quote = bytes.indexOf(QUOTE, position);
      const end = quote < 0 ? bytes.byteLength : quote;
      if (backslash >= 0 && backslash < end) {
        this.#take(bytes.subarray(position, backslash));
        this.#isEscaped = true;
        position = backslash + 1;
        continue;
      }
      this.#take(bytes.subarray(position, end));
      position = end;
      if (quote < 0) break;
      this.#endString();
      position++;
    }
  }

  /** What is left of the text, once all of it has come. */
  finish(): Uint8Array {
    return concatBytes([...this.#rest, ...this.#short]);
  }

  #skipToString(bytes: Uint8Array, from: number): number {
    const quote = bytes.indexOf(QUOTE, from);
    const end = quote < 0 ? bytes.byteLength : quote;
    if (end > from) this.#rest.push(bytes.subarray(from, end));
    if (quote < 0) return end;
    this.#state = "short";
    return quote + 1;
  }

  #takeEscaped(bytes: Uint8Array, position: number): void {
    this.#isEscaped = false;
    if (this.#state === "short")
      return this.#take(concatBytes([Uint8Array.of(BACKSLASH), bytes.subarray(position, position + 1)]));
    if (bytes[position] !== SLASH) throw notBase64();
    this.#sink.data(SLASH_BYTES);
  }

  #take(part: Uint8Array): void {
    if (part.byteLength === 0) return;
    if (this.#state === "long") return this.#sink.data(part);
    this.#short.push(part);
    this.#length += part.byteLength;
    if (this.#length <= LONG_STRING_BYTES) return;
    const parts = this.#short;
    this.#short = [];
    this.#length = 0;
    this.#state = "long";
    this.#sink.begin();
    for (const each of parts) this.#sink.data(unescapedSlashes(each));
  }

  #endString(): void {
    if (this.#state === "long") {
      this.#rest.push(utf8Encode(`{"long":${this.#count++}}`));
      this.#sink.end();
    } else {
      this.#rest.push(QUOTE_BYTES, ...this.#short, QUOTE_BYTES);
      this.#short = [];
      this.#length = 0;
    }
    this.#state = "outside";
  }
}

/** A part of a string that was kept as it was written: base64 may have its slashes escaped. */
function unescapedSlashes(part: Uint8Array): Uint8Array {
  if (part[0] !== BACKSLASH) return part;
  if (part[1] !== SLASH) throw notBase64();
  return SLASH_BYTES;
}

export function notBase64(): FluxError {
  return new FluxError("EINVAL", "a value is not base64");
}
