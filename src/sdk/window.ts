/** Work of which some is under way at once: enough to keep a connection busy, and never more. */

/** The results of an action on items, in their order; up to `width` of them are awaited at a time. */
export async function* inOrder<T, R>(
  items: readonly T[],
  width: number,
  action: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const ahead: Promise<R>[] = [];
  let next = 0;
  while (next < items.length || ahead.length > 0) {
    while (next < items.length && ahead.length < width) {
      const result = action(items[next++]!);
      // Whoever takes it hears of its failure; until then nobody does.
      result.catch(() => {});
      ahead.push(result);
    }
    yield await ahead.shift()!;
  }
}

/** Actions that need not end in their order. The first failure is told by the next call. */
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
