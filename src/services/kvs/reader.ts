/**
 * The reading half of the service, the same on the leader and its followers: lookups, roots, and waiting for a version.
 *
 * A request that finds all it needs in memory is answered at once; otherwise it waits for the blobs, or for the root of a
 * namespace that this rank has not met yet, and begins again from the same root. A version that was superseded meanwhile may
 * be gone from the store: then it begins again from the newest one.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { lookupAnswer } from "../../sdk/huge-value.ts";
import { ANY_USER, requireInteger, type Answer, type Methods } from "../../sdk/service.ts";
import type { LookupRequest, RootAnswer, TreeObject } from "../../sdk/kvs-protocol.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import { LostBlob, type BlobLoader } from "./blob-loader.ts";
import type { Directory } from "./directory.ts";
import { lookupKey, MissingNamespace, type LookupContext } from "./lookup.ts";
import { callerOf, checkAccess, parseLookup, requireNamespace, type Caller } from "./protocol.ts";
import { rootOf, type NamespaceRoot } from "./version.ts";

/** The roots a rank knows. */
export interface RootTable {
  /** Null where this rank does not know (yet). Throws ENOTSUP where there certainly is none. */
  find(namespace: string): NamespaceRoot | null;
  /** Asks the leader. Rejects with ENOTSUP. */
  fetch(namespace: string): Promise<NamespaceRoot>;
  /** Keeps a version readable for a client that was told its reference. */
  hold(sender: string, root: NamespaceRoot): void | Promise<void>;
}

type Lookup = ReturnType<typeof parseLookup>;

interface Found {
  /** The version, or the reference that was asked for. */
  readonly root: NamespaceRoot | { readonly rootref: string; readonly rootseq: number };
  readonly value: TreeObject | null;
  /** Whether a link was on the way. */
  readonly followed: boolean;
}

interface VersionWaiter {
  readonly rootseq: number;
  readonly request: IncomingRequest;
}

export class Reader {
  readonly #index: BlobIndex;
  readonly #loader: BlobLoader;
  readonly #roots: RootTable;
  /** By namespace, in the order of their versions. */
  readonly #waiters = new Map<string, VersionWaiter[]>();
  #lookupsUnderWay = 0;

  constructor(index: BlobIndex, loader: BlobLoader, roots: RootTable) {
    this.#index = index;
    this.#loader = loader;
    this.#roots = roots;
  }

  /** The methods to serve. */
  get methods(): Methods {
    return {
      lookup: { roles: ANY_USER, handler: (request) => this.#lookup(request) },
      "lookup-plus": { roles: ANY_USER, handler: (request) => this.#lookupPlus(request) },
      getroot: { roles: ANY_USER, handler: (request) => this.#getroot(request) },
      "wait-version": { roles: ANY_USER, handler: (request) => this.#waitVersion(request) },
    };
  }

  get pendingRequests(): number {
    return this.#lookupsUnderWay + [...this.#waiters.values()].reduce((sum, waiters) => sum + waiters.length, 0);
  }
  versionWaiters(namespace: string): number {
    return this.#waiters.get(namespace)?.length ?? 0;
  }

  /** A namespace has a new version. */
  rootChanged(root: NamespaceRoot): void {
    const waiters = this.#waiters.get(root.name);
    if (waiters === undefined) return;
    const ready = waiters.findIndex(({ rootseq }) => root.rootseq < rootseq);
    for (const { request } of waiters.splice(0, ready < 0 ? waiters.length : ready))
      request.respond({ rootseq: root.rootseq, rootref: root.rootref });
    if (waiters.length === 0) this.#waiters.delete(root.name);
  }

  namespaceRemoved(namespace: string): void {
    for (const { request } of this.#waiters.get(namespace) ?? []) request.respondError(new FluxError("ENOTSUP"));
    this.#waiters.delete(namespace);
  }

  /** A client is gone: nobody waits for its answers. */
  disconnect(request: IncomingRequest): void {
    for (const [namespace, waiters] of this.#waiters) {
      const waiting = waiters.filter((waiter) => waiter.request.sender !== request.sender);
      if (waiting.length === 0) this.#waiters.delete(namespace);
      else this.#waiters.set(namespace, waiting);
    }
  }

  /** Ends every waiting request. */
  stop(): void {
    for (const waiters of this.#waiters.values())
      for (const { request } of waiters) request.respondError(new FluxError("ENOSYS"));
    this.#waiters.clear();
  }

  #lookup(request: IncomingRequest): Answer | Promise<Answer> {
    const answer = ({ value }: Found): Answer => {
      if (value === null) throw new FluxError("ENOENT");
      return lookupAnswer(value);
    };
    const found = this.#find(request);
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  /** A lookup that tells from which version it answered: what kvs-watch asks. */
  #lookupPlus(request: IncomingRequest): Answer | Promise<Answer> {
    const answer = ({ root, value, followed }: Found): Answer => ({
      ...(value === null ? { errno: 2 } : { val: value }),
      rootseq: root.rootseq,
      ...(followed ? { followed } : {}),
      // Made on demand: a caller in this process does not look at it.
      get rootref() {
        return root.rootref;
      },
    });
    const found = this.#find(request);
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  #find(request: IncomingRequest): Found | Promise<Found> {
    const caller = callerOf(request);
    const lookup = parseLookup(request.json);
    if (lookup.rootref !== null) return this.#findIn(caller, lookup, null);
    const root = this.#rootFor(caller, lookup.namespace!);
    return root instanceof Promise
      ? root.then((each) => this.#findIn(caller, lookup, each))
      : this.#findIn(caller, lookup, root);
  }

  #findIn(caller: Caller, lookup: Lookup, root: NamespaceRoot | null): Found | Promise<Found> {
    let followed = false;
    const finish = (value: TreeObject | null): Found => ({
      root: root ?? { rootref: lookup.rootref!, rootseq: 0 },
      value,
      followed,
    });
    const value = this.#search(caller, root === null ? lookup.rootref! : rootOf(root), lookup, () => (followed = true));
    if (!(value instanceof Promise)) return finish(value);
    return value.then(finish, (error: unknown) => this.#findAgain(caller, lookup, root, error));
  }

  /** A blob was nowhere: perhaps its version was superseded long ago. */
  async #findAgain(caller: Caller, lookup: Lookup, root: NamespaceRoot | null, error: unknown): Promise<Found> {
    if (!(error instanceof LostBlob) || root === null) throw error;
    const newest = await this.#roots.fetch(root.name);
    checkAccess(caller, newest.owner);
    if (newest.rootseq === root.rootseq && newest.created === root.created) throw error;
    return this.#findIn(caller, lookup, newest);
  }

  #search(
    caller: Caller,
    from: Directory | string,
    lookup: LookupRequest,
    onLink: () => void,
  ): TreeObject | null | Promise<TreeObject | null> {
    const search = (held: ReadonlyMap<string, Uint8Array>): TreeObject | null =>
      lookupKey({ ...this.#contextFor(caller, held), onLink }, from, lookup.key, lookup.flags);
    try {
      return search(new Map());
    } catch (error) {
      if (error instanceof MissingBlob || error instanceof MissingNamespace) return this.#searchSlowly(search, error);
      throw error;
    }
  }

  async #searchSlowly(
    search: (held: ReadonlyMap<string, Uint8Array>) => TreeObject | null,
    cause: MissingBlob | MissingNamespace,
  ): Promise<TreeObject | null> {
    this.#lookupsUnderWay += 1;
    try {
      let missing: MissingBlob | MissingNamespace = cause;
      for (;;) {
        try {
          if (missing instanceof MissingBlob) return await this.#loader.complete(search, missing);
          await this.#roots.fetch(missing.namespace);
          return search(new Map());
        } catch (error) {
          if (!(error instanceof MissingNamespace || error instanceof MissingBlob)) throw error;
          missing = error;
        }
      }
    } finally {
      this.#lookupsUnderWay -= 1;
    }
  }

  #contextFor(caller: Caller, held: ReadonlyMap<string, Uint8Array>): LookupContext {
    return {
      index: this.#index,
      held,
      rootOf: (namespace) => {
        const root = this.#roots.find(namespace);
        if (root === null) throw new MissingNamespace(namespace);
        checkAccess(caller, root.owner);
        return rootOf(root);
      },
    };
  }

  #rootFor(caller: Caller, namespace: string): NamespaceRoot | Promise<NamespaceRoot> {
    const check = (root: NamespaceRoot): NamespaceRoot => {
      checkAccess(caller, root.owner);
      return root;
    };
    const known = this.#roots.find(namespace);
    return known === null ? this.#roots.fetch(namespace).then(check) : check(known);
  }

  #getroot(request: IncomingRequest): Answer | Promise<Answer> {
    const namespace = requireNamespace(request.json);
    const hold = (root: NamespaceRoot): Answer | Promise<Answer> => {
      if (request.json["hold"] === false) return { ...rootAnswer(root), created: root.created };
      const held = this.#roots.hold(request.sender, root);
      return held instanceof Promise ? held.then(() => rootAnswer(root)) : rootAnswer(root);
    };
    const root = this.#rootFor(callerOf(request), namespace);
    return root instanceof Promise ? root.then(hold) : hold(root);
  }

  #waitVersion(request: IncomingRequest): Answer | Promise<Answer> {
    const namespace = requireNamespace(request.json);
    const rootseq = requireInteger(request.json, "rootseq");
    const wait = (root: NamespaceRoot): Answer => {
      if (root.rootseq >= rootseq) return { rootseq: root.rootseq, rootref: root.rootref };
      const waiters = this.#waiters.get(namespace) ?? [];
      const next = waiters.findLastIndex((waiter) => waiter.rootseq <= rootseq) + 1;
      waiters.splice(next, 0, { rootseq, request });
      this.#waiters.set(namespace, waiters);
      return undefined;
    };
    const root = this.#rootFor(callerOf(request), namespace);
    return root instanceof Promise ? root.then(wait) : wait(root);
  }
}

function rootAnswer(root: NamespaceRoot): RootAnswer & JsonObject {
  const { owner, rootseq, rootref, flags } = root;
  return { owner, rootseq, rootref, flags, namespace: root.name };
}
