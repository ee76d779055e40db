/**
 * Starting with a dump of the key-value store, and leaving one behind: the attributes `content.restore` and
 * `content.dump`. The work is done by flux-restore(1) and flux-dump(1), while the content store runs and the key-value
 * store does not.
 */
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { Core } from "./core.ts";

const LOG_ERR = 3;
/** The value of the attributes that stands for a place that Flux chooses. */
const AUTOMATIC = "auto";
/** Services that keep the blobs: a dump is made before the first of them goes. */
export const STORES: ReadonlySet<string> = new Set(["content", "content-sqlite", "content-files"]);

/** Runs a command to its end; resolves with its exit code. */
export type RunCommand = (words: readonly string[]) => Promise<number>;

/** Whether a dump is restored before this service starts. */
export function comesAfterRestore(service: string): boolean {
  return service === "kvs";
}

/** Whether a dump is made before this service goes. */
export function comesAfterDump(service: string): boolean {
  return STORES.has(service);
}

/** Restores what `content.restore` names, if anything. Resolves with 0, or the exit code of what failed. */
export async function restoreSnapshot(core: Core, run: RunCommand): Promise<number> {
  const { attributes, ports } = core.options;
  const source = attributes.get("content.restore") ?? "";
  if (source === "") return 0;
  const command = [ports.host.fluxPath, "restore", "--checkpoint", "--quiet", "--sd-notify"];
  const exitCode = await run([...command, source === AUTOMATIC ? `--latest-in=${directoryOf(core)}` : source]);
  // A dump of what is there instead must not take the place of the one that could not be restored.
  if (exitCode !== 0 && attributes.get("content.dump") !== null) attributes.set("content.dump", "");
  return exitCode;
}

/** Makes the dump that `content.dump` asks for, if any. Resolves with whether nothing went wrong. */
export async function dumpSnapshot(core: Core, run: RunCommand): Promise<boolean> {
  const { attributes, log, ports } = core.options;
  const target = attributes.get("content.dump") ?? "";
  if (target === "") return true;
  const command = [ports.host.fluxPath, "dump", "--checkpoint", "--quiet", "--sd-notify"];
  const exitCode = await run([...command, target === AUTOMATIC ? `--latest-in=${directoryOf(core)}` : target]);
  if (exitCode === 0) return true;
  // What was to be saved in the dump is saved here instead.
  const statedir = attributes.get("statedir");
  if (statedir !== null && attributes.get("statedir-cleanup") === "1") {
    attributes.set("statedir-cleanup", "0");
    // Or a later broker would take it for what a dead one has left.
    ports.disk.writeFile(`${statedir}/.keep`, EMPTY_BYTES, { mode: 0o600 });
    log.append("broker", LOG_ERR, `rc3.0: there is no dump, so the content store is kept: statedir is ${statedir}`);
  }
  return false;
}

/** Where automatic dumps are: in the state directory, where that outlives the instance, else in the current one. */
function directoryOf(core: Core): string {
  const { attributes, ports } = core.options;
  const statedir = attributes.get("statedir");
  const base = statedir !== null && attributes.get("statedir-cleanup") === "0" ? statedir : ports.host.cwd;
  return `${base}/dump`;
}
