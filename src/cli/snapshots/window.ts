/** Doing some of many things at once, results in order. */

/**
 * Does something with each item, at most so many at once, and yields the results in the order of the items. An error is
 * thrown when its turn has come; what was begun by then is left to itself.
 */
export async function* inOrder<Item, Result>(
  items: Iterable<Item>,
  window: number,
  action: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const running: Promise<Result>[] = [];
  for (const item of items) {
    running.push(begun(action(item)));
    if (running.length >= window) yield await running.shift()!;
  }
  for (const result of running) yield await result;
}

/** A promise that is looked at later: until then its error is not one that nobody handles. */
export function begun<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
