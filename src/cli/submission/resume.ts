/** `--resume PATH`: what the brokers of an instance are told that goes on where another one stopped. */
import { lstatSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { FluxError } from "../../base/errors.ts";

/** What a state directory has at least one of. */
export const STORES = ["content.sqlite", "content.files", "kvs-log"] as const;

/** The broker options. Throws FluxError where nothing at the path can be gone on with. */
export function resumeOptions(path: string, cwd: string): string[] {
  const full = resolve(cwd, path);
  const info = statSync(full, { throwIfNoEntry: false });
  if (info === undefined) throw new FluxError("ENOENT", `--resume=${path}: No such file or directory`);
  if (!info.isDirectory()) return ["-Sbroker.resume=1", `-Scontent.restore=${full}`];
  const dump = join(full, "dump", "RESTORE");
  const hasDump = lstatSync(dump, { throwIfNoEntry: false }) !== undefined;
  const sizes = STORES.map((name) => statSync(join(full, name), { throwIfNoEntry: false })?.size);
  if (!hasDump && sizes.every((size) => size === undefined))
    throw new FluxError("EINVAL", `--resume=${path}: is no state directory of an instance: no content store is in it`);
  // A database that was cut off to nothing would be taken for a new one.
  const emptied = STORES.find((_, index) => sizes[index] === 0);
  if (!hasDump && emptied !== undefined)
    throw new FluxError("EINVAL", `--resume=${path}: ${emptied} is empty: nothing is left to go on with`);
  return ["-Sbroker.resume=1", `-Sstatedir=${full}`, ...(hasDump ? ["-Scontent.restore=auto"] : [])];
}
