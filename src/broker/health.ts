/**
 * The health of the overlay tree as one broker sees it: its own subtree and the subtrees of its children
 * (flux-overlay(1), SUBTREE STATUS). Pure.
 *
 * Invariant: the own status is a function of the children's.
 */

export const SUBTREE_STATUSES = ["full", "partial", "degraded", "lost", "offline", "torpid"] as const;
export type SubtreeStatus = (typeof SUBTREE_STATUSES)[number];

/** What a broker tells its parent, from the statuses of its children. */
export function combinedStatus(children: Iterable<SubtreeStatus>): SubtreeStatus {
  let combined: SubtreeStatus = "full";
  for (const status of children) {
    if (status === "degraded" || status === "lost") return "degraded";
    if (status !== "full") combined = "partial";
  }
  return combined;
}

export interface ChildHealth {
  readonly rank: number;
  readonly status: SubtreeStatus;
  /** Seconds, of the clock that `Health` was given. */
  readonly since: number;
  readonly error: string | null;
}

export class Health {
  readonly #now: () => number;
  readonly #children = new Map<number, ChildHealth>();
  readonly #planned: ReadonlySet<number>;
  #status: SubtreeStatus;
  #since: number;

  constructor(children: readonly number[], now: () => number) {
    this.#now = now;
    this.#since = now();
    this.#planned = new Set(children);
    for (const rank of children) this.#children.set(rank, { rank, status: "offline", since: this.#since, error: null });
    this.#status = combinedStatus(this.#statuses());
  }

  get status(): SubtreeStatus {
    return this.#status;
  }

  child(rank: number): ChildHealth | null {
    return this.#children.get(rank) ?? null;
  }

  /** Takes a child's new status. Returns whether the own status changed by it. */
  update(rank: number, status: SubtreeStatus, error: string | null = null): boolean {
    const before = this.#children.get(rank);
    if (before !== undefined && before.status === status && before.error === error) return false;
    // Who was taken in from elsewhere is no child any more when it is gone.
    if (!this.#planned.has(rank) && (status === "lost" || status === "offline")) this.#children.delete(rank);
    else this.#children.set(rank, { rank, status, since: this.#now(), error });
    const combined = combinedStatus(this.#statuses());
    if (combined === this.#status) return false;
    this.#status = combined;
    this.#since = this.#now();
    return true;
  }

  /** The answer to `overlay.health`. */
  describe(rank: number): object {
    const now = this.#now();
    const children = [...this.#children.values()].map(({ rank, status, since, error }) => ({
      rank,
      status,
      duration: now - since,
      ...(error === null ? {} : { error }),
    }));
    return { rank, status: this.#status, duration: now - this.#since, children };
  }

  *#statuses(): Iterable<SubtreeStatus> {
    for (const child of this.#children.values()) yield child.status;
  }
}
