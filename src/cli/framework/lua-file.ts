/**
 * Start-up files of job shells in Lua (flux-shell-initrc(5)), run by the machine's own `lua`: who has such files has it, and
 * its libraries. `libexec/shell-initrc.lua` is what they see; this is its errand boy.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { installRoot } from "../../host/paths.ts";

const REPORT_BYTES_MAX: number = 4 * 1024 * 1024;
/** Before the report: programs that a file starts may print, too. */
const MARK = "\n\u0001report ";

/** What the file wants, with false for null. Throws FluxError with a sentence. */
export function runLuaFile(path: string, facts: JsonObject): JsonObject {
  const prelude = join(installRoot(), "libexec", "shell-initrc.lua");
  const { status, stdout, stderr, error } = spawnSync("lua", [prelude, path, MARK], {
    input: luaText(facts),
    encoding: "utf8",
    maxBuffer: REPORT_BYTES_MAX,
  });
  if (error !== undefined && "code" in error && error.code === "ENOENT")
    throw new FluxError("ENOENT", "files in Lua need the program 'lua' in PATH");
  if (error !== undefined) throw error;
  const [, text] = stdout.split(MARK);
  if (status !== 0 || text === undefined)
    throw new FluxError("EINVAL", stderr.trim() || `lua ended with exit code ${String(status)}`);
  const report = parseJson(text);
  if (!isJsonObject(report)) throw new FluxError("EPROTO", "lua gave no report");
  return report;
}

/** A value as a Lua expression. */
export function luaText(value: JsonValue): string {
  if (value === null) return "nil";
  if (typeof value === "string") return luaString(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `{${value.map(luaText).join(",")}}`;
  return `{${Object.entries(value)
    .map(([key, member]) => `[${luaString(key)}]=${luaText(member as JsonValue)}`)
    .join(",")}}`;
}

/** Control characters, quotes and backslashes as decimal escapes, which every Lua knows. */
function luaString(text: string): string {
  // eslint-disable-next-line no-control-regex
  const escaped = text.replace(/[\u0000-\u001f"\\]/g, (char) => `\\${String(char.charCodeAt(0)).padStart(3, "0")}`);
  return `"${escaped}"`;
}
