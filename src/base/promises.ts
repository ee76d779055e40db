/** Promises that are awaited later than they may fail, or may fail in a manner that is an answer. Pure. */
import { isFluxError, type ErrnoName } from "./errors.ts";

/** The same promise; until somebody awaits it, its failure does not count as unhandled. */
export function handledLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** What a promise resolves with; null where it is rejected with one of some errnos. */
export function orNull<T>(promise: Promise<T>, ...errnos: readonly ErrnoName[]): Promise<T | null> {
  return promise.catch((error: unknown) => {
    if (isFluxError(error, ...errnos)) return null;
    throw error;
  });
}
