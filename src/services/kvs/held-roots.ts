/**
 * Versions that somebody reads by their reference (a dump, a watcher that is behind) although they may be superseded: they
 * are roots of checkpoints, and through these of the collector. A client that asks for a root holds it until it asks again
 * or is gone, and a little longer: a script asks for the root with one command and reads from it with the next.
 *
 * Invariant: at most HELD_ROOTS_MAX are held. Pure: it is told the time.
 */
import { HELD_GRACE_MS, HELD_ROOTS_MAX } from "./protocol.ts";

interface Hold {
  readonly sender: string;
  readonly ref: string;
  /** Infinity while the holder is there. */
  untilMs: number;
}

export class HeldRoots {
  /** By sender and what it is held for, in the order in which they began. */
  readonly #holds = new Map<string, Hold>();
  readonly #ended: Hold[] = [];

  /** A sender holds this root for some purpose (a namespace), and no other any more; null: none. */
  hold(sender: string, purpose: string, ref: string | null, nowMs: number): void {
    const key = `${sender} ${purpose}`;
    const before = this.#holds.get(key);
    if (before !== undefined && before.ref !== ref) this.#end(key, before, nowMs);
    if (ref !== null && before?.ref !== ref) this.#holds.set(key, { sender, ref, untilMs: Infinity });
    this.#limit(nowMs);
  }

  /** A sender is gone. Returns whether it held something. */
  release(sender: string, nowMs: number): boolean {
    const held = [...this.#holds].filter(([, hold]) => hold.sender === sender);
    for (const [key, hold] of held) this.#end(key, hold, nowMs);
    return held.length > 0;
  }

  #end(key: string, hold: Hold, nowMs: number): void {
    this.#holds.delete(key);
    hold.untilMs = nowMs + HELD_GRACE_MS;
    this.#ended.push(hold);
  }

  /** When something that nobody asks for any more is let go; null where there is nothing of that kind. */
  get nextEndMs(): number | null {
    return this.#ended[0]?.untilMs ?? null;
  }

  /** Nothing is held any more: all are gone. */
  clear(): void {
    this.#holds.clear();
    this.#ended.length = 0;
  }

  /** What is held now. */
  refs(nowMs: number): Set<string> {
    this.#limit(nowMs);
    return new Set([...this.#ended, ...this.#holds.values()].map(({ ref }) => ref));
  }

  #limit(nowMs: number): void {
    while (this.#ended.length > 0 && this.#ended[0]!.untilMs <= nowMs) this.#ended.shift();
    while (this.#holds.size + this.#ended.length > HELD_ROOTS_MAX) {
      if (this.#ended.shift() !== undefined) continue;
      const [oldest] = this.#holds.keys();
      this.#holds.delete(oldest!);
    }
  }
}
