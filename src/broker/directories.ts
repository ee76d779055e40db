/**
 * The directories of a broker: `rundir` for its sockets, `statedir` (leader only) for what is to survive
 * (flux-broker-attributes(7)).
 *
 * Invariant: what the broker made it removes at its end, what was there before it leaves, unless an attribute says
 * otherwise.
 */
import { utf8Decode, utf8Encode, utf8Length } from "../base/bytes.ts";
import { errnoSentence, FluxError, isFluxError } from "../base/errors.ts";
import type { Disk, HostInfo } from "../base/ports.ts";
import type { Attributes } from "./attributes.ts";

/** A socket's path holds 107 bytes; the names in the directory need some. */
const RUNDIR_BYTES_MAX = 96;
const STICKY = 0o1000;
const PRIVATE = 0o700;
/** The format of what is in a state directory: redo log, content store, pages of jobs. Counted up when a former version could not read it. */
const FORMAT_VERSION = 2;
const FORMAT_FILE = "flux-format";
const FORMAT_MODE = 0o600;
const PERSISTENT_TEMPORARY = "/var/tmp";

/** Makes the directory of an attribute where it is needed, and sets NAME and NAME-cleanup. Throws FluxError. */
function prepare(disk: Disk, attributes: Attributes, name: "rundir" | "statedir", temporary: string): string {
  const wanted = attributes.get(name);
  let path = wanted ?? "";
  let isMade = true;
  if (wanted === null) path = disk.makeTemporaryDirectory(`${temporary}/flux-`);
  else {
    const info = disk.info(wanted);
    if (info === null) make(disk, name, wanted);
    else if (info.kind !== "directory") throw new FluxError("ENOTDIR", `${name} ${wanted}: Not a directory`);
    else if ((info.mode & STICKY) !== 0) path = disk.makeTemporaryDirectory(`${wanted}/flux-`);
    else if ((info.mode & PRIVATE) !== PRIVATE)
      throw new FluxError("EPERM", `${name} ${wanted} does not have owner=rwx permissions`);
    else isMade = false;
  }
  attributes.set(name, path);
  if (attributes.get(`${name}-cleanup`) === null) attributes.set(`${name}-cleanup`, isMade ? "1" : "0");
  return path;
}

/** Makes one directory, not those above it: if these are missing, the path is more likely a mistake. */
function make(disk: Disk, name: string, path: string): void {
  try {
    disk.makeDirectory(path, { mode: PRIVATE });
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    if (error.is("EEXIST")) return;
    throw new FluxError(error.errnum, `${name} error creating ${path}: ${errnoSentence(error.errnum)}`, {
      cause: error,
    });
  }
}

export function prepareRundir(disk: Disk, attributes: Attributes, host: HostInfo): string {
  const length = utf8Length(attributes.get("rundir") ?? "");
  if (length > RUNDIR_BYTES_MAX)
    throw new FluxError(
      "ENAMETOOLONG",
      `rundir length of ${length} bytes exceeds max ${RUNDIR_BYTES_MAX} to allow for AF_UNIX socket creation.`,
    );
  return prepare(disk, attributes, "rundir", host.temporaryDirectory);
}

export function prepareStatedir(disk: Disk, attributes: Attributes, host: HostInfo): string {
  const parent = disk.info(PERSISTENT_TEMPORARY) === null ? host.temporaryDirectory : PERSISTENT_TEMPORARY;
  const path = prepare(disk, attributes, "statedir", parent);
  checkFormat(disk, attributes, path);
  return path;
}

/** What a state directory holds is read by versions of Flux that know its format: the number is in a file of its own. */
function checkFormat(disk: Disk, attributes: Attributes, directory: string): void {
  const path = `${directory}/${FORMAT_FILE}`;
  const text = disk.info(path) === null ? "" : utf8Decode(disk.readFile(path)).replace(/[\s\0]/g, "");
  if (text === String(FORMAT_VERSION)) return;
  // Nothing, a file whose bytes a loss of power has taken, or the mark of a former version, which this one can read.
  if (/^\d*$/.test(text) && Number(text) < FORMAT_VERSION) return markFormat(disk, attributes, path);
  // What cannot be read is nobody's to remove.
  attributes.set("statedir-cleanup", "0");
  throw new FluxError(
    "EINVAL",
    `statedir ${directory} has format '${text}' of a newer Flux, this one knows formats up to ${FORMAT_VERSION}: ` +
      "start it with the version that wrote it, or restore a dump made by that one",
  );
}

/** Only what outlives the instance will be met by another version. */
function markFormat(disk: Disk, attributes: Attributes, path: string): void {
  if (attributes.get("statedir-cleanup") !== "0") return;
  try {
    disk.writeFile(path, utf8Encode(`${FORMAT_VERSION}\n`), { mode: FORMAT_MODE, sync: true });
  } catch (error) {
    // A full disk is no reason not to start; the next start marks it.
    if (!isFluxError(error, "ENOSPC")) throw error;
  }
}

/** Less room than this for a content store is told as an error: the instance may soon have none. */
const ROOM_BYTES_MIN: number = 64 * 1024 * 1024;

export interface Doubt {
  readonly isSerious: boolean;
  readonly text: string;
}

/** What speaks against the place of the state directory; null where nothing does. */
export function doubtAboutStatedir(disk: Disk, attributes: Attributes): Doubt | null {
  const path = attributes.require("statedir");
  const remedy = "choose another place by -Sstatedir=DIR (flux batch --broker-opts=-Sstatedir=DIR)";
  const freeBytes = disk.freeBytes(path);
  if (freeBytes < ROOM_BYTES_MIN) {
    const left = `${Math.floor(freeBytes / (1024 * 1024))} MiB`;
    return { isSerious: true, text: `statedir ${path} has only ${left} left for jobs and their output: ${remedy}` };
  }
  if (!disk.isInMemory(path)) return null;
  // A user who named the place expects that what is there stays.
  const isNamed = attributes.get("statedir-cleanup") === "0";
  return { isSerious: isNamed, text: `statedir ${path} is in memory, which it takes from jobs: ${remedy}` };
}

/** Removes what is to be removed. What cannot be is left: returns why, or null. */
export function removeDirectories(disk: Disk, attributes: Attributes): string | null {
  try {
    for (const name of ["statedir", "rundir"]) {
      const path = attributes.get(name);
      if (path !== null && attributes.get(`${name}-cleanup`) === "1") disk.remove(path);
    }
    return null;
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    return error.message;
  }
}
