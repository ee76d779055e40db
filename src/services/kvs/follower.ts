/**
 * The service on every other rank: lookups from the roots that the leader announces, commits passed on to it.
 *
 * Invariants: a namespace's version never goes back here (unless it was removed and made anew); who committed through
 * this rank reads its own writes here, because the answer's root is taken over before the answer is passed on.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { isFromOwner } from "../../protocol/message.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { GAP_TOPIC } from "../../sdk/handle.ts";
import { withSecondTry } from "../../sdk/second-try.ts";
import { ANY_USER, requireString, type Answer } from "../../sdk/service.ts";
import { LogLevel, type ModuleContext, type RunningModule } from "../../sdk/module.ts";
import {
  NAMESPACE_EVENT_PREFIX,
  PRIMARY_NAMESPACE,
  type CommitAnswer,
  type RootAnswer,
} from "../../sdk/kvs-protocol.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import { Reader } from "./reader.ts";
import { Arrivals, NOTHING_ADOPTED, type ArrivedCommit } from "./arrivals.ts";
import { serviceStatistics } from "./statistics.ts";
import { isLong } from "./long-commit.ts";
import type { NamespaceRoot } from "./version.ts";

const LEADER_RANK = 0;

export class FollowerService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #index: BlobIndex;
  readonly #loader: BlobLoader;
  readonly #reader: Reader;
  readonly #arrivals: Arrivals;
  readonly #roots = new Map<string, NamespaceRoot>();
  readonly #fetching = new Map<string, Promise<NamespaceRoot>>();
  /** What was announced of a namespace while its root was asked for, in order: it may be newer than the answer. */
  readonly #announced = new Map<string, { readonly topic: string; readonly event: JsonObject }[]>();
  /** Clients for which the leader holds roots, with what they are held for. */
  readonly #holders = new Map<string, Set<string>>();
  /** The number of the last event heard. */
  #eventSequence = 0;
  /** Events were missed: the leader may have been started anew. */
  #isGapped = false;
  /** Namespaces whose announcements are held back (a test hook), with the latest one. */
  readonly #paused = new Map<string, NamespaceRoot | null>();

  private constructor(context: ModuleContext, index: BlobIndex, loader: BlobLoader) {
    this.#context = context;
    this.#index = index;
    this.#loader = loader;
    this.#arrivals = new Arrivals({
      context,
      foreign: (refs) => new Set(refs),
      // What the store lacks the leader may have: it asks again.
      adopt: async (refs) => ((await loader.adopt(refs)) ? refs : NOTHING_ADOPTED),
      commit: (commit) => this.#commit(commit),
    });
    this.#reader = new Reader(index, loader, {
      find: (namespace) => this.#roots.get(namespace) ?? null,
      fetch: (namespace) => this.#fetchRoot(namespace),
      hold: (sender, root) => this.#hold(sender, root),
    });
  }

  static async start(context: ModuleContext, index: BlobIndex, loader: BlobLoader): Promise<FollowerService> {
    const service = new FollowerService(context, index, loader);
    // All events are heard: a gap in their numbers is how a broker learns that it missed some.
    await context.handle.subscribe("", (event) => {
      const { sequence, topic, payload } = event;
      const isGap = topic === GAP_TOPIC;
      const isNext = !isGap && (service.#eventSequence === 0 || sequence === service.#eventSequence + 1);
      service.#eventSequence = sequence;
      service.#isGapped ||= isGap;
      if (!isNext) service.#refresh();
      if (!topic.startsWith(NAMESPACE_EVENT_PREFIX) || payload === null || !isFromOwner(event)) return;
      service.#hear(topic, payload.value);
    });
    service.#serve();
    return service;
  }

  stop(): void {
    this.#reader.stop();
  }

  #serve(): void {
    const pass = (request: IncomingRequest): Promise<Answer> => this.#passOn(request);
    this.#context.server.add(this.#context.name, {
      ...this.#reader.methods,
      commit: { roles: ANY_USER, handler: (request) => this.#arrivals.take(request) },
      "namespace-create": pass,
      "namespace-remove": pass,
      "namespace-list": () => ({
        namespaces: Array.from(this.#roots.values(), ({ name, owner, flags }) => ({ namespace: name, owner, flags })),
      }),
      "setroot-pause": (request) => this.#pause(request),
      "setroot-unpause": (request) => this.#unpause(request),
      dropcache: () => this.#dropCache(),
      "stats-get": {
        roles: ANY_USER,
        handler: () => this.#statistics(),
      },
      disconnect: { roles: ANY_USER, handler: (request) => this.#disconnect(request) },
    });
  }

  /** The primary namespace is always among those that are told, also where nobody has read it yet. */
  async #statistics(): Promise<Answer> {
    await this.#rootOf(PRIMARY_NAMESPACE);
    return serviceStatistics({
      index: this.#index,
      loader: this.#loader,
      reader: this.#reader,
      roots: [...this.#roots.values()],
      isLogged: false,
    });
  }

  /** The leader keeps a version readable that a client here was told the reference of. */
  async #hold(sender: string, root: NamespaceRoot): Promise<void> {
    const purpose = `${sender} ${root.name}`;
    const purposes = this.#holders.get(sender);
    if (purposes === undefined) this.#holders.set(sender, new Set([purpose]));
    else purposes.add(purpose);
    await this.#askToHold(purpose, root.rootref);
  }

  async #askToHold(purpose: string, rootref: string | null): Promise<void> {
    try {
      await this.#context.handle.rpc(`${this.#context.name}.hold`, { purpose, rootref }, { nodeid: LEADER_RANK });
    } catch (error) {
      // Without the leader nothing is superseded either.
      if (!(error instanceof FluxError)) throw error;
    }
  }

  #disconnect(request: IncomingRequest): Answer {
    this.#reader.disconnect(request);
    const purposes = this.#holders.get(request.sender);
    this.#holders.delete(request.sender);
    for (const purpose of purposes ?? [])
      this.#askToHold(purpose, null).catch((error: unknown) => this.#context.fatal(error));
    return undefined;
  }

  #dropCache(): Answer {
    this.#index.dropClean();
    return null;
  }

  /** Sends a request on to the leader as the one who made it. */
  async #passOn(request: IncomingRequest): Promise<Answer> {
    const { topic, payload, userid, rolemask } = request.message;
    return this.#context.handle.call(topic, payload, { nodeid: LEADER_RANK, userid, rolemask });
  }

  async #commit({ request, caller, json, commit, isCut, adopted }: ArrivedCommit): Promise<void> {
    const { namespace } = commit;
    const { handle, name } = this.#context;
    const isAdopted = adopted.size > 0;
    // A long one as well: to the leader all that comes from here is of one sender, and not all of it comes after this.
    const answer = await (isCut || isAdopted || isLong(commit.operations)
      ? handle.rpc<CommitAnswer>(
          `${name}.commit-cut`,
          { ...json, caller: { ...caller }, adopted: isAdopted },
          { nodeid: LEADER_RANK },
        )
      : handle.rpc<CommitAnswer>(`${name}.commit`, request.message.payload, { nodeid: LEADER_RANK, ...caller }));
    const known = this.#roots.get(namespace);
    // A namespace that was never read here is asked for when it is; the leader answers with this version or a later one.
    if (known !== undefined) this.#advance({ ...known, rootref: answer.rootref, rootseq: answer.rootseq });
    request.respond(answer);
  }

  /** Hears what the leader announces of a namespace. */
  #hear(topic: string, event: JsonObject): void {
    const { namespace } = event;
    if (typeof namespace !== "string") return;
    this.#announced.get(namespace)?.push({ topic, event });
    if (topic.endsWith("-removed")) return this.#remove(namespace);
    const known = this.#roots.get(namespace);
    if (known === undefined || !topic.endsWith("-setroot")) return;
    const { rootref, rootseq } = event;
    if (typeof rootref !== "string" || typeof rootseq !== "number") return;
    const root = { ...known, rootref, rootseq };
    if (this.#paused.has(namespace)) this.#paused.set(namespace, root);
    else this.#advance(root);
  }

  #remove(namespace: string): void {
    this.#roots.delete(namespace);
    this.#paused.delete(namespace);
    this.#reader.namespaceRemoved(namespace);
  }

  /** Events were missed, as after a lost link: asks for the roots that are known here. */
  #refresh(): void {
    for (const namespace of this.#roots.keys())
      this.#fetchRoot(namespace).catch((error: unknown) => {
        if (isFluxError(error, "ENOTSUP")) this.#remove(namespace);
        else if (!isFluxError(error)) this.#context.fatal(error);
        else this.#context.log(LogLevel.err, `root of namespace ${namespace}: ${error.message}`);
      });
  }

  #advance(root: NamespaceRoot): void {
    const known = this.#roots.get(root.name);
    if (known !== undefined && known.rootseq >= root.rootseq) return;
    this.#roots.set(root.name, root);
    this.#reader.rootChanged(root);
  }

  /** Rejects with ENOTSUP where there is no such namespace. */
  async #rootOf(namespace: string): Promise<NamespaceRoot> {
    return this.#roots.get(namespace) ?? this.#fetchRoot(namespace);
  }

  #fetchRoot(namespace: string): Promise<NamespaceRoot> {
    let fetching = this.#fetching.get(namespace);
    if (fetching === undefined) {
      this.#announced.set(namespace, []);
      fetching = this.#askLeader(namespace).finally(() => this.#endFetch(namespace));
      this.#fetching.set(namespace, fetching);
    }
    return fetching;
  }

  #endFetch(namespace: string): void {
    this.#fetching.delete(namespace);
    this.#announced.delete(namespace);
  }

  async #askLeader(namespace: string): Promise<NamespaceRoot> {
    const topic = `${this.#context.name}.getroot`;
    const payload = { namespace, flags: 0, hold: false };
    const answer = await withSecondTry(() =>
      this.#context.handle.rpc<RootAnswer>(topic, payload, { nodeid: LEADER_RANK }),
    );
    const { owner, flags, rootref, rootseq, created = 0 } = answer;
    // Removed and made again while nothing was heard from the leader: another namespace, although of the same name.
    if ((this.#roots.get(namespace)?.created ?? created) !== created) this.#remove(namespace);
    // A leader that lost its power may have forgotten what it had announced: who knows that cannot go on with it.
    const known = this.#roots.get(namespace);
    if (known !== undefined && rootseq < known.rootseq && this.#isGapped)
      this.#context.fatal(new Error(`the leader has lost version ${known.rootseq} of ${namespace}: it has ${rootseq}`));
    this.#advance({ name: namespace, owner, flags, rootref, rootseq, created });
    const root = this.#roots.get(namespace)!;
    // Events that came right behind the answer were heard before it was looked at, when nothing was known here.
    const announced = this.#announced.get(namespace) ?? [];
    this.#announced.delete(namespace);
    for (const { topic: what, event } of announced) this.#hear(what, event);
    return this.#roots.get(namespace) ?? root;
  }

  async #pause(request: IncomingRequest): Promise<Answer> {
    const { name: namespace } = await this.#rootOf(requireString(request.json, "namespace"));
    if (!this.#paused.has(namespace)) this.#paused.set(namespace, null);
    return null;
  }

  async #unpause(request: IncomingRequest): Promise<Answer> {
    const { name: namespace } = await this.#rootOf(requireString(request.json, "namespace"));
    const held = this.#paused.get(namespace);
    this.#paused.delete(namespace);
    if (held !== undefined && held !== null) this.#advance(held);
    return null;
  }
}
