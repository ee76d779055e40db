/**
 * Shows what has been logged: versions are answered, announced, and found by readers, in the order in which they were made;
 * with durability "fsync" not before the log that holds them survives the loss of power.
 *
 * Invariant: what anybody was shown is still there after the kind of crash that the user asked to be safe from.
 */
import { FluxError } from "../../base/errors.ts";
import { NAMESPACE_EVENT_PREFIX, type CommitAnswer, type SetrootEvent } from "../../sdk/kvs-protocol.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { Leader } from "./core.ts";
import type { NewVersion, TurnOutcome } from "./outcome.ts";
import type { LogStore } from "./log-store.ts";
import type { Reader } from "./reader.ts";
import type { NamespaceRoot } from "./version.ts";

/** A namespace before and after something was logged; null where there was none. */
interface Step {
  readonly name: string;
  readonly before: NamespaceRoot | null;
  readonly after: NamespaceRoot | null;
}

/** What waits to be shown. */
interface Pending {
  readonly steps: readonly Step[];
  readonly show: () => void;
}

export interface PublicationOptions {
  readonly handle: Handle;
  readonly leader: Leader;
  readonly log: LogStore | null;
  readonly reader: () => Reader;
  /** Called where the log cannot be made safe. */
  readonly fatal: (error: unknown) => void;
}

export class Publication {
  readonly #options: PublicationOptions;
  readonly #pending: Pending[] = [];
  /** Namespaces as they are shown, where that is not as they are, and how much of each is pending. */
  readonly #shown = new Map<string, { root: NamespaceRoot | null; count: number }>();
  #transactionCount = 0;

  constructor(options: PublicationOptions) {
    this.#options = options;
  }

  /** The version of a namespace that anybody may know of. Throws ENOTSUP, MissingBlob where it has not been read. */
  root(name: string): NamespaceRoot {
    const shown = this.#shown.get(name);
    if (shown === undefined) return this.#options.leader.root(name);
    if (shown.root === null) throw new FluxError("ENOTSUP");
    return shown.root;
  }

  /** The namespaces that anybody may know of. Throws MissingBlob: then try again. */
  roots(): NamespaceRoot[] {
    const all = this.#options.leader.allRoots();
    if (this.#shown.size === 0) return all;
    const roots = new Map<string, NamespaceRoot>();
    for (const root of all) roots.set(root.name, root);
    for (const [name, { root }] of this.#shown)
      if (root === null) roots.delete(name);
      else roots.set(name, root);
    return [...roots.values()];
  }

  /** Shows the versions of a turn, whose records are in the log; at once, or when that is synchronised. */
  turn(outcome: TurnOutcome, isSynchronised: boolean): void {
    const steps = outcome.versions.map(({ root, before }) => ({ name: root.name, before, after: root }));
    this.#show(steps, isSynchronised, () => {
      acknowledge(outcome);
      for (const version of outcome.versions) this.#announce(version);
    });
  }

  /** Shows that a namespace was created. Resolves with the answer. */
  created(root: NamespaceRoot, isSynchronised: boolean): null | Promise<null> {
    const { name, rootseq, rootref, owner } = root;
    return this.#change({ name, before: null, after: root }, isSynchronised, () =>
      this.#publish(name, "created", { namespace: name, rootseq, rootref, owner }),
    );
  }

  removed(root: NamespaceRoot, isSynchronised: boolean): null | Promise<null> {
    const { name } = root;
    return this.#change({ name, before: root, after: null }, isSynchronised, () => {
      this.#options.reader().namespaceRemoved(name);
      this.#publish(name, "removed", { namespace: name });
    });
  }

  #change(step: Step, isSynchronised: boolean, show: () => void): null | Promise<null> {
    let isShown = false;
    let wake = (): void => {};
    this.#show([step], isSynchronised, () => {
      isShown = true;
      show();
      wake();
    });
    return isShown ? null : new Promise((resolve) => (wake = () => resolve(null)));
  }

  #show(steps: readonly Step[], isSynchronised: boolean, show: () => void): void {
    const { log, fatal } = this.#options;
    if (log === null || (!isSynchronised && this.#pending.length === 0)) return show();
    const pending: Pending = { steps, show };
    this.#pending.push(pending);
    for (const { name, before } of steps) {
      const shown = this.#shown.get(name);
      if (shown === undefined) this.#shown.set(name, { root: before, count: 1 });
      else shown.count += 1;
    }
    log
      .sync()
      .then(() => this.#showThrough(pending))
      .catch(fatal);
  }

  /** What was logged before something that is safe is safe, too. */
  #showThrough(last: Pending): void {
    const end = this.#pending.indexOf(last) + 1;
    for (const { steps, show } of this.#pending.splice(0, end)) {
      for (const { name, after } of steps) {
        const shown = this.#shown.get(name)!;
        shown.root = after;
        if (--shown.count === 0) this.#shown.delete(name);
      }
      show();
    }
  }

  #announce({ root, keys, merges, commits: { length } }: NewVersion): void {
    const first = this.#transactionCount;
    this.#transactionCount += length;
    const event: SetrootEvent = {
      namespace: root.name,
      // Made when the event leaves the process, or somebody here looks at it.
      get rootref() {
        return root.rootref;
      },
      rootseq: root.rootseq,
      owner: root.owner,
      get names() {
        return Array.from({ length }, (_, position) => `transaction_req.0.${first + position}`);
      },
      keys,
      ...(merges.length > 0 ? { merged: true } : {}),
    };
    this.#publish(root.name, "setroot", event);
    this.#options.reader().rootChanged(root);
  }

  #publish(namespace: string, what: string, payload: object): void {
    this.#options.handle.sendEvent(`${NAMESPACE_EVENT_PREFIX}${namespace}-${what}`, payload, { isPrivate: true });
  }
}

function acknowledge(outcome: TurnOutcome): void {
  for (const { root, commits } of outcome.versions) {
    const answer: CommitAnswer = {
      get rootref() {
        return root.rootref;
      },
      rootseq: root.rootseq,
    };
    for (const commit of commits) commit.settle(answer);
  }
}
