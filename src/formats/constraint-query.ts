/**
 * The constraint query syntax (RFC 35) and its conversion to constraint objects (RFC 31).
 *
 * Binding, from tight to loose: `-term`, `not`, and (`&`, `&&`, `and`, blanks), or (`|`, `||`, `or`). A term is
 * `operator:operand` or an operand of the default operator; quotes protect blanks and signs in it.
 *
 * Does not know which operators exist: an unknown one is passed on, and refused by whoever uses the constraint.
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";

export interface QuerySyntax {
  /** The operator of a term without one. Without it, such a term is an error. */
  readonly defaultOperator?: string;
  /** Other names of operators. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Operators whose operand is a list with commas. */
  readonly listOperators?: readonly string[];
}

/** The syntax of `--requires`. */
const REQUIRES_SYNTAX: QuerySyntax = {
  defaultOperator: "properties",
  aliases: { host: "hostlist", hosts: "hostlist", rank: "ranks" },
  listOperators: ["properties"],
};

/** Parentheses and negations may be nested so deep. */
const QUERY_DEPTH_MAX = 100;

type Token =
  | { readonly kind: "and" | "or" | "not" | "open" | "close"; readonly at: number; readonly text: string }
  | {
      readonly kind: "term";
      readonly at: number;
      readonly text: string;
      readonly operator: string | null;
      readonly operand: string;
      readonly isNegated: boolean;
    };

/** Converts a query. Throws FluxError EINVAL with the place of a syntax error. */
export function parseConstraintQuery(query: string, syntax: QuerySyntax = REQUIRES_SYNTAX): JsonObject {
  const parser = new QueryParser(tokenize(query), query, syntax);
  return parser.parse();
}

/** Converts the queries of several `--requires`, which must all hold; null where there are none. */
export function parseRequires(queries: readonly string[]): JsonObject | null {
  if (queries.length === 0) return null;
  // Each query is checked by itself first: a closing parenthesis must not close one of ours.
  for (const query of queries) parseConstraintQuery(query);
  return parseConstraintQuery(queries.map((query) => `(${query})`).join(" "));
}

class QueryParser {
  readonly #tokens: readonly Token[];
  readonly #query: string;
  readonly #syntax: QuerySyntax;
  #next = 0;

  constructor(tokens: readonly Token[], query: string, syntax: QuerySyntax) {
    this.#tokens = tokens;
    this.#query = query;
    this.#syntax = syntax;
  }

  parse(): JsonObject {
    const constraint = this.#or(0);
    const extra = this.#tokens[this.#next];
    if (extra !== undefined) throw this.#unexpected(extra);
    return constraint;
  }

  #or(depth: number): JsonObject {
    if (depth > QUERY_DEPTH_MAX) throw new FluxError("EINVAL", "constraint query is nested too deep");
    const parts = [this.#and(depth)];
    while (this.#tokens[this.#next]?.kind === "or") {
      this.#next += 1;
      parts.push(this.#and(depth));
    }
    return parts.length === 1 ? parts[0]! : { or: parts };
  }

  #and(depth: number): JsonObject {
    const parts = [this.#unary(depth)];
    for (;;) {
      const kind = this.#tokens[this.#next]?.kind;
      if (kind === "and") this.#next += 1;
      else if (kind !== "term" && kind !== "open" && kind !== "not") break;
      this.#addConjunct(parts, this.#unary(depth));
    }
    return parts.length === 1 ? parts[0]! : { and: parts };
  }

  /** Lists that must all hold are one list: `a b` is `a,b`. */
  #addConjunct(parts: JsonObject[], part: JsonObject): void {
    const last = parts.at(-1)!;
    const [operator] = Object.keys(part);
    if (operator !== undefined && this.#syntax.listOperators?.includes(operator) && Object.hasOwn(last, operator)) {
      parts[parts.length - 1] = { [operator]: [...(last[operator] as string[]), ...(part[operator] as string[])] };
    } else {
      parts.push(part);
    }
  }

  #unary(depth: number): JsonObject {
    const token = this.#tokens[this.#next];
    if (token === undefined) throw new FluxError("EINVAL", `Unexpected end of input in '${this.#query}'`);
    this.#next += 1;
    if (token.kind === "not") {
      if (depth > QUERY_DEPTH_MAX) throw new FluxError("EINVAL", "constraint query is nested too deep");
      return { not: [this.#unary(depth + 1)] };
    }
    if (token.kind === "term") return this.#term(token);
    if (token.kind !== "open") throw this.#unexpected(token);
    const inner = this.#or(depth + 1);
    const close = this.#tokens[this.#next];
    if (close?.kind !== "close") throw new FluxError("EINVAL", `Unclosed parenthesis in position ${token.at}`);
    this.#next += 1;
    return inner;
  }

  #term(token: Token & { kind: "term" }): JsonObject {
    const { defaultOperator, aliases = {}, listOperators = [] } = this.#syntax;
    const given = token.operator ?? defaultOperator;
    if (given === undefined) {
      throw new FluxError("EINVAL", `constraint '${this.#query}': '${token.text}' has no operator`);
    }
    const operator = Object.hasOwn(aliases, given) ? aliases[given]! : given;
    const values = listOperators.includes(operator) ? token.operand.split(",") : [token.operand];
    const constraint = { [operator]: values };
    return token.isNegated ? { not: [constraint] } : constraint;
  }

  #unexpected(token: Token): FluxError {
    return new FluxError("EINVAL", `Invalid token '${token.text}' at position ${token.at}`);
  }
}

const SIGNS: Readonly<Record<string, "and" | "or" | "open" | "close">> = {
  "&": "and",
  "|": "or",
  "(": "open",
  ")": "close",
};
const WORDS: ReadonlySet<string> = new Set(["and", "or", "not"]);

function tokenize(query: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < query.length) {
    const char = query[at]!;
    const sign = SIGNS[char];
    if (/\s/.test(char)) {
      at += 1;
    } else if (sign !== undefined) {
      const isDouble = (sign === "and" || sign === "or") && query[at + 1] === char;
      const text = isDouble ? char + char : char;
      tokens.push({ kind: sign, at, text });
      at += text.length;
    } else {
      const { token, end } = scanTerm(query, at);
      tokens.push(token);
      at = end;
    }
  }
  return tokens;
}

/** What may not stand in an operator's name (RFC 35). */
const NOT_IN_OPERATOR = /[^\w.@+-]/;

/** Reads a term, or one of the words and, or, not where no part of it is quoted. Blanks may follow `-` and `operator:`. */
function scanTerm(query: string, start: number): { token: Token; end: number } {
  const isNegated = query[start] === "-";
  const begin = isNegated ? skipBlanks(query, start + 1) : start;
  let at = begin;
  let operator: string | null = null;
  let text = "";
  let isQuoted = false;
  for (; at < query.length; at++) {
    const char = query[at]!;
    if (char === "'" || char === '"') {
      const end = query.indexOf(char, at + 1);
      const quote = char === "'" ? `"'"` : `'"'`;
      if (end < 0) throw new FluxError("EINVAL", `Unclosed quote ${quote} at position ${at + 1}`);
      text += query.slice(at + 1, end);
      at = end;
      isQuoted = true;
    } else if (/[\s&|()]/.test(char)) {
      break;
    } else if (char === ":" && operator === null && !isQuoted) {
      operator = checkOperator(text);
      text = "";
      at = skipBlanks(query, at + 1) - 1;
    } else {
      text += char;
    }
  }
  if (!isQuoted && !isNegated && WORDS.has(text) && operator === null) {
    return { token: { kind: text as "and" | "or" | "not", at: start, text }, end: at };
  }
  if (text === "" && (operator !== null || !isQuoted)) throw withoutOperand(query, at, operator);
  return {
    token: { kind: "term", at: start, text: query.slice(start, at), operator, operand: text, isNegated },
    end: at,
  };
}

function skipBlanks(query: string, from: number): number {
  let at = from;
  while (at < query.length && /\s/.test(query[at]!)) at += 1;
  return at;
}

function checkOperator(name: string): string {
  const wrong = NOT_IN_OPERATOR.exec(name)?.[0];
  if (wrong !== undefined) throw new FluxError("EINVAL", `invalid character '${wrong}' in operator '${name}:'`);
  if (name === "") throw new FluxError("EINVAL", "an operator's name is missing before ':'");
  return name;
}

/** A term that ends where its operand should be. */
function withoutOperand(query: string, at: number, operator: string | null): FluxError {
  const next = query[at];
  if (next !== undefined) return new FluxError("EINVAL", `Invalid token '${next}' at position ${at}`);
  if (operator !== null) return new FluxError("EINVAL", `Missing argument to token '${operator}:'`);
  return new FluxError("EINVAL", `Unexpected end of input in '${query}'`);
}
