/**
 * Resource shapes (RFC 46): the resources of a jobspec in one line, as `node=2/slot=4/[core=2;gpu]`.
 *
 * Counts that are no plain number stay text (RFC 14 allows idsets and ranges). Pure; knows nothing of what a scheduler
 * can do with a shape.
 */
import { FluxError } from "../base/errors.ts";
import { parseJson, type JsonObject, type JsonValue } from "../base/json.ts";
import { Idset } from "./idset.ts";
import type { ResourceVertex } from "./jobspec.ts";

/** The label of a slot that has none, as long as there is one slot only. */
const SLOT_LABEL_DEFAULT = "task";
/** Levels of resources, or of values. */
const DEPTH_MAX = 64;

const OPENING: Readonly<Record<string, string>> = { "[": "]", "{": "}" };
/** A word without quotes: what has no meaning in a shape. */
const WORD = /[^[\]{};,:=/"\s]+/y;
const QUOTED = /"(?:[^"\\]|\\.)*"/y;
const COUNT = /[0-9,+:*^-]+/y;
/** RFC 45. */
const RANGE = /^[1-9]\d*(-[1-9]\d*|\+)(:[1-9]\d*(:[+*^])?)?$/;

/** Reads a shape. Throws EINVAL with the position of a mistake, from 0. */
export function parseResourceShape(text: string): ResourceVertex[] {
  checkBrackets(text);
  const parser = new ShapeParser(text);
  const resources = parser.whole();
  if (parser.slots > 1 && parser.unlabeled > 0) throw new FluxError("EINVAL", "Multiple slots require labels");
  return resources;
}

/** The resources of a jobspec: a list, or an object that has one as `resources`. Throws EINVAL. */
export function parseResourceList(text: string): ResourceVertex[] {
  const value = parseJson(text);
  const list = Array.isArray(value) ? value : ((value as JsonObject | null)?.["resources"] ?? null);
  if (!Array.isArray(list) || list.length === 0)
    throw new FluxError("EINVAL", "resources must be a list that is not empty, or an object with such a list");
  return list as unknown as ResourceVertex[];
}

function checkBrackets(text: string): void {
  const open: { readonly at: number; readonly closing: string }[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '"') {
      QUOTED.lastIndex = at;
      if (!QUOTED.test(text)) throw new FluxError("EINVAL", `Unclosed quote in position ${at}`);
      at = QUOTED.lastIndex - 1;
    } else if (Object.hasOwn(OPENING, char)) open.push({ at, closing: OPENING[char]! });
    else if ((char === "]" || char === "}") && open.pop()?.closing !== char)
      throw new FluxError("EINVAL", `Mismatched brackets starting at position ${at}.`);
  }
  if (open.length > 0) throw new FluxError("EINVAL", `Unclosed bracket in position ${open[0]!.at}`);
}

class ShapeParser {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  slots = 0;
  unlabeled = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): ResourceVertex[] {
    const list = this.#list();
    if (this.#peek() !== "") throw this.#unexpected();
    return list;
  }

  #list(): ResourceVertex[] {
    if (++this.#depth > DEPTH_MAX) throw new FluxError("EINVAL", `a shape has at most ${DEPTH_MAX} levels`);
    const list: ResourceVertex[] = [];
    if (this.#takes("[")) {
      do list.push(this.#vertex());
      while (this.#takes(";"));
      this.#expect("]");
    } else list.push(this.#vertex());
    this.#depth -= 1;
    return list;
  }

  #vertex(): ResourceVertex {
    const type = this.#string();
    const isSlot = type === "slot";
    const entries: [string, JsonValue][] = [
      ["type", type],
      ["count", this.#takes("=") ? this.#count() : 1],
    ];
    if (isSlot) {
      this.slots += 1;
      entries.push(...this.#slotEntries());
    } else if (this.#takes("{")) entries.push(...this.#items("}"));
    if (isSlot) this.#expect("/");
    if (isSlot || this.#takes("/")) entries.push(["with", this.#list() as unknown as JsonValue]);
    return Object.fromEntries(entries) as unknown as ResourceVertex;
  }

  /** What stands in the braces of a slot: its label, and then what any vertex may have. */
  #slotEntries(): [string, JsonValue][] {
    if (!this.#takes("{")) {
      this.unlabeled += 1;
      return [["label", SLOT_LABEL_DEFAULT]];
    }
    const label: [string, JsonValue] = ["label", this.#string()];
    if (this.#takes(",")) return [label, ...this.#items("}")];
    this.#expect("}");
    return [label];
  }

  #count(): number | string {
    const inBrackets = this.#takes("[");
    const start = this.#at;
    const text = this.#match(COUNT) ?? "";
    if (inBrackets) this.#expect("]");
    if (/^[1-9]\d*$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
    if (RANGE.test(text) || (/^[1-9]/.test(text) && isIdset(text))) return text;
    this.#at = start;
    if (this.#peek() === "") throw this.#unexpected();
    throw new FluxError("EINVAL", `Illegal character '${this.#text[this.#at]}' at position ${this.#at}`);
  }

  #items(closing: string): [string, JsonValue][] {
    const items: [string, JsonValue][] = [];
    if (this.#takes(closing)) return items;
    do items.push(this.#item());
    while (this.#takes(","));
    this.#expect(closing);
    return items;
  }

  #item(): [string, JsonValue] {
    const isQuoted = this.#peek() === '"';
    const word = this.#string();
    const sign = isQuoted ? "" : (/^[+-]/.exec(word)?.[0] ?? "");
    const name = word.slice(sign.length);
    if (name === "") throw this.#unexpected();
    const key = name === "x" && !isQuoted ? "exclusive" : name;
    if (sign === "" && this.#takes(":")) return [key, this.#value()];
    return [key, sign !== "-"];
  }

  /** A JSON value, where words need no quotes and objects are written as those of vertices. */
  #value(): JsonValue {
    if (++this.#depth > DEPTH_MAX) throw new FluxError("EINVAL", `a shape has at most ${DEPTH_MAX} levels`);
    try {
      if (this.#takes("{")) return Object.fromEntries(this.#items("}"));
      if (!this.#takes("[")) return this.#peek() === '"' ? this.#string() : scalar(this.#string());
      const list: JsonValue[] = [];
      if (this.#takes("]")) return list;
      do list.push(this.#value());
      while (this.#takes(","));
      this.#expect("]");
      return list;
    } finally {
      this.#depth -= 1;
    }
  }

  #string(): string {
    const start = this.#at;
    const quoted = this.#match(QUOTED);
    if (quoted !== null) return unquote(quoted, start);
    const word = this.#match(WORD);
    if (word === null) throw this.#unexpected();
    return word;
  }

  /** The next character that is no blank; empty at the end. */
  #peek(): string {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at += 1;
    return this.#text[this.#at] ?? "";
  }

  #takes(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at += 1;
    return true;
  }

  #expect(char: string): void {
    if (!this.#takes(char)) throw this.#unexpected();
  }

  #match(expression: RegExp): string | null {
    this.#peek();
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text)?.[0] ?? null;
    this.#at += found?.length ?? 0;
    return found;
  }

  #unexpected(): FluxError {
    const char = this.#peek();
    if (char === "") return new FluxError("EINVAL", `Unexpected end of input in '${this.#text}'`);
    return new FluxError("EINVAL", `Invalid token '${char}' at position ${this.#at}`);
  }
}

function isIdset(text: string): boolean {
  try {
    return !Idset.parse(text).isEmpty;
  } catch (error) {
    if (error instanceof FluxError) return false;
    throw error;
  }
}

function unquote(quoted: string, at: number): string {
  try {
    return parseJson(quoted) as string;
  } catch (error) {
    throw new FluxError("EINVAL", `Invalid string ${quoted} at position ${at}`, { cause: error });
  }
}

/** A word as the JSON value that it is, else as a string. */
function scalar(word: string): JsonValue {
  if (word === "true" || word === "false" || word === "null") return parseJson(word);
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(word) ? parseJson(word) : word;
}
