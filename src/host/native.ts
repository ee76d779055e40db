/**
 * The door to the native addon: its functions where it was built, null where it was not.
 *
 * The addon is `dist/native/flux_native.node`, made by `tools/setup.mjs` from `native/` where there is a C compiler.
 * FLUX_NATIVE=off in the environment does without it, so that the pure-Node code can be tried anywhere.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { installRoot } from "./paths.ts";

/** What a descriptor of a child is; a number from 0 on is a descriptor of this process. */
export const SpawnDescriptor = { null: -1, pipeIn: -2, pipeOut: -3, socket: -4, pty: -5 } as const;

/** Where the preparation of a child failed, by the number that the addon reports. */
export const SPAWN_STAGES = [
  "none",
  "resources",
  "session",
  "descriptors",
  "terminal",
  "cpus",
  "rlimits",
  "cwd",
  "exec",
] as const;

export const SPAWN_DESCRIPTORS_MAX = 32;
/** Length of the result of a spawn: pid, stage, pidfd, our ends of the descriptors. */
export const SPAWN_RESULT_LENGTH: number = 3 + SPAWN_DESCRIPTORS_MAX;

/** What the callback of a stream hears. */
export const Heard = { data: 0, end: 1, room: 2 } as const;

/** A stream of the addon; opaque. */
export type NativeStream = { readonly native: unique symbol };

/** A compression context of the addon; opaque. */
export type NativeCompressor = { readonly native: unique symbol };

/** The answer of a PMI library: 0, or an error of its interface. */
export interface PmiLibraryAnswer {
  readonly result: number;
  readonly value: string;
}

export interface NativeAddon {
  /** Loads a library with the interface of PMI-1 or PMI-2. Throws with the reason where that fails. */
  pmiOpen(path: string, version: number): { readonly isFlux: boolean };
  pmiInitialize(): { readonly result: number; readonly rank: number; readonly size: number; readonly name: string };
  /** Calls "put", "get", "barrier", "finalize" or "abort"; waits for the launcher. */
  pmiCall(what: string, kvsname: string, key: string, value: string): PmiLibraryAnswer;
  /** False on kernels before 5.3, which have no descriptors of processes. */
  readonly canSpawn: boolean;
  /**
   * Starts a program. `argv` and `env` are strings that each end in a zero character. The result gets the pid (or the
   * errno, negated), the stage of a failure, the pidfd, and our end of each of the child's descriptors or -1.
   */
  spawn(argv: string, env: string, cwd: string, numbers: Float64Array, result: Int32Array): void;
  /** Reaps a process when it ends, closes its pidfd, and calls back with its wait status. */
  onExit(pid: number, pidfd: number, callback: (status: number) => void): void;
  resizePty(master: number, rows: number, columns: number): void;
  /**
   * A stream over a descriptor, which belongs to it from now on. The callback hears what happened (`Heard`), and the data, or
   * the errno that ended it (0 where it just ended).
   */
  streamOpen(fd: number, callback: (heard: number, data: Uint8Array | number) => void): NativeStream;
  streamRead(stream: NativeStream, on: boolean): void;
  /** Returns how many bytes were taken, or the errno, negated. */
  streamWrite(stream: NativeStream, bytes: Uint8Array, offset: number): number;
  /** Asks for one `room` when writing is possible again. */
  streamAwaitRoom(stream: NativeStream, on: boolean): void;
  streamShutdown(stream: NativeStream): void;
  streamClose(stream: NativeStream): void;
  /** A descriptor connected to a unix socket, or the errno, negated. */
  connectUnix(path: string): number;
  /** Another descriptor of the same file, or the errno, negated. */
  duplicate(fd: number): number;
  /** A program that takes the place of this one (`execve`) has the descriptor, too. */
  handOn(fd: number): void;
  peerCredentials(fd: number): { uid: number; pid: number } | null;
  affinity(): number[];
  /** Start and end of the next stretch of a file that holds data, from an offset on; null where only a hole follows. */
  dataRegion(fd: number, offset: number): [start: number, end: number] | null;
  /** Free pages of the C library's memory go back to the system. */
  trimMemory(): void;
  /** Compresses with zstd, at a level and with a dictionary, which may be empty. Undefined where Node's zstd cannot be reached. */
  compressor(level: number, dictionary: Uint8Array): NativeCompressor | undefined;
  compress(compressor: NativeCompressor, data: Uint8Array): Uint8Array;
}

let loaded: NativeAddon | null | undefined;

/** The addon, or null. Loaded once. */
export function nativeAddon(): NativeAddon | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  const file = join(installRoot(), "dist/native/flux_native.node");
  if (process.env["FLUX_NATIVE"] === "off" || !existsSync(file)) return loaded;
  try {
    const module = { exports: {} };
    process.dlopen(module, file);
    loaded = module.exports as NativeAddon;
  } catch (error) {
    process.stderr.write(`flux: ${file} does not load (${(error as Error).message}); going on without it\n`);
  }
  return loaded;
}
