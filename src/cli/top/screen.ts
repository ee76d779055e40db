/**
 * A terminal that shows lines with styles and tells of keys: plain ANSI sequences, as every terminal of today knows them.
 * Only rows that have changed are written again.
 *
 * Invariant: after `close` the terminal is as it was: its own screen, its cursor, its way of reading lines.
 */
import type { CommandContext } from "../framework/command.ts";
import type { Line, Size, Style } from "./view.ts";

export type Key =
  | "up"
  | "down"
  | "left"
  | "right"
  | "page-up"
  | "page-down"
  | "home"
  | "end"
  | "enter"
  | "redraw"
  | "interrupt"
  | { readonly letter: string };

const CODES: Readonly<Record<Style, string>> = {
  bold: "1",
  dim: "2",
  inverse: "7",
  yellow: "33",
  red: "31",
  green: "32",
  blue: "34",
};
/** Styles that are left out where no color is wanted. */
const COLORS: ReadonlySet<Style> = new Set(["yellow", "red", "green", "blue"]);

/** Its own screen, no cursor; a row that is wider than the terminal thinks (emoji) does not go on in the next one. */
const ENTER_SCREEN = "\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[2J";
const LEAVE_SCREEN = "\u001b[?7h\u001b[?25h\u001b[?1049l";
const SIZE_DEFAULT: Size = { columns: 80, rows: 24 };

const SEQUENCES: Readonly<Record<string, Key>> = {
  "\u001b[A": "up",
  "\u001bOA": "up",
  "\u001b[B": "down",
  "\u001bOB": "down",
  "\u001b[C": "right",
  "\u001bOC": "right",
  "\u001b[D": "left",
  "\u001bOD": "left",
  "\u001b[5~": "page-up",
  "\u001b[6~": "page-down",
  "\u001b[H": "home",
  "\u001b[1~": "home",
  "\u001bOH": "home",
  "\u001b[F": "end",
  "\u001b[4~": "end",
  "\u001bOF": "end",
  "\r": "enter",
  "\n": "enter",
  "\u000c": "redraw",
  "\u0003": "interrupt",
};

/** One key: what a terminal sends for a special one begins with an escape. */
const ESCAPE = "\u001b";
const SEQUENCE: RegExp = new RegExp(`${ESCAPE}(?:\\[[0-9;]*[A-Za-z~]|O[A-Za-z])|[^]`, "gu");

/** The keys in what a terminal sent at once. */
export function parseKeys(text: string): Key[] {
  const keys: Key[] = [];
  for (const [sequence] of text.matchAll(SEQUENCE)) {
    const key = SEQUENCES[sequence];
    if (key !== undefined) keys.push(key);
    else if (!/^\p{Cc}/u.test(sequence)) keys.push({ letter: sequence });
  }
  return keys;
}

/** A line as a terminal understands it. */
export function ansi(line: Line, isColored: boolean): string {
  return line
    .map(({ text, styles }) => {
      const codes = styles.filter((style) => isColored || !COLORS.has(style)).map((style) => CODES[style]);
      return codes.length === 0 ? text : `\u001b[${codes.join(";")}m${text}\u001b[0m`;
    })
    .join("");
}

export class Screen {
  readonly #context: CommandContext;
  readonly #isColored: boolean;
  #shown: readonly string[] = [];
  #size: Size | null = null;
  readonly #onData: (chunk: Uint8Array) => void;
  readonly #onResize: () => void;

  constructor(
    context: CommandContext,
    isColored: boolean,
    events: { readonly key: (key: Key) => void; readonly resize: () => void },
  ) {
    this.#context = context;
    this.#isColored = isColored;
    this.#onData = (chunk) => {
      for (const key of parseKeys(Buffer.from(chunk).toString("utf8"))) events.key(key);
    };
    this.#onResize = () => {
      this.redraw();
      events.resize();
    };
    context.out(ENTER_SCREEN);
    process.stdin.setRawMode(true);
    process.stdin.on("data", this.#onData);
    process.stdout.on("resize", this.#onResize);
  }

  get size(): Size {
    const { columns, rows } = process.stdout;
    return { columns: columns || SIZE_DEFAULT.columns, rows: rows || SIZE_DEFAULT.rows };
  }

  show(lines: readonly Line[]): void {
    const { columns, rows } = this.size;
    const isSame = this.#size?.columns === columns && this.#size.rows === rows;
    const before = isSame ? this.#shown : [];
    const texts = lines.map((line) => ansi(line, this.#isColored));
    const changes = texts.map((text, row) => (before[row] === text ? "" : `\u001b[${row + 1};1H\u001b[K${text}`));
    const output = (isSame ? "" : "\u001b[2J") + changes.join("");
    if (output !== "") this.#context.out(output);
    this.#shown = texts;
    this.#size = { columns, rows };
  }

  /** The next `show` writes all rows. */
  redraw(): void {
    this.#size = null;
  }

  close(): void {
    process.stdin.off("data", this.#onData);
    process.stdout.off("resize", this.#onResize);
    process.stdin.setRawMode(false);
    process.stdin.pause();
    this.#context.out(LEAVE_SCREEN);
  }
}
