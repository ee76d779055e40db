/** The values of fields in listings, and their texts as Python writes them. Pure. */
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { pythonJson } from "./python-json.ts";

/** A number that is shown as Python shows floats: 3600.0. */
export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Texts that are shown with commas between them. */
export class TextList {
  readonly texts: readonly string[];

  constructor(texts: readonly string[]) {
    this.texts = texts;
  }
}

export type FieldValue =
  | string
  | number
  | bigint
  | boolean
  | Float
  | TextList
  | readonly JsonValue[]
  | JsonObject
  | null;

/** A value as text: what Python's `str` makes of it. */
export function plainText(value: FieldValue): string {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof TextList) return value.texts.join(",");
  if (Array.isArray(value)) return pythonText(value as JsonValue);
  return typeof value === "object" ? pythonJson(value as JsonObject) : String(value);
}

/** A list as Python shows it: strings in quotes, but for lists of texts, which are joined. */
export function pythonText(value: JsonValue): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${(value as readonly JsonValue[]).map(pythonText).join(", ")}]`;
  const members = Object.entries(value).map(
    ([key, member]) => `${pythonText(key)}: ${pythonText(member as JsonValue)}`,
  );
  return `{${members.join(", ")}}`;
}

function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return exponentText(value.toExponential());
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** JavaScript's exponents as C writes them: at least two digits. */
export function exponentText(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}
