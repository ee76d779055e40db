/** Resource sets (RFC 20) on standard input: JSON objects one after the other, as `flux R` commands hand them on. */
import { utf8Decode } from "../../base/bytes.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "../../base/json.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { CommandContext } from "../framework/command.ts";

/** The sets on standard input, one after the other; at least one. */
export async function readSets(context: CommandContext): Promise<ResourceSet[]> {
  const documents = splitDocuments(utf8Decode(await context.readInput()));
  if (documents.length === 0) context.fail("Failed to read an R object: '[' or '{' expected near end of file");
  return documents.map((document) => {
    let value: JsonValue;
    try {
      value = parseJson(document);
    } catch (error) {
      return context.fail(`Failed to read an R object: ${jsonComplaint(document, error)}`);
    }
    const missing = missingItem(value);
    if (missing !== null) context.fail(`Failed to decode R on stdin: ${missing}`);
    try {
      return ResourceSet.parse(value);
    } catch (error) {
      return context.fail(`Failed to decode R on stdin: ${errorText(error)}`);
    }
  });
}

function jsonComplaint(document: string, error: unknown): string {
  const begins = /^\S+/.exec(document)?.[0] ?? "";
  return /^[[{]/.test(begins) ? errorText(error).split("\n")[0]! : `'[' or '{' expected near '${begins}'`;
}

/** What every R must have. */
function missingItem(value: JsonValue): string | null {
  if (!isJsonObject(value)) return "Expected object";
  if (value["version"] === undefined) return "Object item not found: version";
  if (value["version"] !== 1) return `invalid version=${String(value["version"])}`;
  if (!isJsonObject(value["execution"])) return "Object item not found: execution";
  return value["execution"]["R_lite"] === undefined ? "Object item not found: R_lite" : null;
}

/** Splits texts of JSON objects that follow each other, with anything or nothing between lines. What begins no object stands alone. */
function splitDocuments(text: string): string[] {
  const documents: string[] = [];
  let depth = 0;
  let start = -1;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (inString) {
      if (char === "\\") at++;
      else if (char === '"') inString = false;
      continue;
    }
    if (start < 0 && !/\s/.test(char)) start = at;
    if (char === '"') inString = true;
    else if (char === "{" || char === "[") depth++;
    else if ((char === "}" || char === "]") && --depth === 0) {
      documents.push(text.slice(start, at + 1));
      start = -1;
    }
  }
  if (start >= 0) documents.push(text.slice(start));
  return documents;
}

/** Reads JSON. Throws FluxError EINVAL with where it is wrong. */
export function jsonOf(text: string): JsonValue {
  try {
    return parseJson(text);
  } catch (error) {
    throw new FluxError("EINVAL", jsonComplaint(text, error), { cause: error });
  }
}
