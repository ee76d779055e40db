/** The words of an expression in the syntax of Python: numbers, texts, names, signs. Pure. */
import { FluxError } from "../../base/errors.ts";

export type Token =
  | { readonly kind: "int" | "float" | "name" | "sign"; readonly text: string }
  /** A text; `isFormat` where it has expressions in braces (`f"…"`). */
  | { readonly kind: "string"; readonly text: string; readonly isFormat: boolean };

const NUMBER =
  /(0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+)|(\d[\d_]*\.?[\d_]*(?:[eE][+-]?\d+)?|\.\d[\d_]*(?:[eE][+-]?\d+)?)/y;
const NAME = /[A-Za-z_]\w*/y;
const SIGN = /\*\*|\/\/|<<|>>|<=|>=|==|!=|[-+*/%~&|^<>()[\]{},.:=]/y;
const STRING = /([rRfF]{0,2})("""|'''|"|')/y;
const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  "0": "\0",
  a: "\u0007",
  b: "\b",
  "\n": "",
};

/** Throws FluxError EINVAL with what cannot be read. */
export function tokenize(code: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const match = (expression: RegExp): RegExpExecArray | null => {
    expression.lastIndex = at;
    return expression.exec(code);
  };
  while (at < code.length) {
    if (/\s/.test(code[at]!)) {
      at += 1;
      continue;
    }
    const quote = match(STRING);
    if (quote !== null) {
      const { text, end } = readString(code, at + quote[0].length, quote[2]!, /r/i.test(quote[1]!));
      tokens.push({ kind: "string", text, isFormat: /f/i.test(quote[1]!) });
      at = end;
      continue;
    }
    const number = match(NUMBER);
    const found = number ?? match(NAME) ?? match(SIGN);
    if (found === null) throw new FluxError("EINVAL", `invalid syntax: '${code.slice(at)}'`);
    const text = found[0];
    if (number !== null) {
      const isInt = number[1] !== undefined || /^[\d_]+$/.test(text);
      tokens.push({ kind: isInt ? "int" : "float", text: text.replaceAll("_", "") });
    } else tokens.push({ kind: /^\w/.test(text) ? "name" : "sign", text });
    at += text.length;
  }
  return tokens;
}

function readString(code: string, start: number, quote: string, isRaw: boolean): { text: string; end: number } {
  let text = "";
  for (let at = start; at < code.length; at++) {
    if (code.startsWith(quote, at)) return { text, end: at + quote.length };
    if (code[at] !== "\\" || at + 1 >= code.length) {
      text += code[at]!;
      continue;
    }
    at += 1;
    const next = code[at]!;
    const hex = /^(?:x([\da-fA-F]{2})|u([\da-fA-F]{4}))/.exec(code.slice(at, at + 5));
    if (isRaw) text += `\\${next}`;
    else if (hex !== null) {
      text += String.fromCharCode(Number.parseInt(hex[1] ?? hex[2]!, 16));
      at += hex[0].length - 1;
    } else text += ESCAPES[next] ?? (/[\\'"]/.test(next) ? next : `\\${next}`);
  }
  throw new FluxError("EINVAL", "unterminated string literal");
}
