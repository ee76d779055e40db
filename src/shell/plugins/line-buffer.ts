/** Cuts a stream of bytes at line ends, so that lines of several tasks do not mix. A long line is passed on in pieces. */
import { concatBytes } from "../../base/bytes.ts";

const NEWLINE = 10;

export class LineBuffer {
  readonly #lengthMax: number;
  #kept: Uint8Array[] = [];
  #length = 0;

  /** A line of more than `lengthMax` bytes is not kept whole. */
  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  /** Returns the whole lines that are there now; null where there is none. */
  push(chunk: Uint8Array): Uint8Array | null {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    const isFull = this.#length + chunk.byteLength - end > this.#lengthMax;
    const taken = isFull ? chunk.byteLength : end;
    if (taken === 0) {
      this.#keep(chunk);
      return null;
    }
    const ready = concatBytes([...this.#kept, chunk.subarray(0, taken)]);
    this.#kept = [];
    this.#length = 0;
    this.#keep(chunk.subarray(taken));
    return ready;
  }

  /** What is left after the last line end. */
  rest(): Uint8Array | null {
    if (this.#length === 0) return null;
    const rest = concatBytes(this.#kept);
    this.#kept = [];
    this.#length = 0;
    return rest;
  }

  #keep(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return;
    this.#kept.push(chunk);
    this.#length += chunk.byteLength;
  }
}
