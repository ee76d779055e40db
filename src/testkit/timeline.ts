/**
 * Virtual time: one heap of events for a whole simulated world. An event runs, all promises it settled are followed to
 * their end, then the next event runs; time jumps from event to event.
 *
 * Invariants: time never goes back; events of equal time run in an order that the seed decides, never in insertion
 * order; nothing outside this heap makes anything happen.
 */
import type { TimerHandle } from "../base/ports.ts";
import type { Seeded } from "./seeded.ts";

/** Virtual time begins here, in seconds since the epoch, so that timestamps look like timestamps. */
const EPOCH_S = 1_700_000_000;

interface TimelineEvent {
  readonly atMs: number;
  readonly tie: number;
  run: (() => void) | null;
  /** Does not keep the world running by itself (heartbeats, checkpoints). */
  readonly background: boolean;
}

export class Timeline {
  readonly #dice: Seeded;
  readonly #heap: TimelineEvent[] = [];
  #nowMs = 0;
  #foreground = 0;
  #executed = 0;

  constructor(dice: Seeded) {
    this.#dice = dice;
  }

  get nowMs(): number {
    return this.#nowMs;
  }
  /** Seconds since the epoch. */
  get wallclock(): number {
    return EPOCH_S + this.#nowMs / 1000;
  }
  get eventCount(): number {
    return this.#executed;
  }

  after(delayMs: number, run: () => void, background = false): TimerHandle {
    const event: TimelineEvent = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      tie: this.#dice.uint32(),
      run,
      background,
    };
    if (!background) this.#foreground++;
    push(this.#heap, event);
    return {
      cancel: () => {
        if (event.run === null) return;
        event.run = null;
        if (!background) this.#foreground--;
      },
    };
  }

  /** Runs until a condition holds (true), nothing but background work is left, or virtual time is up (false). */
  async runUntil(done: () => boolean, limitMs: number): Promise<boolean> {
    const endMs = this.#nowMs + limitMs;
    await macrotask();
    while (!done()) {
      const event = pop(this.#heap);
      if (event === undefined || event.atMs > endMs) {
        if (event !== undefined) push(this.#heap, event);
        return false;
      }
      if (event.run === null) continue;
      this.#nowMs = Math.max(this.#nowMs, event.atMs);
      if (!event.background) this.#foreground--;
      const { run } = event;
      event.run = null;
      this.#executed++;
      run();
      await macrotask();
    }
    return true;
  }

  /** Runs until only background work is left, at most for a span of virtual time. */
  runToQuiet(limitMs: number): Promise<boolean> {
    return this.runUntil(() => this.#foreground === 0, limitMs);
  }
}

/** Lets every settled promise run before the next event. */
function macrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function before(left: TimelineEvent, right: TimelineEvent): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.tie < right.tie);
}

function push(heap: TimelineEvent[], event: TimelineEvent): void {
  let index = heap.length;
  heap.push(event);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!before(event, heap[parent]!)) break;
    heap[index] = heap[parent]!;
    index = parent;
  }
  heap[index] = event;
}

function pop(heap: TimelineEvent[]): TimelineEvent | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let index = 0;
  for (;;) {
    let child = index * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[index] = heap[child]!;
    index = child;
  }
  heap[index] = last;
  return top;
}
