/** Work of which some is under way at once: enough to keep a connection busy, and never more. */
import { handledLater } from "../base/promises.ts";

/**
 * The results of an action on items, in their order; up to `width` of them are awaited at a time. An error is thrown when
 * its turn has come; what was begun by then is left to itself.
 */
export async function* inOrder<T, R>(
  items: Iterable<T>,
  width: number,
  action: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  for (const item of items) {
    ahead.push(handledLater(action(item)));
    if (ahead.length >= width) yield await ahead.shift()!;
  }
  for (const result of ahead) yield await result;
}

/** Actions that may end in any order. The next call rejects with the first failure. */
export class Window {
  readonly #width: number;
  readonly #underWay = new Set<Promise<void>>();
  #failure: unknown = null;

  constructor(width: number) {
    this.#width = width;
  }

  /** Begins an action; resolves when there is room for another. Rejects with what an earlier one failed with. */
  async add(action: Promise<void>): Promise<void> {
    const ended = action
      .catch((error: unknown) => void (this.#failure ??= error))
      .finally(() => this.#underWay.delete(ended));
    this.#underWay.add(ended);
    if (this.#underWay.size >= this.#width) await Promise.race(this.#underWay);
    this.#check();
  }

  /** Resolves when all have ended; rejects with the first failure. */
  async finish(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#check();
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
