/**
 * `--add-file`: files that travel inside a jobspec (`attributes.system.files`, RFC 14 and RFC 37).
 *
 * Pure: contents and modes come through a reader.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { encodeFile, encodeTextFile } from "../../formats/archive.ts";

/** What reads files for a submission. Throws FluxError. */
export interface FileReader {
  read(path: string): { readonly data: Uint8Array; readonly permissions: number };
}

/**
 * Reads `[NAME[:PERMS]=]ARG`: ARG is a path, or the content itself where it has several lines and a name is given.
 * Throws FluxError.
 */
export function addedFile(argument: string, reader: FileReader): { name: string; entry: JsonObject } {
  const at = argument.indexOf("=");
  const target = at < 0 ? null : argument.slice(0, at);
  const source = at < 0 ? argument : argument.slice(at + 1);
  const perms = target === null ? null : /^(.*):(\d+)$/.exec(target);
  const name = perms?.[1] ?? target ?? baseName(source);
  const given = perms === null ? {} : { permissions: octal(perms[2]!, argument) };
  // A shell that leaves `\n` in the text means a line end by it.
  const content = source.replaceAll("\\n", "\n");
  if (target === null && content.includes("\n")) throw new FluxError("EINVAL", "--add-file: file name missing");
  if (content.includes("\n")) return { name, entry: encodeTextFile(content, given) };
  try {
    const { data, permissions } = reader.read(source);
    return { name, entry: encodeFile(data, { permissions, ...given }) };
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError(error.errnum, `--add-file=${argument}: [Errno ${error.errnum}] ${error.message}`, {
      cause: error,
    });
  }
}

function octal(text: string, argument: string): number {
  if (!/^[0-7]+$/.test(text)) throw new FluxError("EINVAL", `--add-file=${argument}: invalid permissions '${text}'`);
  return Number.parseInt(text, 8);
}

/** The last part of a path. */
function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
