/**
 * The life of a simulated process: what it started ends with it. A killed process never acts again: its timers do not
 * fire, nothing is delivered to it, what it sends goes nowhere.
 */

export class Scope {
  readonly name: string;
  #alive = true;
  readonly #cleanups = new Set<() => void>();

  constructor(name: string) {
    this.name = name;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Wraps a callback so that it does nothing once the process is dead. */
  guard<A extends unknown[]>(callback: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      if (this.#alive) callback(...args);
    };
  }

  /** Something to undo at the end; returns a function that forgets it. */
  onEnd(cleanup: () => void): () => void {
    this.#cleanups.add(cleanup);
    return () => this.#cleanups.delete(cleanup);
  }

  end(): void {
    if (!this.#alive) return;
    this.#alive = false;
    const cleanups = [...this.#cleanups].toReversed();
    this.#cleanups.clear();
    for (const cleanup of cleanups) cleanup();
  }
}
