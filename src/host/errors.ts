/**
 * Errors of the platform become FluxErrors here: errno as Linux numbers it, and a sentence that names the thing.
 *
 * Knows the shapes of Node's system errors; knows nothing of Flux.
 */
import { Errno, FluxError, errnoSentence, type ErrnoName } from "../base/errors.ts";

interface SystemError extends Error {
  readonly errno?: number;
  readonly code?: string;
}

/** The errno of an error that Node threw, or `otherwise` where it carries none. */
export function errnoOf(error: unknown, otherwise: ErrnoName = "EIO"): number {
  if (error instanceof FluxError) return error.errnum;
  const system = error as SystemError;
  if (typeof system?.code === "string" && system.code in Errno) return Errno[system.code as ErrnoName];
  if (typeof system?.errno === "number" && system.errno < 0) return -system.errno;
  return Errno[otherwise];
}

/** A FluxError that says what could not be done and why: "cannot open /x: No such file or directory". */
export function systemError(what: string, error: unknown, otherwise: ErrnoName = "EIO"): FluxError {
  if (error instanceof FluxError) return error;
  const errnum = errnoOf(error, otherwise);
  return new FluxError(errnum, `${what}: ${errnoSentence(errnum)}`, { cause: error });
}

/** Whether an error of Node has one of the given codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  const code = (error as SystemError)?.code;
  return typeof code === "string" && codes.includes(code);
}
