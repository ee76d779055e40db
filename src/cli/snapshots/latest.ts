/**
 * Dumps that are made and restored without anybody naming them: files of a directory, named by their time, and the link
 * `RESTORE` to the one that the next start of the instance is to use.
 */
import { lstatSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { errorText, FluxError } from "../../base/errors.ts";
import type { OptionSpec } from "../framework/command.ts";

const LINK = "RESTORE";

/** The option by which brokers make and restore dumps: users name their archives. */
export const latestOption: OptionSpec = {
  names: ["latest-in"],
  argument: "DIR",
  hidden: true,
  help: "Use the archive of DIR that is to be restored next, or make it",
};

/** The file for a dump made now (seconds since the Unix epoch). Makes the directory. Throws where that fails. */
export function nextDump(directory: string, now: number): string {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw new FluxError("EIO", `Failed to create '${directory}': ${errorText(error)}`, { cause: error });
  }
  const [date, time] = new Date(now * 1000).toISOString().slice(0, 19).split("T") as [string, string];
  return join(directory, `${date.replaceAll("-", "")}_${time.replaceAll(":", "")}.tgz`);
}

/** The dump is complete: it is the one to be restored. */
export function linkDump(path: string): void {
  const link = join(path, "..", LINK);
  const fresh = `${link}.${process.pid}`;
  rmSync(fresh, { force: true });
  symlinkSync(basename(path), fresh);
  renameSync(fresh, link);
}

/** The link to the dump that is to be restored; null where there is none. */
export function dumpToRestore(directory: string): string | null {
  const link = join(directory, LINK);
  return lstatSync(link, { throwIfNoEntry: false }) === undefined ? null : link;
}

/** The dump has been restored: it is not restored again. */
export function unlinkDump(link: string): void {
  rmSync(link, { force: true });
}
