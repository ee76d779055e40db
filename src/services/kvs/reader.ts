/**
 * The reading half of the service, the same on the leader and its followers: lookups, roots, and waiting for a version.
 *
 * A request that finds all it needs in memory is answered at once; otherwise it waits for the blobs, or for the root of a
 * namespace that this rank has not met yet, and begins again from the same root.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireInteger, type Answer, type Methods } from "../../sdk/service.ts";
import type { LookupRequest, RootAnswer, TreeObject } from "../../sdk/kvs-protocol.ts";
import { MissingBlob, type BlobIndex } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { NamespaceRoot } from "./core.ts";
import { lookupKey, MissingNamespace, type LookupContext } from "./lookup.ts";
import { callerOf, checkAccess, parseLookup, requireNamespace, type Caller } from "./protocol.ts";

/** The roots a rank knows. */
export interface RootTable {
  /** Null where this rank does not know (yet). Throws ENOTSUP where there certainly is none. */
  find(namespace: string): NamespaceRoot | null;
  /** Asks the leader. Rejects with ENOTSUP. */
  fetch(namespace: string): Promise<NamespaceRoot>;
}

interface Found {
  readonly root: NamespaceRoot | null;
  readonly rootref: string;
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
    const waiting = waiters.filter(({ rootseq, request }) => {
      if (root.rootseq < rootseq) return true;
      request.respond({ rootseq: root.rootseq, rootref: root.rootref });
      return false;
    });
    if (waiting.length === 0) this.#waiters.delete(root.name);
    else this.#waiters.set(root.name, waiting);
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
      for (const { request } of waiters) request.respondError(new FluxError("ENOSYS", "the kvs service was unloaded"));
    this.#waiters.clear();
  }

  #lookup(request: IncomingRequest): Answer | Promise<Answer> {
    const answer = ({ value }: Found): Answer => {
      if (value === null) throw new FluxError("ENOENT");
      return { val: value };
    };
    const found = this.#find(request);
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  /** A lookup that tells from which version it answered: what kvs-watch asks. */
  #lookupPlus(request: IncomingRequest): Answer | Promise<Answer> {
    const answer = ({ root, rootref, value, followed }: Found): Answer => {
      const version = { rootseq: root?.rootseq ?? 0, rootref, ...(followed ? { followed } : {}) };
      return value === null ? { errno: 2, ...version } : { val: value, ...version };
    };
    const found = this.#find(request);
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  #find(request: IncomingRequest): Found | Promise<Found> {
    const caller = callerOf(request);
    const lookup = parseLookup(request.json);
    const fromRoot = (root: NamespaceRoot | null): Found | Promise<Found> => {
      const rootref = lookup.rootref ?? root!.rootref;
      let followed = false;
      const finish = (value: TreeObject | null): Found => ({ root, rootref, value, followed });
      const value = this.#search(caller, rootref, lookup, () => (followed = true));
      return value instanceof Promise ? value.then(finish) : finish(value);
    };
    if (lookup.rootref !== null) return fromRoot(null);
    const root = this.#rootFor(caller, lookup.namespace!);
    return root instanceof Promise ? root.then(fromRoot) : fromRoot(root);
  }

  #search(
    caller: Caller,
    rootref: string,
    lookup: LookupRequest,
    onLink: () => void,
  ): TreeObject | null | Promise<TreeObject | null> {
    const search = (held: ReadonlyMap<string, Uint8Array>): TreeObject | null =>
      lookupKey({ ...this.#contextFor(caller, held), onLink }, rootref, lookup.key, lookup.flags);
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
        return root.rootref;
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
    const root = this.#rootFor(callerOf(request), namespace);
    return root instanceof Promise ? root.then(rootAnswer) : rootAnswer(root);
  }

  #waitVersion(request: IncomingRequest): Answer | Promise<Answer> {
    const namespace = requireNamespace(request.json);
    const rootseq = requireInteger(request.json, "rootseq");
    const wait = (root: NamespaceRoot): Answer => {
      if (root.rootseq >= rootseq) return { rootseq: root.rootseq, rootref: root.rootref };
      const waiters = this.#waiters.get(namespace);
      if (waiters === undefined) this.#waiters.set(namespace, [{ rootseq, request }]);
      else waiters.push({ rootseq, request });
      return undefined;
    };
    const root = this.#rootFor(callerOf(request), namespace);
    return root instanceof Promise ? root.then(wait) : wait(root);
  }
}

function rootAnswer(root: NamespaceRoot): RootAnswer & JsonObject {
  return { owner: root.owner, rootseq: root.rootseq, rootref: root.rootref, flags: root.flags, namespace: root.name };
}
