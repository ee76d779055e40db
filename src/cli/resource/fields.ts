/**
 * Output formats of `flux resource`: text with fields in Python's format syntax, `{state:>10} ?:{ngpus:>5} {nodelist}`.
 *
 * A field after `?:` is left out, with its heading, where it is empty in every row. A width with a trailing `+` marks
 * what was cut.
 */
import { FluxError } from "../../base/errors.ts";

export type Row = Readonly<Record<string, string | number>>;

interface Field {
  readonly kind: "field";
  readonly name: string;
  readonly fill: string;
  readonly align: "<" | ">" | "^" | "";
  readonly width: number;
  readonly precision: number;
  readonly marksCut: boolean;
  readonly collapses: boolean;
}
type Segment = { readonly kind: "text"; readonly text: string } | Field;

const FIELD = /(\?:|\?\+:|\+:)?\{([\w.]+)(?::([^{}]*))?\}/g;

export class FieldFormat {
  readonly #segments: readonly Segment[];
  readonly #headings: Readonly<Record<string, string>>;

  /** `headings` has every field that may be named. Throws FluxError EINVAL for another. */
  constructor(format: string, headings: Readonly<Record<string, string>>) {
    this.#headings = headings;
    this.#segments = parse(format);
    for (const segment of this.#segments)
      if (segment.kind === "field" && !(segment.name in headings))
        throw new FluxError("EINVAL", `Unknown format field: ${segment.name}`);
  }

  get fieldNames(): string[] {
    return this.#segments.flatMap((segment) => (segment.kind === "field" ? [segment.name] : []));
  }

  /** The lines of a table, the heading first unless it is not wanted. */
  render(rows: readonly Row[], options: { readonly header: boolean }): string[] {
    const shown = this.#segments.filter(
      (segment) => segment.kind === "text" || !segment.collapses || rows.some((row) => !isEmpty(row[segment.name])),
    );
    const lines = rows.map((row) => shown.map((segment) => text(segment, row)).join(""));
    if (!options.header) return lines;
    return [shown.map((segment) => text(segment, this.#headings)).join(""), ...lines];
  }
}

function isEmpty(value: string | number | undefined): boolean {
  return value === undefined || value === "" || value === 0;
}

function parse(format: string): Segment[] {
  const segments: Segment[] = [];
  let end = 0;
  for (const match of format.matchAll(FIELD)) {
    if (match.index > end) segments.push({ kind: "text", text: format.slice(end, match.index) });
    segments.push(field(match[2]!, match[3] ?? "", match[1]?.startsWith("?") === true));
    end = match.index + match[0].length;
    // The space that follows a field belongs to it: it goes with the field.
    if (match[1]?.startsWith("?") === true && format[end] === " ") end++;
  }
  if (end < format.length) segments.push({ kind: "text", text: format.slice(end) });
  return segments;
}

function field(name: string, spec: string, collapses: boolean): Field {
  const match = /^(?:(.)?([<>^]))?(\d+)?(?:\.(\d+))?(\+)?[a-zA-Z]?$/.exec(spec);
  if (match === null) throw new FluxError("EINVAL", `Invalid format specifier '${spec}'`);
  return {
    kind: "field",
    name,
    fill: match[1] ?? " ",
    align: (match[2] ?? "") as Field["align"],
    width: Number(match[3] ?? 0),
    precision: match[4] === undefined ? Infinity : Number(match[4]),
    marksCut: match[5] !== undefined,
    collapses,
  };
}

function text(segment: Segment, row: Row): string {
  if (segment.kind === "text") return segment.text;
  const value = row[segment.name] ?? "";
  const whole = [...String(value)];
  const isCut = whole.length > segment.precision;
  const cut = isCut ? whole.slice(0, segment.precision - (segment.marksCut ? 1 : 0)) : whole;
  const shown = cut.join("") + (isCut && segment.marksCut ? "+" : "");
  const missing = Math.max(0, segment.width - [...shown].length);
  const align = segment.align === "" ? (typeof value === "number" ? ">" : "<") : segment.align;
  const left = align === ">" ? missing : align === "^" ? Math.floor(missing / 2) : 0;
  const padded = segment.fill.repeat(left) + shown + segment.fill.repeat(missing - left);
  return segment.collapses ? `${padded} ` : padded;
}
