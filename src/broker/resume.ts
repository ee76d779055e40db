/**
 * Going on where an instance stopped (`flux start --resume`, attribute `broker.resume`): its initial program is noted in the
 * key-value store where that outlives the instance, and is run again, with FLUX_RESUMED=1, when the instance comes back.
 */
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../base/json.ts";
import { Kvs, KvsTransaction } from "../sdk/kvs.ts";
import { lookupText } from "../sdk/kvs-text.ts";
import type { Attributes } from "./attributes.ts";
import type { Core } from "./core.ts";

const KEY = "resume.program";
/** What this version writes; a later one may write more. */
const VERSION = 1;
/** A longer script stays where it is, in bytes. */
const SCRIPT_BYTES_MAX: number = 1024 * 1024;
const EXECUTABLE = 0o700;

/** Told to the initial program of an instance that goes on. */
export const RESUMED_VARIABLE = "FLUX_RESUMED";

/** Whether the instance goes on where an earlier one stopped. */
export function isResumed(attributes: Attributes): boolean {
  return attributes.get("broker.resume") !== null;
}

/** The value of `broker.respawn` for a broker that was started again after its death. */
export const RESPAWNED = "again";

/** Whether the initial program was started before, in this life of the instance or an earlier one. */
export function runsAgain(attributes: Attributes): boolean {
  return isResumed(attributes) || attributes.get("broker.respawn") === RESPAWNED;
}

/** Whether the instance's state is kept when it has ended. */
export function outlivesInstance(attributes: Attributes): boolean {
  return (attributes.get("content.dump") ?? "") !== "" || attributes.get("statedir-cleanup") === "0";
}

/** Notes what the initial program is. A script in the job's own temporary directory is gone when the job is: it is kept whole. */
export function noteProgram(core: Core, words: readonly string[], cwd: string): void {
  const { attributes, ports } = core.options;
  if (!outlivesInstance(attributes) || words.length === 0) return;
  const script = temporaryScript(core, words[0]!);
  const note: JsonObject = { version: VERSION, argv: [...words], cwd, ...(script === null ? {} : { script }) };
  new Kvs(core.handle).commit(new KvsTransaction().put(KEY, note)).catch((error: unknown) =>
    // An instance without a key-value store has nothing to go on with either.
    ports.trace.event("broker", "program-not-noted", { reason: errorText(error) }),
  );
}

function temporaryScript(core: Core, path: string): string | null {
  const { disk, host } = core.options.ports;
  const directory = host.env["FLUX_JOB_TMPDIR"];
  if (directory === undefined || !path.startsWith(`${directory}/`)) return null;
  const info = disk.info(path);
  return info?.kind === "file" && info.sizeBytes <= SCRIPT_BYTES_MAX ? utf8Decode(disk.readFile(path)) : null;
}

/** The program of the instance that goes on; null where none was noted. Throws FluxError where it cannot be run again. */
export async function recallProgram(core: Core): Promise<{ words: string[]; cwd: string } | null> {
  const text = await lookupText(core.handle, KEY).catch((error: unknown) => {
    if (isFluxError(error, "ENOENT", "ENOSYS")) return null;
    throw error;
  });
  if (text === null) return null;
  const note = parseJson(text);
  const argv = isJsonObject(note) ? note["argv"] : null;
  if (!isJsonObject(note) || !Array.isArray(argv) || !argv.every((word) => typeof word === "string"))
    throw new FluxError("EPROTO", `resume: what ${KEY} says of the initial program cannot be read`);
  if (note["version"] !== VERSION)
    throw new FluxError(
      "EPROTO",
      `resume: made by another version of Flux (${KEY} is of version ${String(note["version"])}, known is ${VERSION}): give the initial program on the command line, or use that version`,
    );
  const { disk, host } = core.options.ports;
  // A directory that is not there any more, or not on this machine, is no reason not to go on.
  const cwd = typeof note["cwd"] === "string" && disk.info(note["cwd"]) !== null ? note["cwd"] : host.cwd;
  const words = argv as string[];
  if (typeof note["script"] !== "string") return { words, cwd };
  return { words: [unpack(core, note["script"]), ...words.slice(1)], cwd };
}

function unpack(core: Core, script: string): string {
  const path = `${core.options.attributes.require("rundir")}/script`;
  core.options.ports.disk.writeFile(path, utf8Encode(script), { mode: EXECUTABLE });
  return path;
}
