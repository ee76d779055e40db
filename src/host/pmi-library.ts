/**
 * PMI libraries of other launchers (`libpmi.so`, `libpmi2.so`), through the native addon. Calls wait for the launcher: for
 * programs that do nothing else.
 */
import { FluxError } from "../base/errors.ts";
import { nativeAddon } from "./native.ts";

/** The interface that a library has. */
export type PmiInterface = 1 | 2;

/** What the errors of both interfaces mean that users come across. */
const RESULTS: Readonly<Record<number, string>> = {
  [-1]: "operation failed",
  1: "PMI not initialized",
  2: "input buffer not large enough",
  3: "invalid argument",
  4: "invalid key argument",
  5: "invalid key length argument",
  6: "invalid val argument",
  7: "invalid val length argument",
  8: "invalid length argument",
};
const INVALID_KEY = 4;

export interface PmiLibrary {
  readonly rank: number;
  readonly size: number;
  readonly kvsname: string;
  /** The library is that of Flux itself. */
  readonly isFlux: boolean;
  barrier(): void;
  put(key: string, value: string): void;
  /** Null where there is no such key. */
  get(key: string): string | null;
  finalize(): void;
  abort(message: string): void;
}

/**
 * Loads a library and initializes it, unless `accepts` refuses it. Throws FluxError ENOENT where it cannot be loaded, ENOSYS
 * without the addon, EIO where the launcher refuses.
 */
export function openPmiLibrary(path: string, version: PmiInterface, accepts: (isFlux: boolean) => void): PmiLibrary {
  const addon = nativeAddon();
  if (addon === null)
    throw new FluxError(
      "ENOSYS",
      `${path}: libraries cannot be loaded without the native addon: use the method 'simple'`,
    );
  let isFlux: boolean;
  try {
    isFlux = addon.pmiOpen(path, version).isFlux;
  } catch (error) {
    throw new FluxError("ENOENT", `dlopen ${error instanceof Error ? error.message : path}`, { cause: error });
  }
  accepts(isFlux);
  const { result, rank, size, name } = addon.pmiInitialize();
  check("initialize", result);
  const call = (what: string, key = "", value = ""): { result: number; value: string } =>
    addon.pmiCall(what, name, key, value);
  return {
    rank,
    size,
    kvsname: name,
    isFlux,
    barrier: () => check("barrier", call("barrier").result),
    put: (key, value) => check(`put ${key}`, call("put", key, value).result),
    get: (key) => {
      const answer = call("get", key);
      if (answer.result === INVALID_KEY) return null;
      check(`get ${key}`, answer.result);
      return answer.value;
    },
    finalize: () => check("finalize", call("finalize").result),
    abort: (message) => void call("abort", "", message),
  };
}

/** Throws FluxError EIO. */
function check(what: string, result: number): void {
  if (result !== 0) throw new FluxError("EIO", `${what}: ${RESULTS[result] ?? `error ${result}`}`);
}
