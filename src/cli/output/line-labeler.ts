/** Puts a label before each line of a stream that comes in pieces. */
export class LineLabeler {
  readonly #label: string;
  readonly #write: (text: string) => void;
  readonly #decoder = new TextDecoder();
  #line = "";

  /** The label is written as it is, with its separator. */
  constructor(label: string, write: (text: string) => void) {
    this.#label = label;
    this.#write = write;
  }

  feed(chunk: Uint8Array): void {
    this.#line += this.#decoder.decode(chunk, { stream: true });
    const end = this.#line.lastIndexOf("\n");
    if (end < 0) return;
    const lines = this.#line.slice(0, end).split("\n");
    this.#line = this.#line.slice(end + 1);
    this.#write(lines.map((line) => `${this.#label}${line}\n`).join(""));
  }

  /** Writes a last line that has no end. */
  finish(): void {
    if (this.#line !== "") this.#write(`${this.#label}${this.#line}`);
    this.#line = "";
  }
}
