/** A queue that is appended to, and whose head is taken, in constant time. Pure. */

export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }
  /** The one that `shift` would take. */
  get first(): T | undefined {
    return this.#items[this.#head];
  }
  push(item: T): void {
    this.#items.push(item);
  }
  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined;
    const item = this.#items[this.#head]!;
    this.#items[this.#head++] = undefined as T;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Up to so many of the items at the head. */
  *leading(count: number): Generator<T> {
    const end = Math.min(this.#items.length, this.#head + count);
    for (let at = this.#head; at < end; at++) yield this.#items[at]!;
  }
}
