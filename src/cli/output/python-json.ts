/** JSON as Python's `json.dumps` writes it, which is what users of Flux's commands see: `{"a": 1, "b": [2, 3]}`. */
import { textOfReal, type JsonValue } from "../../base/json.ts";

export interface PythonJsonOptions {
  /** Spaces per level; none means one line. */
  readonly indent?: number;
  /** Characters beyond ASCII as they are, as the programs in C write them. */
  readonly unicode?: boolean;
}

export function pythonJson(value: JsonValue | undefined, options: PythonJsonOptions = {}): string {
  return write(value ?? null, options, "");
}

function write(value: JsonValue, options: PythonJsonOptions, indent: string): string {
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "bigint")
    return value === null ? "null" : String(value);
  const real = textOfReal(value);
  if (real !== null) return real;
  const text = options.unicode === true ? JSON.stringify : asciiText;
  if (typeof value === "string") return text(value);
  const inner = options.indent === undefined ? "" : indent + " ".repeat(options.indent);
  const parts = Array.isArray(value)
    ? value.map((each: JsonValue) => write(each, options, inner))
    : Object.entries(value)
        .filter(([, each]) => each !== undefined)
        .map(([key, each]) => `${text(key)}: ${write(each as JsonValue, options, inner)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (parts.length === 0) return open + close;
  if (options.indent === undefined) return open + parts.join(", ") + close;
  return `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}`;
}

function asciiText(value: string): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
