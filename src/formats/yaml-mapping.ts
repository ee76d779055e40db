/**
 * The part of YAML 1.2 that configuration files of commands are written in: mappings of mappings, and scalars: plain,
 * quoted, or as blocks (`|`, `>`). A file that is one JSON object is YAML, too. Pure.
 *
 * Everything else (sequences, anchors, tags, several documents) is refused with its line, never misread.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../base/json.ts";

interface Line {
  readonly number: number;
  readonly indent: number;
  readonly text: string;
}

/** Reads a mapping. Throws FluxError EINVAL that names the file and the line. */
export function parseYamlMapping(text: string, file: string): JsonObject {
  if (text.trimStart().startsWith("{")) {
    const value = parseJson(text);
    if (isJsonObject(value)) return value;
  }
  return new MappingReader(text, file).read();
}

class MappingReader {
  readonly #lines: readonly Line[];
  readonly #file: string;
  #at = 0;

  constructor(text: string, file: string) {
    this.#file = file;
    this.#lines = text.split(/\r?\n/).map((line, index) => {
      const body = line.trimStart();
      return { number: index + 1, indent: line.length - body.length, text: body };
    });
  }

  read(): JsonObject {
    this.#skipBlank();
    if (this.#line?.text.trimEnd() === "---") this.#at += 1;
    this.#skipBlank();
    const mapping = this.#mapping(0);
    this.#skipBlank();
    const rest = this.#line;
    if (rest !== undefined) this.#refuse(rest, "indentation does not fit");
    return mapping;
  }

  get #line(): Line | undefined {
    return this.#lines[this.#at];
  }

  #refuse(line: Line, why: string): never {
    throw new FluxError("EINVAL", `${this.#file}: line ${line.number}: ${why}`);
  }

  #skipBlank(): void {
    while (this.#line !== undefined && (this.#line.text === "" || this.#line.text.startsWith("#"))) this.#at += 1;
  }

  /** The mapping whose keys stand at an indentation. */
  #mapping(indent: number): JsonObject {
    const mapping: Record<string, JsonValue> = Object.create(null) as Record<string, JsonValue>;
    for (;;) {
      this.#skipBlank();
      const line = this.#line;
      if (line === undefined || line.indent < indent) return mapping;
      if (line.indent > indent) this.#refuse(line, "indentation does not fit");
      const { key, rest } = this.#keyOf(line);
      if (Object.hasOwn(mapping, key)) this.#refuse(line, `'${key}' is there twice`);
      this.#at += 1;
      mapping[key] = this.#value(line, indent, rest);
    }
  }

  #keyOf(line: Line): { key: string; rest: string } {
    const match = /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^\s"'#&*!|>%@`[\]{},:-][^:#]*?))\s*:(?:\s+(.*))?$/.exec(
      line.text,
    );
    if (match === null) return this.#refuse(line, "expected 'key: value'");
    const [, double, single, plain, rest = ""] = match;
    const key = plain ?? (double === undefined ? single!.replaceAll("''", "'") : this.#unescape(line, double));
    return { key, rest };
  }

  #value(line: Line, indent: number, rest: string): JsonValue {
    const block = /^([|>])([+-]?)\s*(?:#.*)?$/.exec(rest);
    if (block !== null) return this.#block(indent, block[1] === ">", block[2] ?? "");
    if (rest !== "" && !rest.startsWith("#")) return this.#scalar(line, rest);
    this.#skipBlank();
    const next = this.#line;
    return next === undefined || next.indent <= indent ? null : this.#mapping(next.indent);
  }

  #scalar(line: Line, text: string): JsonValue {
    const quoted = /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')\s*(?:#.*)?$/.exec(text);
    if (quoted?.[1] !== undefined) return this.#unescape(line, quoted[1]);
    if (quoted?.[2] !== undefined) return quoted[2].replaceAll("''", "'");
    if (/^[[{&*!%@`"']|^[-?](\s|$)/.test(text))
      this.#refuse(line, "this form of YAML is not read here: quote the text");
    const plain = text.replace(/\s+#.*$/, "").trimEnd();
    if (/:(\s|$)/.test(plain)) this.#refuse(line, "a text with ': ' needs quotes");
    if (/^(?:null|~)$/i.test(plain)) return null;
    if (/^(?:true|false)$/i.test(plain)) return plain.toLowerCase() === "true";
    return /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(plain) ? Number(plain) : plain;
  }

  #unescape(line: Line, text: string): string {
    try {
      return JSON.parse(`"${text}"`) as string;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return this.#refuse(line, "an escape in a quoted text cannot be read");
    }
  }

  /** A text of the lines that stand deeper than their key. */
  #block(indent: number, isFolded: boolean, chomp: string): string {
    const lines: string[] = [];
    let own: number | null = null;
    for (; this.#line !== undefined; this.#at += 1) {
      const { indent: here, text } = this.#line;
      if (text !== "" && here <= indent) break;
      if (text !== "") own ??= here;
      lines.push(text === "" ? "" : " ".repeat(Math.max(0, here - (own ?? here))) + text);
    }
    let trailing = 0;
    while (lines.length > 0 && lines.at(-1) === "") trailing += lines.pop() === "" ? 1 : 0;
    const body = isFolded
      ? lines
          .join("\n")
          .replace(/([^\n])\n(?!\n)/g, "$1 ")
          .replace(/\n\n/g, "\n")
      : lines.join("\n");
    if (body === "" || chomp === "-") return body;
    return chomp === "+" ? `${body}\n${"\n".repeat(trailing)}` : `${body}\n`;
  }
}
