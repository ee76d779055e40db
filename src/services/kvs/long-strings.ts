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
  /** What is left, in as few parts as may be. */
  readonly #rest: Uint8Array[] = [];
  /** The string that is being read, as far as it came in earlier pieces, while it may be a short one. */
  #short: Uint8Array[] = [];
  /** Length of that string until now, in bytes. */
  #length = 0;
  #count = 0;
  #state: "outside" | "short" | "long" = "outside";
  /** The last byte was a backslash in a string. */
  #isEscaped = false;
  /** The last byte that went to the sink was a backslash, which waits for what follows it. */
  #hasBackslash = false;

  constructor(sink: LongStringSink) {
    this.#sink = sink;
  }

  /** Takes a piece of the text. Throws FluxError EINVAL for a long string with escapes: then it is no base64. */
  feed(bytes: Uint8Array): void {
    const length = bytes.byteLength;
    // What begins here is left, up to where a long string begins.
    let keptFrom = 0;
    let stringFrom = 0;
    let position = 0;
    // The string that is being read began in an earlier piece.
    let isCarried = this.#state === "short";
    while (position < length) {
      if (this.#state === "outside") {
        const quote = bytes.indexOf(QUOTE, position);
        if (quote < 0) break;
        this.#state = "short";
        this.#length = 0;
        isCarried = false;
        position = stringFrom = quote + 1;
        continue;
      }
      const end = this.#endOfString(bytes, position);
      if (this.#state === "short") {
        this.#length += end - position;
        if (this.#length > LONG_STRING_BYTES) {
          if (!isCarried) this.#rest.push(bytes.subarray(keptFrom, stringFrom - 1));
          this.#beginLong();
        } else if (end === length) break;
        else if (isCarried) this.#rest.push(QUOTE_BYTES, ...this.#short.splice(0));
      }
      if (this.#state === "long") {
        this.#emit(bytes.subarray(position, end));
        if (end === length) return;
        this.#endLong();
        keptFrom = end + 1;
      }
      this.#state = "outside";
      position = end + 1;
    }
    if (this.#state !== "short") return void this.#rest.push(bytes.subarray(keptFrom));
    if (!isCarried) this.#rest.push(bytes.subarray(keptFrom, stringFrom - 1));
    this.#short.push(bytes.subarray(isCarried ? 0 : stringFrom));
  }

  /** What is left of the text, once all of it has come. */
  finish(): Uint8Array {
    const isOpen = this.#state === "short";
    return concatBytes(isOpen ? [...this.#rest, QUOTE_BYTES, ...this.#short] : this.#rest);
  }

  /** Where the quote that ends a string is; the length of the piece where it is not in it. */
  #endOfString(bytes: Uint8Array, from: number): number {
    let position = from;
    if (this.#isEscaped) position += 1;
    this.#isEscaped = false;
    for (;;) {
      const quote = bytes.indexOf(QUOTE, position);
      const end = quote < 0 ? bytes.byteLength : quote;
      let backslashes = 0;
      while (end - 1 - backslashes >= position && bytes[end - 1 - backslashes] === BACKSLASH) backslashes++;
      const isEscaped = backslashes % 2 === 1;
      if (quote < 0) {
        this.#isEscaped = isEscaped;
        return end;
      }
      if (!isEscaped) return end;
      position = quote + 1;
    }
  }

  #beginLong(): void {
    const parts = this.#short;
    this.#short = [];
    this.#state = "long";
    this.#hasBackslash = false;
    this.#sink.begin();
    for (const part of parts) this.#emit(part);
  }

  #endLong(): void {
    if (this.#hasBackslash) throw notBase64();
    this.#rest.push(utf8Encode(`{"long":${this.#count++}}`));
    this.#sink.end();
  }

  /** A part of a long string goes on: base64 may have its slashes escaped, and nothing else. */
  #emit(part: Uint8Array): void {
    let position = 0;
    while (position < part.byteLength) {
      if (this.#hasBackslash) {
        if (part[position] !== SLASH) throw notBase64();
        this.#hasBackslash = false;
        this.#sink.data(SLASH_BYTES);
        position += 1;
        continue;
      }
      const backslash = part.indexOf(BACKSLASH, position);
      const end = backslash < 0 ? part.byteLength : backslash;
      if (end > position) this.#sink.data(part.subarray(position, end));
      this.#hasBackslash = backslash >= 0;
      position = end + 1;
    }
  }
}

export function notBase64(): FluxError {
  return new FluxError("EINVAL", "a value is not base64");
}
