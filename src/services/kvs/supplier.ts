/**
 * Gets what waiting commits need before they can happen: directories that are not in memory, and the content store's
 * promise to keep what they refer to.
 *
 * Invariant: what was loaded for the commits of a namespace stays in memory until they have happened, or failed.
 */
import { FluxError } from "../../base/errors.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { Leader } from "./core.ts";
import type { ForeignBlobs, TurnOutcome } from "./outcome.ts";

export interface SupplierOptions {
  readonly leader: Leader;
  readonly loader: BlobLoader;
  readonly fatal: (error: unknown) => void;
  /** Called when commits that waited may be tried again. */
  readonly ready: () => void;
}

export class Supplier {
  readonly #options: SupplierOptions;
  /** Blobs that were loaded, by namespace. */
  readonly #retained = new Map<string, string[]>();

  constructor(options: SupplierOptions) {
    this.#options = options;
  }

  /** Gets what a turn found to be lacking, and lets go what it needed no more. */
  supply({ missing, foreign }: TurnOutcome): void {
    const { leader, loader } = this.#options;
    for (const [namespace, refs] of this.#retained) {
      if (leader.isBlocked(namespace)) continue;
      leader.index.release(refs);
      this.#retained.delete(namespace);
    }
    for (const { namespace, blobs } of missing) {
      const retained = this.#retained.get(namespace) ?? [];
      this.#retained.set(namespace, retained);
      void this.#once(namespace, async () => void (await loader.load(blobs, retained)));
    }
    for (const blobs of foreign) void this.#once(blobs.namespace, () => this.#adopt(blobs));
  }

  async #adopt({ refs, commits }: ForeignBlobs): Promise<void> {
    await this.#options.loader.adopt(refs);
    for (const commit of commits) commit.adopted = new Set([...commit.adopted, ...refs]);
  }

  /** Lets a namespace go on when something is there; where it cannot be had, the first commit that waits fails. */
  async #once(namespace: string, get: () => Promise<void>): Promise<void> {
    const { leader, fatal, ready } = this.#options;
    let failure: FluxError | null = null;
    try {
      await get();
    } catch (error) {
      if (!(error instanceof FluxError)) return fatal(error);
      failure = error;
    }
    leader.unblock(namespace, failure)?.settle(failure!);
    ready();
  }
}
