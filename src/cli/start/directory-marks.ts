/**
 * Temporary directories of brokers that died without cleaning up. The process that makes a directory marks it with a file
 * that names the process (`.owner-PID`), and so do processes that share it (`.user-PID`); the next start of the same user
 * removes the directories whose processes are all gone.
 *
 * Safe by these rules: only directories named as we name ours, owned by this user, with an owner's mark, on this host and
 * in this process namespace are looked at; a process counts as gone when no process has its number, or that one began
 * at another time; a directory that a user has chosen to keep (`.keep`) stays for ever.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdir,
  readdirSync,
  readFileSync,
  readlinkSync,
  rm,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

const OUR_DIRECTORY = /^flux-[A-Za-z0-9]{6}$/;
const MARK = /^\.(owner|user)-(\d+)$/;
const KEEP = ".keep";
/** Position of the start time in /proc/PID/stat, counted after the command's name. */
const START_FIELD = 19;

/** What tells one process from all others, also across restarts of the machine. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from the start of the machine to that of the process. */
  readonly start: string;
  readonly boot: string;
  readonly namespace: string;
  readonly host: string;
}

/** Null where the platform does not tell: then nothing is marked, and nothing removed. */
function ownIdentity(): ProcessIdentity | null {
  try {
    return {
      pid: process.pid,
      start: startOf(readFileSync("/proc/self/stat", "utf8")),
      boot: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
      namespace: readlinkSync("/proc/self/ns/pid"),
      host: hostname(),
    };
  } catch {
    // No /proc: this is not Linux.
    return null;
  }
}

function startOf(stat: string): string {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_FIELD] ?? "";
}

/** Marks a directory as made (`owner`) or shared (`user`) by this process. */
export function markDirectory(path: string, role: "owner" | "user"): void {
  const identity = ownIdentity();
  if (identity === null) return;
  try {
    writeFileSync(join(path, `.${role}-${identity.pid}`), JSON.stringify(identity), { mode: 0o600 });
  } catch {
    // An unmarked directory is never removed: nothing is lost but tidiness.
  }
}

/** Takes back this process's mark: it does not use the directory any more. */
export function unmarkDirectory(path: string): void {
  for (const role of ["owner", "user"]) rmSync(join(path, `.${role}-${process.pid}`), { force: true });
}

/** Where a run directory has its command: `ssh` finds the right `flux` there (flux-proxy(1)). */
const COMMAND_DIRECTORY = "bin";

/** Links a run directory to the command that its broker was started from. */
export function linkCommand(rundir: string, fluxPath: string): void {
  const directory = join(rundir, COMMAND_DIRECTORY);
  try {
    mkdirSync(directory, { recursive: true });
    symlinkSync(fluxPath, join(directory, "flux"));
  } catch {
    // Another broker that shares the directory was first; without the link the one in PATH is found.
  }
}

export function unlinkCommand(rundir: string): void {
  rmSync(join(rundir, COMMAND_DIRECTORY), { recursive: true, force: true });
}

/** A directory that was temporary once has been chosen by a user. */
export function keepDirectory(path: string): void {
  if (existsSync(path) && readdirSync(path).some((name) => MARK.test(name))) writeFileSync(join(path, KEEP), "");
}

/** Removes what dead brokers of this user left in these directories. Resolves with what was removed. */
export async function removeStaleDirectories(parents: readonly string[]): Promise<string[]> {
  const own = ownIdentity();
  const removed: string[] = [];
  if (own === null) return removed;
  for (const parent of new Set(parents))
    for (const name of await namesIn(parent)) {
      const path = join(parent, name);
      if (!OUR_DIRECTORY.test(name)) continue;
      // Others may want this process meanwhile.
      await new Promise((resolve) => setImmediate(resolve));
      if (!isStale(path, own)) continue;
      await remove(path);
      removed.push(path);
    }
  return removed;
}

// By callbacks: each start does this, and `fs/promises` takes longer to load than all of it takes to run.

function namesIn(path: string): Promise<string[]> {
  // What may not be read is not ours.
  return new Promise((resolve) => readdir(path, (error, names) => resolve(error === null ? names : [])));
}

function remove(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    rm(path, { recursive: true, force: true }, (error) => (error === null ? resolve() : reject(error)));
  });
}

function isStale(path: string, own: ProcessIdentity): boolean {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined || !info.isDirectory() || info.uid !== process.getuid?.()) return false;
  const names = readNames(path);
  const marks = names.filter((name) => MARK.test(name));
  if (names.includes(KEEP) || !marks.some((name) => name.startsWith(".owner-"))) return false;
  return marks.every((name) => isGone(join(path, name), own));
}

function readNames(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    // It has gone meanwhile.
    return [];
  }
}

/** Whether the process of a mark is certainly gone. */
function isGone(mark: string, own: ProcessIdentity): boolean {
  const identity = readIdentity(mark);
  if (identity === null || identity.host !== own.host) return false;
  if (identity.boot !== own.boot) return true;
  if (identity.namespace !== own.namespace) return false;
  try {
    return startOf(readFileSync(`/proc/${identity.pid}/stat`, "utf8")) !== identity.start;
  } catch {
    // No process has this number, or what it has cannot be read.
    return !existsSync(`/proc/${identity.pid}`);
  }
}

function readIdentity(mark: string): ProcessIdentity | null {
  try {
    const value = JSON.parse(readFileSync(mark, "utf8")) as Partial<ProcessIdentity>;
    const { pid, start, boot, namespace, host } = value;
    const isWhole =
      Number.isSafeInteger(pid) && [start, boot, namespace, host].every((text) => typeof text === "string");
    return isWhole ? (value as ProcessIdentity) : null;
  } catch {
    // Half written, or not ours: it proves nothing.
    return null;
  }
}
