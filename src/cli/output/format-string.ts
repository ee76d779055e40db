/**
 * Output formats in the syntax of Python's format strings, as `flux jobs -o`, `flux queue list -o` and `flux resource
 * list -o` take them: `{id.f58:>12} ?:{queue:<8.8} +:{name:<10.10+} {runtime!F:>8h}`.
 *
 *     {field!conversion:spec}   spec: [[fill]align][sign][0][width][,][.precision][type][h][+]
 *     ?:{field}   left out where the field is empty in every row
 *     +:{field}   as wide as its widest value
 *     h           a hyphen for what is empty        +   a plus sign where a column is too short
 *     sort:a,-b   before the format: the order of rows
 *
 * Pure. Knows nothing of the things that are listed: rows give values by field name.
 */
import { FluxError } from "../../base/errors.ts";
import { formatFsd } from "../../formats/duration.ts";
import { exponentText, Float, plainText, pythonText, type FieldValue } from "./field-value.ts";
import { strftime } from "./strftime.ts";
import { columnsOf, cutToColumns } from "./text-width.ts";

/** One thing to list. Returns undefined for a field that does not exist at all. */
export type Row = (field: string) => FieldValue | undefined;

interface Field {
  readonly name: string;
  readonly conversion: string | null;
  readonly spec: string;
  readonly dropIfEmpty: boolean;
  readonly growToFit: boolean;
}

interface Segment {
  readonly literal: string;
  readonly field: Field | null;
}

interface Spec {
  readonly fill: string;
  readonly align: "<" | ">" | "^" | null;
  readonly sign: string;
  readonly zero: boolean;
  readonly width: number;
  readonly comma: boolean;
  readonly precision: number | null;
  readonly type: string;
  readonly hyphen: boolean;
  readonly plus: boolean;
}

const SPEC = /^(?:(.)?([<>^]))?([ +-])?(0)?(\d+)?(,)?(?:\.(\d+))?([bcdeEfFgGnosxX%])?(h)?(\+)?$/su;
const CONVERSIONS = ["D", "d", "F", "H", "P", "s", "r", "a"];
/** What counts as empty for `h` and `?:`. */
const EMPTY_TEXTS: ReadonlySet<string> = new Set(["", "0s", "0.0", "0:00:00", "1970-01-01T00:00:00"]);

/** A percentage fits in five characters. */
const PERCENT_DIGITS = 3;

/** The keys and the format of `sort:k1,k2 FORMAT`. One space between them belongs to neither. */
export function splitSort(format: string): { keys: readonly string[]; format: string } {
  const match = /^sort:([^\s{]*?),?(?: |(?=[\s{]))(.*)$/s.exec(format);
  return match === null ? { keys: [], format } : { keys: match[1]!.split(","), format: match[2]! };
}

export class OutputFormat {
  readonly #segments: readonly Segment[];
  readonly #headings: (field: string) => string | null;

  /** `headings` names the column of a field; null where there is no such field. Throws FluxError EINVAL. */
  constructor(format: string, headings: (field: string) => string | null) {
    this.#segments = parseFormat(format);
    this.#headings = headings;
    for (const name of this.fields)
      if (headings(name) === null) throw new FluxError("EINVAL", `Unknown format field: ${name}`);
  }

  /** Names of the fields, in order. */
  get fields(): readonly string[] {
    return this.#segments.flatMap(({ field }) => (field === null ? [] : [field.name]));
  }

  /**
   * The line of headings and the lines of the rows, without line ends; rows in which nothing shows are left out. Columns
   * that grow leave room for their headings where these are shown.
   */
  table(
    rows: readonly Row[],
    { withHeader = true }: { readonly withHeader?: boolean } = {},
  ): { header: string; lines: (string | null)[] } {
    const columns = this.#fit(rows, withHeader);
    const header = columns.map(({ literal, field }) => literal + (field === null ? "" : this.#heading(field))).join("");
    const lines = rows.map((row) => {
      const line = columns.map(({ literal, field }) => literal + (field === null ? "" : render(field, row))).join("");
      return line.trim() === "" ? null : line;
    });
    return { header, lines };
  }

  #heading(field: Field): string {
    const { fill: _, ...spec } = parseSpec(field, alignmentOf(field));
    return pad(this.#headings(field.name) ?? field.name, { ...spec, fill: " ", align: spec.align ?? "<" });
  }

  /** Leaves out what is empty, widens what shall fit. */
  #fit(rows: readonly Row[], withHeader: boolean): Segment[] {
    return this.#segments.flatMap((segment) => {
      const { literal, field } = segment;
      if (field === null || (!field.dropIfEmpty && !field.growToFit)) return [segment];
      const bare = { ...field, spec: unsized(field) };
      const texts = rows.map((row) => render(bare, row).trim());
      if (field.dropIfEmpty && texts.every((text) => EMPTY_TEXTS.has(text) || text === "-")) return [];
      if (!field.growToFit) return [segment];
      const heading = withHeader ? (this.#headings(field.name) ?? "") : "";
      return [{ literal, field: { ...field, spec: widened(field, Math.max(...[heading, ...texts].map(columnsOf))) } }];
    });
  }
}

/** Splits a format into literals and fields, as Python's `string.Formatter.parse` does. Throws FluxError EINVAL. */
function parseFormat(format: string): Segment[] {
  const segments: Segment[] = [];
  let literal = "";
  for (let at = 0; at < format.length; at++) {
    const char = format.charAt(at);
    if ((char === "{" || char === "}") && format.charAt(at + 1) === char) {
      literal += char;
      at++;
    } else if (char === "}") throw new FluxError("EINVAL", "Single '}' encountered in format string");
    else if (char === "{") {
      const end = closingBrace(format, at);
      segments.push(fieldSegment(literal, format.slice(at + 1, end)));
      literal = "";
      at = end;
    } else literal += char;
  }
  if (literal !== "") segments.push({ literal, field: null });
  return segments;
}

function closingBrace(format: string, open: number): number {
  let depth = 0;
  for (let at = open; at < format.length; at++) {
    if (format.charAt(at) === "{") depth++;
    if (format.charAt(at) === "}" && --depth === 0) return at;
  }
  throw new FluxError("EINVAL", "expected '}' before end of string");
}

function fieldSegment(before: string, inside: string): Segment {
  const match = /^([^!:]*)(?:!([^:]*))?(?::(.*))?$/s.exec(inside);
  const prefix = /(\?\+:|\?:|\+:)$/.exec(before)?.[1] ?? "";
  const conversion = match?.[2] ?? null;
  if (conversion !== null && !CONVERSIONS.includes(conversion))
    throw new FluxError("EINVAL", `Unknown conversion specifier ${conversion}`);
  return {
    literal: before.slice(0, before.length - prefix.length),
    field: {
      name: match?.[1] ?? "",
      conversion,
      spec: match?.[3] ?? "",
      dropIfEmpty: prefix.includes("?"),
      growToFit: prefix.includes("+"),
    },
  };
}

/** The part of a spec that aligns: of `!d` what follows two colons. */
function alignmentOf(field: Field): string {
  if (field.conversion !== "d") return field.spec;
  const at = field.spec.indexOf("::");
  return at < 0 ? "" : field.spec.slice(at + 2);
}

function withAlignment(field: Field, alignment: string): string {
  if (field.conversion !== "d") return alignment;
  const at = field.spec.indexOf("::");
  return `${at < 0 ? field.spec : field.spec.slice(0, at)}::${alignment}`;
}

/** The spec without width and without what is cut off. */
function unsized(field: Field): string {
  const spec = parseSpec(field, alignmentOf(field));
  const precision = spec.precision !== null && isNumeric(spec.type) ? `.${spec.precision}` : "";
  return withAlignment(field, `${precision}${spec.type}${spec.hyphen ? "h" : ""}`);
}

function widened(field: Field, width: number): string {
  const spec = parseSpec(field, alignmentOf(field));
  const target = Math.max(width, spec.width);
  const align = spec.align === null ? "" : spec.fill + spec.align;
  const precision =
    spec.precision === null ? "" : `.${isNumeric(spec.type) ? spec.precision : Math.max(target, spec.precision)}`;
  return withAlignment(
    field,
    `${align}${target}${precision}${spec.type}${spec.hyphen ? "h" : ""}${spec.plus ? "+" : ""}`,
  );
}

function isNumeric(type: string): boolean {
  return /^[eEfFgG%]$/.test(type);
}

function parseSpec(field: Field, text: string): Spec {
  const match = SPEC.exec(text);
  if (match === null) throw new FluxError("EINVAL", `Invalid format specifier '${text}' for field '${field.name}'`);
  const [, fill, align, sign, zero, width, comma, precision, type, hyphen, plus] = match;
  return {
    fill: fill ?? " ",
    align: (align as Spec["align"] | undefined) ?? null,
    sign: sign ?? "",
    zero: zero !== undefined,
    width: Number(width ?? 0),
    comma: comma !== undefined,
    precision: precision === undefined ? null : Number(precision),
    type: type ?? "",
    hyphen: hyphen !== undefined,
    plus: plus !== undefined,
  };
}

/** One value in the form that a specifier gives it. Throws FluxError EINVAL. */
export function formatValue(value: FieldValue, spec: string, name: string): string {
  return render({ name, conversion: null, spec, dropIfEmpty: false, growToFit: false }, () => value);
}

function render(field: Field, row: Row): string {
  const spec = parseSpec(field, alignmentOf(field));
  const value = converted(field, row(field.name) ?? null);
  const empty = spec.hyphen && EMPTY_TEXTS.has(typeof value === "string" ? value : plainText(value));
  if (empty) return pad("-", spec);
  // As in Python, a truth value that is given a form is a number.
  const number = typeof value === "boolean" && isFormed(spec) ? Number(value) : value;
  if (typeof number === "number" || typeof number === "bigint" || number instanceof Float)
    return formatNumber(number, spec);
  return formatText(plainText(value), spec);
}

function isFormed({ align, width, sign, zero, type }: Spec): boolean {
  return align !== null || width > 0 || sign !== "" || zero || type !== "";
}

function converted(field: Field, value: FieldValue): FieldValue {
  if (field.conversion === null) return value;
  const seconds = value instanceof Float ? value.value : typeof value === "number" ? value : null;
  switch (field.conversion) {
    case "D":
      return seconds === null || seconds === 0 ? "" : strftime("%Y-%m-%dT%H:%M:%S", seconds);
    case "d":
      return seconds === null || seconds === 0 ? "" : strftime(dateFormat(field.spec), seconds);
    case "F":
      return seconds === null ? "" : seconds === Infinity ? "inf" : formatFsd(seconds);
    case "H":
      return seconds === null ? "" : clockText(seconds);
    case "P":
      return seconds === null ? "" : percentText(seconds);
    default:
      return field.conversion === "s" || typeof value !== "string" ? plainText(value) : pythonText(value);
  }
}

function dateFormat(spec: string): string {
  const at = spec.indexOf("::");
  const format = at < 0 ? spec : spec.slice(0, at);
  return format === "" ? "%Y-%m-%dT%H:%M:%S" : format;
}

/** Hours, minutes, seconds; what has begun to run shows at least a second. */
function clockText(seconds: number): string {
  const whole = seconds > 0 && seconds < 1 ? 1 : roundHalfEven(seconds);
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const rest = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  const head = days === 0 ? "" : `${days} day${days === 1 ? "" : "s"}, `;
  return `${head}${hours}:${rest}`;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** Three digits that count, below one percent two behind the point. */
function percentText(share: number): string {
  const percent = share * 100;
  const isSmall = percent !== 0 && Math.abs(percent) < 1;
  return `${isSmall ? percent.toFixed(2) : formatGeneral(percent, PERCENT_DIGITS)}%`;
}

function formatNumber(value: number | bigint | Float, spec: Spec): string {
  let text = numberText(value, spec);
  if (spec.sign === "+" && !text.startsWith("-")) text = `+${text}`;
  if (spec.zero && spec.align === null) {
    const sign = /^[+-]/.exec(text)?.[0] ?? "";
    return sign + text.slice(sign.length).padStart(spec.width - sign.length, "0");
  }
  return pad(text, { ...spec, align: spec.align ?? ">" });
}

function numberText(value: number | bigint | Float, spec: Spec): string {
  const number = value instanceof Float ? value.value : Number(value);
  const precision = spec.precision ?? 6;
  switch (spec.type) {
    case "f":
    case "F":
      return grouped(number.toFixed(precision), spec);
    case "e":
    case "E":
      return exponentText(number.toExponential(precision));
    case "g":
    case "G":
      return formatGeneral(number, precision);
    case "%":
      return `${(number * 100).toFixed(precision)}%`;
    case "x":
      return integerText(value, 16);
    case "X":
      return integerText(value, 16).toUpperCase();
    case "o":
      return integerText(value, 8);
    case "b":
      return integerText(value, 2);
    default:
      if (spec.precision !== null && value instanceof Float) return formatGeneral(number, precision);
      return grouped(plainText(value), spec);
  }
}

function integerText(value: number | bigint | Float, base: number): string {
  return (value instanceof Float ? Math.trunc(value.value) : value).toString(base);
}

function grouped(text: string, spec: Spec): string {
  return spec.comma ? text.replace(/^(-?\d+)/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",")) : text;
}

/** C's `%.Ng`. */
function formatGeneral(value: number, precision: number): string {
  const digits = Math.max(1, precision);
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent < -4 || exponent >= digits) return exponentText(value.toExponential(digits - 1).replace(/\.?0+e/, "e"));
  const fixed = value.toFixed(Math.max(0, digits - 1 - exponent));
  return fixed.includes(".") ? fixed.replace(/\.?0+$/, "") : fixed;
}

function formatText(text: string, spec: Spec): string {
  if (spec.precision === null || columnsOf(text) <= spec.precision) return pad(text, spec);
  const kept = pad(cutToColumns(text, spec.precision), spec);
  const columns = columnsOf(kept);
  return spec.plus && columns < columnsOf(text) ? `${cutToColumns(kept, columns - 1)}+` : kept;
}

function pad(text: string, spec: Pick<Spec, "fill" | "align" | "width">): string {
  const missing = spec.width - columnsOf(text);
  if (missing <= 0) return text;
  if (spec.align === ">") return spec.fill.repeat(missing) + text;
  if (spec.align !== "^") return text + spec.fill.repeat(missing);
  const left = Math.floor(missing / 2);
  return spec.fill.repeat(left) + text + spec.fill.repeat(missing - left);
}

/** Sorts rows by keys, `-KEY` in reverse: empty before numbers before texts. Throws FluxError EINVAL for an unknown key. */
export function sortRows(rows: readonly Row[], keys: readonly string[], known: (field: string) => boolean): Row[] {
  const sorted = [...rows];
  for (const key of keys.toReversed()) {
    const name = key.replace(/^-/, "");
    if (!known(name)) throw new FluxError("EINVAL", `Invalid sort key: ${name}`);
    const direction = key.startsWith("-") ? -1 : 1;
    sorted.sort((left, right) => direction * compareValues(left(name) ?? null, right(name) ?? null));
  }
  return sorted;
}

function compareValues(left: FieldValue, right: FieldValue): number {
  const [leftClass, leftKey] = sortKey(left);
  const [rightClass, rightKey] = sortKey(right);
  if (leftClass !== rightClass) return leftClass - rightClass;
  return leftKey < rightKey ? -1 : leftKey > rightKey ? 1 : 0;
}

function sortKey(value: FieldValue): readonly [number, string | number | bigint] {
  if (value === null || value === "") return [0, 0];
  if (typeof value === "boolean") return [1, value ? 1 : 0];
  if (typeof value === "number" || typeof value === "bigint") return [1, value];
  if (value instanceof Float) return [1, value.value];
  return [2, plainText(value)];
}
