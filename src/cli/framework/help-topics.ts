/**
 * Lists of further commands for the front page, which sites and packages put into files (FLUX_CMDHELP_PATTERN): JSON
 * arrays of `{description, commands: [{name, description}]}`. A file that cannot be read so is told of in its place.
 */
import { globSync, readFileSync } from "node:fs";
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonValue } from "../../base/json.ts";
import { builtinValue } from "./builtin-values.ts";

const NAME_WIDTH = 18;

/** Text of the front page: a heading and its commands, or the complaint about a file; "" where there are no files. */
export function furtherCommandsText(): string {
  const patterns = [builtinValue("cmdhelp_pattern")!, ...(process.env["FLUX_CMDHELP_PATTERN"] ?? "").split(":")];
  const files = new Set(patterns.filter((pattern) => pattern !== "").flatMap((pattern) => globSync(pattern).sort()));
  let text = "";
  for (const file of files)
    try {
      text += fileText(file);
    } catch (error) {
      text += `flux: ${file}: ${errorText(error)}\n`;
    }
  return text;
}

function fileText(file: string): string {
  const value = parseJson(readFileSync(file, "utf8"));
  if (!Array.isArray(value)) throw new FluxError("EINVAL", "not an array of commands by category");
  return value.map((category, index) => categoryText(category, index)).join("");
}

function categoryText(category: JsonValue, index: number): string {
  if (!isJsonObject(category) || typeof category["description"] !== "string" || !Array.isArray(category["commands"]))
    throw new FluxError("EINVAL", `entry ${index}: description or commands missing`);
  const lines = category["commands"].map((command, place) => {
    if (!isJsonObject(command) || typeof command["name"] !== "string" || typeof command["description"] !== "string")
      throw new FluxError("EINVAL", `entry ${index}.${place}: name or description missing`);
    return `   ${command["name"].padEnd(NAME_WIDTH)} ${command["description"]}\n`;
  });
  return `\n${category["description"]}\n${lines.join("")}`;
}
