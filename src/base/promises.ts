/** Promises that are awaited later than they may fail. Pure. */

/** The same promise; until somebody awaits it, its failure does not count as unhandled. */
export function handledLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
