/**
 * Runs start-up files of job shells in Lua (flux-shell-initrc(5)) with the machine's own `lua`: where there are such files,
 * there is the program, with the libraries that they use. `libexec/shell-initrc.lua` is what the files see of the shell.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { installRoot } from "../../host/paths.ts";
import { RC_LINE_MARK } from "../../shell/initrc-process.ts";

/**
 * Runs a file, and what it registers, with all that happens; its answers go to our standard output. Resolves to the exit
 * code of the interpreter. Throws FluxError ENOENT where there is none.
 */
export async function runLuaFile(path: string, happenings: AsyncIterable<JsonObject>): Promise<number> {
  const prelude = join(installRoot(), "libexec", "shell-initrc.lua");
  const lua = spawn("lua", [prelude, path, RC_LINE_MARK], { stdio: ["pipe", "inherit", "inherit"] });
  // An interpreter that has ended reads nothing any more: its exit code says why.
  lua.stdin.on("error", () => {});
  const ended = new Promise<number>((resolve, reject) => {
    lua.on("exit", (code) => resolve(code ?? 1));
    lua.on("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ENOENT" ? new FluxError("ENOENT", "files in Lua need the program 'lua' in PATH") : error),
    );
  });
  const passOn = async (): Promise<number> => {
    for await (const happening of happenings) lua.stdin.write(`${luaText(happening)}\n`);
    lua.stdin.end();
    return ended;
  };
  return Promise.race([ended, passOn()]);
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
  // oxlint-disable-next-line no-control-regex -- they are what is escaped
  const escaped = text.replace(/[\u0000-\u001f"\\]/g, (char) => `\\${String(char.charCodeAt(0)).padStart(3, "0")}`);
  return `"${escaped}"`;
}
