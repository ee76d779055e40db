/**
 * The door to the native addon: its functions where it was built, null where it was not.
 *
 * The addon is `dist/native/flux_native.node`, made by `tools/setup.mjs` from `native/` where there is a C compiler.
 * FLUX_NATIVE=off in the environment does without it, so that the pure-Node code can be tried anywhere.
 */
import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { installRoot } from "./paths.ts";

/** Where in the preparation of a child a system call failed. */
export type SpawnStage = "descriptors" | "session" | "cwd" | "affinity" | "rlimit" | "terminal" | "exec" | "fork";

export interface NativeSpawnRequest {
  readonly argv: readonly string[];
  /** Entries "NAME=value". */
  readonly env: readonly string[];
  readonly cwd: string;
  /** Descriptors of this process to be 0, 1, 2, … of the child. -1 leaves a number closed. */
  readonly fds: readonly number[];
  /** 0 = stay in the process group, 1 = a group of its own, 2 = a session of its own with fd 0 as its terminal. */
  readonly group: 0 | 1 | 2;
  readonly cpus: readonly number[];
  /** Triples of resource number, soft limit; -1 = unlimited. */
  readonly rlimits: readonly number[];
  /** -1 leaves it as it is. */
  readonly umask: number;
}

/** A child, or the errno and the stage of what failed. */
export type NativeSpawnResult =
  | { readonly pid: number; readonly pidfd: number }
  | { readonly errnum: number; readonly stage: SpawnStage };

export interface NativeAddon {
  /** Starts a program. Its descriptors are copied: the caller closes its own. */
  spawn(request: NativeSpawnRequest): NativeSpawnResult;
  /** Calls back once, with the wait status, when the process behind a pidfd has ended; reaps it and closes the pidfd. */
  onExit(pidfd: number, callback: (status: number) => void): void;
  /** A pipe as [reading end, writing end], both close-on-exec; the end of this process does not block. */
  pipe(readEndBlocks: boolean): [number, number];
  socketPair(): [number, number];
  /** A pseudo terminal as [master, terminal]. */
  openPty(rows: number, columns: number): [number, number];
  resizePty(master: number, rows: number, columns: number): void;
  openNull(): number;
  closeFd(fd: number): void;
  peerCredentials(fd: number): { uid: number; pid: number } | null;
  affinity(): number[];
}

let loaded: NativeAddon | null | undefined;

/** The addon, or null. Loaded once. */
export function nativeAddon(): NativeAddon | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  const file = join(installRoot(), "dist/native/flux_native.node");
  if (process.env["FLUX_NATIVE"] === "off" || !existsSync(file)) return loaded;
  try {
    loaded = createRequire(import.meta.url)(file) as NativeAddon;
  } catch (error) {
    process.stderr.write(`flux: ${file} does not load (${(error as Error).message}); going on without it\n`);
  }
  return loaded;
}
