/** The event subscriptions of one party: topic prefixes, counted, so that subscribing twice takes two unsubscribes. */
import { FluxError } from "../base/errors.ts";

export class Subscriptions {
  readonly #counts = new Map<string, number>();

  add(prefix: string): void {
    this.#counts.set(prefix, (this.#counts.get(prefix) ?? 0) + 1);
  }

  /** Throws ENOENT where there is no such subscription. */
  remove(prefix: string): void {
    const count = this.#counts.get(prefix);
    if (count === undefined) throw new FluxError("ENOENT", `no subscription to '${prefix}'`);
    if (count === 1) this.#counts.delete(prefix);
    else this.#counts.set(prefix, count - 1);
  }

  /** Every subscription, one that was made twice twice. */
  prefixes(): string[] {
    return [...this.#counts].flatMap(([prefix, count]) => Array.from({ length: count }, () => prefix));
  }

  matches(topic: string): boolean {
    for (const prefix of this.#counts.keys()) if (topic.startsWith(prefix)) return true;
    return false;
  }
}
