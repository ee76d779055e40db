/**
 * Expressions in the syntax of Python, as `flux bulksubmit --define` takes them: `2**int(x)`, `x.upper()`,
 * `f"{int(x):03d}"`, `x if len(x) < 3 else x[:3]`. The input is `x`.
 *
 * Arithmetic, comparisons, conditions, texts with their methods, slices, lists and formats; no statements, no imports, no
 * loops: an expression always ends, and reaches nothing outside.
 */
import { FluxError } from "../../base/errors.ts";
import { Float } from "../output/field-value.ts";
import { OutputFormat } from "../output/format-string.ts";
import { FUNCTIONS, METHODS } from "./python-library.ts";
import { tokenize, type Token } from "./python-tokens.ts";
import { binary, compare, contains, fail, intOf, isTrue, textOf, typeName, type Value } from "./python-values.ts";

type Evaluate = (x: string) => Value;

/** Binary operators from loose to tight; `**` is apart, it binds to the right. */
const LEVELS: readonly (readonly string[])[] = [["|"], ["^"], ["&"], ["<<", ">>"], ["+", "-"], ["*", "/", "//", "%"]];
const COMPARISONS: readonly string[] = ["<", ">", "<=", ">=", "==", "!="];
const DEPTH_MAX = 100;
const CONSTANTS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ["True", true],
  ["False", false],
  ["None", null],
]);

/** Reads an expression. What it gives takes the input, and throws FluxError EINVAL where Python would raise. */
export function compileExpression(code: string): (x: string) => string {
  const evaluate = new ExpressionReader(tokenize(code)).read();
  return (x) => textOf(evaluate(x));
}

class ExpressionReader {
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  read(): Evaluate {
    const expression = this.#conditional();
    if (this.#next < this.#tokens.length) this.#fail();
    return expression;
  }

  #fail(): never {
    const token = this.#tokens[this.#next];
    return fail(token === undefined ? "invalid syntax: it ends too early" : `invalid syntax: '${token.text}'`);
  }

  #peek(...texts: readonly string[]): string | null {
    const token = this.#tokens[this.#next];
    return token !== undefined && token.kind !== "string" && texts.includes(token.text) ? token.text : null;
  }

  #take(...texts: readonly string[]): string | null {
    const found = this.#peek(...texts);
    if (found !== null) this.#next += 1;
    return found;
  }

  #expect(text: string): void {
    if (this.#take(text) === null) this.#fail();
  }

  #conditional(): Evaluate {
    if (++this.#depth > DEPTH_MAX) fail("the expression is nested too deeply");
    const value = this.#or();
    this.#depth -= 1;
    if (this.#take("if") === null) return value;
    const condition = this.#or();
    this.#expect("else");
    const other = this.#conditional();
    return (x) => (isTrue(condition(x)) ? value(x) : other(x));
  }

  #or(): Evaluate {
    const left = this.#and();
    if (this.#take("or") === null) return left;
    const right = this.#or();
    return (x) => {
      const value = left(x);
      return isTrue(value) ? value : right(x);
    };
  }

  #and(): Evaluate {
    const left = this.#not();
    if (this.#take("and") === null) return left;
    const right = this.#and();
    return (x) => {
      const value = left(x);
      return isTrue(value) ? right(x) : value;
    };
  }

  #not(): Evaluate {
    if (this.#take("not") === null) return this.#comparison();
    const value = this.#not();
    return (x) => !isTrue(value(x));
  }

  /** `a < b < c` is `a < b and b < c`. */
  #comparison(): Evaluate {
    const first = this.#level(0);
    const rest: { readonly operator: string; readonly value: Evaluate }[] = [];
    for (;;) {
      const operator = this.#take(...COMPARISONS, "in") ?? (this.#take("not") === null ? null : "not in");
      if (operator === null) break;
      if (operator === "not in") this.#expect("in");
      rest.push({ operator, value: this.#level(0) });
    }
    if (rest.length === 0) return first;
    return (x) => {
      let left = first(x);
      for (const { operator, value } of rest) {
        const right = value(x);
        const holds = operator.endsWith("in")
          ? contains(right, left) === (operator === "in")
          : compare(operator, left, right);
        if (!holds) return false;
        left = right;
      }
      return true;
    };
  }

  #level(index: number): Evaluate {
    const operators = LEVELS[index];
    if (operators === undefined) return this.#unary();
    let left = this.#level(index + 1);
    for (;;) {
      const operator = this.#take(...operators);
      if (operator === null) return left;
      const [before, after] = [left, this.#level(index + 1)];
      left = (x) => operate(operator, before(x), after(x));
    }
  }

  #unary(): Evaluate {
    const sign = this.#take("-", "+", "~");
    if (sign === null) return this.#power();
    const value = this.#unary();
    if (sign === "~") return (x) => binary("-", -1n, intOf(value(x)));
    return (x) => binary(sign, 0n, value(x));
  }

  #power(): Evaluate {
    const base = this.#postfix();
    if (this.#take("**") === null) return base;
    const exponent = this.#unary();
    return (x) => binary("**", base(x), exponent(x));
  }

  #postfix(): Evaluate {
    let value = this.#atom();
    for (;;) {
      const sign = this.#take(".", "[");
      if (sign === null) return value;
      value = sign === "." ? this.#method(value) : this.#subscript(value);
    }
  }

  #method(object: Evaluate): Evaluate {
    const name = this.#tokens[this.#next++]?.text ?? this.#fail();
    const method = METHODS.get(name);
    if (method === undefined) return fail(`'str' object has no attribute '${name}'`);
    this.#expect("(");
    const values = this.#list(")");
    return (x) => {
      const text = object(x);
      if (typeof text !== "string") return fail(`'${typeName(text)}' object has no attribute '${name}'`);
      return method(text, ...values.map((value) => value(x)));
    };
  }

  #subscript(object: Evaluate): Evaluate {
    const bounds: (Evaluate | null)[] = [null];
    let isSlice = false;
    while (this.#peek("]") === null) {
      if (this.#take(":") !== null) {
        isSlice = true;
        bounds.push(null);
      } else bounds[bounds.length - 1] = this.#conditional();
    }
    this.#expect("]");
    return (x) => {
      const value = object(x);
      const [start = null, stop = null, step = null] = bounds.map((bound) => bound?.(x) ?? null);
      if (isSlice) return slice(value, start, stop, step);
      const all = sequence(value);
      return all.at(Number(intOf(start ?? fail("an index is missing")))) ?? fail("index out of range");
    };
  }

  /** Expressions between commas, and the sign that ends them. */
  #list(end: string): Evaluate[] {
    const values: Evaluate[] = [];
    while (this.#take(end) === null) {
      values.push(this.#conditional());
      if (this.#take(",") === null && this.#peek(end) === null) this.#fail();
    }
    return values;
  }

  #atom(): Evaluate {
    const token = this.#tokens[this.#next++];
    if (token === undefined) {
      this.#next -= 1;
      return this.#fail();
    }
    if (token.kind === "int") {
      const value = BigInt(token.text);
      return () => value;
    }
    if (token.kind === "float") return () => Number(token.text);
    if (token.kind === "string") return this.#text(token);
    if (token.kind === "name") return this.#name(token.text);
    if (token.text === "(") {
      const value = this.#conditional();
      this.#expect(")");
      return value;
    }
    if (token.text === "[") {
      const values = this.#list("]");
      return (x) => values.map((value) => value(x));
    }
    this.#next -= 1;
    return this.#fail();
  }

  /** Texts beside each other are one. */
  #text(first: Token & { readonly kind: "string" }): Evaluate {
    const parts = [first];
    for (let token = this.#tokens[this.#next]; token?.kind === "string"; token = this.#tokens[this.#next]) {
      parts.push(token);
      this.#next += 1;
    }
    const values = parts.map((part) => (part.isFormat ? formatted(part.text) : () => part.text));
    return (x) => values.map((value) => textOf(value(x))).join("");
  }

  #name(name: string): Evaluate {
    if (name === "x") return (x) => x;
    if (CONSTANTS.has(name)) return () => CONSTANTS.get(name)!;
    const call = FUNCTIONS.get(name);
    if (call === undefined) return fail(`name '${name}' is not defined`);
    this.#expect("(");
    const values = this.#list(")");
    return (x) => call(...values.map((value) => value(x)));
  }
}

function operate(operator: string, left: Value, right: Value): Value {
  return operator === "%" && typeof left === "string" ? percentFormat(left, right) : binary(operator, left, right);
}

function sequence(value: Value): readonly Value[] {
  if (typeof value === "string") return [...value];
  return Array.isArray(value) ? value : fail(`'${typeName(value)}' object is not subscriptable`);
}

function slice(value: Value, start: Value, stop: Value, step: Value): Value {
  const all = sequence(value);
  const by = step === null ? 1 : Number(intOf(step));
  if (by === 0) fail("slice step cannot be zero");
  const bound = (given: Value, otherwise: number): number => {
    if (given === null) return otherwise;
    const at = Number(intOf(given));
    return Math.min(Math.max(at < 0 ? at + all.length : at, by > 0 ? 0 : -1), by > 0 ? all.length : all.length - 1);
  };
  const [from, to] =
    by > 0 ? [bound(start, 0), bound(stop, all.length)] : [bound(start, all.length - 1), bound(stop, -1)];
  const picked: Value[] = [];
  for (let at = from; by > 0 ? at < to : at > to; at += by) picked.push(all[at]!);
  return typeof value === "string" ? picked.join("") : picked;
}

/** `f"{expression:format}"`. */
function formatted(text: string): Evaluate {
  const parts: Evaluate[] = [];
  for (const part of text.split(/(\{\{|\}\}|\{[^{}]*\})/)) {
    if (!part.startsWith("{") || part === "{{") {
      const literal = part === "{{" || part === "}}" ? part[0]! : part;
      parts.push(() => literal);
      continue;
    }
    const [, code = "", spec = ""] = /^\{((?:[^:'"]|'[^']*'|"[^"]*")*)(?::(.*))?\}$/s.exec(part) ?? [];
    const value = new ExpressionReader(tokenize(code)).read();
    parts.push((x) => formatValue(value(x), spec));
  }
  return (x) => parts.map((part) => textOf(part(x))).join("");
}

function formatValue(value: Value, spec: string): string {
  const shown = typeof value === "number" ? new Float(value) : typeof value === "bigint" ? value : textOf(value);
  const isText = typeof shown === "string";
  if (isText && /[bcdeEfFgGnoxX%]$/.test(spec))
    throw new FluxError("EINVAL", `Unknown format code '${spec.at(-1)}' for object of type '${typeName(value)}'`);
  return new OutputFormat(`{x:${spec}}`, () => "x").table([() => shown]).lines[0] ?? "";
}

/** `"%03d" % value`. */
function percentFormat(text: string, value: Value): string {
  const values = Array.isArray(value) ? [...(value as readonly Value[])] : [value];
  return text.replace(/%(?:%|([-+0 ]*)(\d*)((?:\.\d+)?)([sdifeEgGxXo]))/g, (whole, flags, width, precision, type) => {
    if (whole === "%%") return "%";
    if (values.length === 0) fail("not enough arguments for format string");
    const each = values.shift()!;
    const isText = type === "s";
    const side = String(flags).includes("-") || (isText && width === "") ? "<" : ">";
    const number = isText ? textOf(each) : /[feEgG]/.test(type) ? Number(each) : intOf(each);
    const zero = String(flags).includes("0") && side === ">" && !isText;
    const plus = String(flags).includes("+") && !isText ? "+" : "";
    const spec = `${zero ? "" : side}${plus}${zero ? "0" : ""}${width}${precision}${type === "i" ? "d" : type}`;
    return formatValue(number, spec);
  });
}
