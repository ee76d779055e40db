/**
 * The service `kvs-watch`: answers lookups again and again, as versions come (`kvs.namespace-NS-setroot`).
 *
 * Each watcher looks at the versions that concern it in order, one at a time, by the version's own root: so no change is
 * missed while it looks, and none is told twice.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { handledLater } from "../../base/promises.ts";
import { blobrefDigest } from "../../formats/blobref.ts";
import { isFromOwner, Payload } from "../../protocol/message.ts";
import { lookupAnswer, valOfPieces } from "../../sdk/huge-value.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { GAP_TOPIC } from "../../sdk/handle.ts";
import { withSecondTry } from "../../sdk/second-try.ts";
import { ANY_USER, type Answer } from "../../sdk/service.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import {
  directoryReference,
  LookupFlag,
  NAMESPACE_EVENT_PREFIX,
  type LookupPlusAnswer,
  type RootAnswer,
  type TreeObject,
} from "../../sdk/kvs-protocol.ts";
import { WatchState, type Mismatch, type Piece, type Seen, type Sent } from "./core.ts";
import { continuationOf } from "./merged.ts";
import { BLOB_WINDOW, parseWatch, VERSIONS_QUEUED_MAX, type WatchRequest } from "./protocol.ts";
import { WatchIndex, type Attention, type Watched } from "./watch-index.ts";

interface Version {
  readonly rootref: string;
  readonly rootseq: number;
  /** It is not known which keys were written. */
  readonly mayBeUnchanged?: boolean;
}

interface Watcher extends Watched {
  readonly request: IncomingRequest;
  readonly watch: WatchRequest;
  readonly state: WatchState;
  attention: Attention;
  /** Versions to look at, oldest first; null stands for the present one, whichever it is. */
  readonly versions: (Version | null)[];
  /** The latest version looked at. */
  rootseq: number;
  /** The latest of which all was sent. */
  sentSeq: number;
  /** The latest in which the store merged blobs, or may have. */
  mergedSeq: number;
  /** The namespace does not exist yet. */
  awaitsNamespace: boolean;
  isBusy: boolean;
  isOver: boolean;
}

interface Fetched {
  readonly value: TreeObject | null;
  /** The blob it came from; null where it is in none. */
  readonly blob: Sent | null;
}

interface Namespace {
  readonly watchers: WatchIndex<Watcher>;
  latest: { readonly rootseq: number; readonly owner: number; readonly event: JsonObject } | null;
}

/** A version's reference is made when somebody asks for it: not before a watcher must look at it. */
function versionOf({ rootseq, event }: NonNullable<Namespace["latest"]>): Version {
  return { rootseq, rootref: String(event["rootref"]) };
}

class WatchService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #namespaces = new Map<string, Namespace>();
  readonly #bySender = new Map<string, Set<Watcher>>();
  /** The number of the last event heard. */
  #eventSequence = 0;

  private constructor(context: ModuleContext) {
    this.#context = context;
  }

  static async start(context: ModuleContext): Promise<WatchService> {
    if (context.args.length > 0) throw new FluxError("EINVAL", `unknown module argument '${context.args[0]}'`);
    const service = new WatchService(context);
    // All events are heard: a gap in their numbers is how a broker learns that it missed some.
    await context.handle.subscribe("", (event) => {
      const { sequence, topic, payload } = event;
      const isGap = topic === GAP_TOPIC;
      const isNext = !isGap && (service.#eventSequence === 0 || sequence === service.#eventSequence + 1);
      service.#eventSequence = sequence;
      if (service.#namespaces.size === 0) return;
      if (!isNext) for (const name of service.#namespaces.keys()) void service.#refresh(name);
      if (!topic.startsWith(NAMESPACE_EVENT_PREFIX) || payload === null || !isFromOwner(event)) return;
      service.#hear(topic, payload.value);
    });
    context.server.add(context.name, {
      lookup: { roles: ANY_USER, handler: (request) => service.#begin(request) },
      cancel: { roles: ANY_USER, handler: (request) => service.#cancel(request) },
      disconnect: { roles: ANY_USER, handler: (request) => service.#disconnect(request) },
      "stats-get": { roles: ANY_USER, handler: () => service.#statistics() },
    });
    return service;
  }

  stop(): void {
    for (const watcher of this.#all())
      this.#end(watcher, new FluxError("ENOSYS", "the kvs-watch service was unloaded"));
  }

  #begin(request: IncomingRequest): Answer {
    const watch = parseWatch(request);
    const state = new WatchState(watch.flags);
    const watcher: Watcher = {
      request,
      watch,
      key: watch.key,
      state,
      attention: attentionOf(watch, state, false),
      versions: [null],
      rootseq: -1,
      sentSeq: -1,
      mergedSeq: -1,
      awaitsNamespace: false,
      isBusy: false,
      isOver: false,
    };
    let namespace = this.#namespaces.get(watch.namespace);
    if (namespace === undefined)
      this.#namespaces.set(watch.namespace, (namespace = { watchers: new WatchIndex(), latest: null }));
    namespace.watchers.add(watcher);
    const others = this.#bySender.get(request.sender);
    if (others === undefined) this.#bySender.set(request.sender, new Set([watcher]));
    else others.add(watcher);
    void this.#work(watcher);
    return undefined;
  }

  #hear(topic: string, event: JsonObject): void {
    const name = event["namespace"];
    const namespace = typeof name === "string" ? this.#namespaces.get(name) : undefined;
    if (namespace === undefined) return;
    if (topic.endsWith("-removed")) this.#endAll(namespace);
    else if (topic.endsWith("-created")) {
      namespace.latest = null;
      for (const watcher of namespace.watchers) this.#show(watcher, null);
    } else if (topic.endsWith("-setroot")) this.#hearVersion(namespace, event);
  }

  /** The namespace is gone. */
  #endAll(namespace: Namespace): void {
    for (const watcher of namespace.watchers)
      if (!watcher.awaitsNamespace) this.#end(watcher, new FluxError("ENOTSUP"));
  }

  /** Events were missed, as after a lost link: what the leader has now is looked at by all. */
  async #refresh(name: string): Promise<void> {
    try {
      const ask = { namespace: name, flags: 0, hold: false };
      const root = await withSecondTry(() => this.#context.handle.rpc<RootAnswer>("kvs.getroot", ask, { nodeid: 0 }));
      const namespace = this.#namespaces.get(name);
      if (namespace !== undefined) this.#hearVersion(namespace, { ...root, keys: null });
    } catch (error) {
      if (!(error instanceof FluxError)) return this.#context.fatal(error);
      const namespace = this.#namespaces.get(name);
      if (namespace !== undefined && error.is("ENOTSUP")) this.#endAll(namespace);
      else this.#context.log(LogLevel.err, `root of namespace ${name}: ${error.message}`);
    }
  }

  #hearVersion(namespace: Namespace, event: JsonObject): void {
    const { rootseq, owner, keys } = event;
    if (typeof rootseq !== "number" || typeof owner !== "number") return;
    const before = namespace.latest;
    if (before !== null && rootseq <= before.rootseq) return;
    namespace.latest = { rootseq, owner, event };
    // After a gap it is not known which keys were written.
    const hasGap = before !== null && rootseq !== before.rootseq + 1;
    const concerned = hasGap || !isJsonObject(keys) ? [...namespace.watchers] : namespace.watchers.concernedBy(keys);
    if (concerned instanceof Set ? concerned.size === 0 : concerned.length === 0) return;
    const mayBeUnchanged = hasGap || !isJsonObject(keys);
    const version = { ...versionOf(namespace.latest), mayBeUnchanged };
    for (const watcher of concerned) {
      if (mayBeUnchanged || event["merged"] === true) watcher.mergedSeq = rootseq;
      this.#show(watcher, version);
    }
  }

  #show(watcher: Watcher, version: Version | null): void {
    watcher.versions.push(version);
    if (watcher.versions.length > VERSIONS_QUEUED_MAX) watcher.versions.shift();
    void this.#work(watcher);
  }

  async #work(watcher: Watcher): Promise<void> {
    if (watcher.isBusy) return;
    watcher.isBusy = true;
    try {
      while (watcher.versions.length > 0 && !watcher.isOver) {
        const version = watcher.versions.shift()!;
        // The present one is of interest to who has seen none: it may be the one that was seen.
        const isSeen = version === null ? watcher.rootseq >= 0 : version.rootseq <= watcher.rootseq;
        if (isSeen) continue;
        const seen = await this.#look(watcher, version);
        if (!watcher.isOver) await this.#reactTo(watcher, seen, version?.mayBeUnchanged === true);
      }
    } catch (error) {
      if (error instanceof FluxError) this.#end(watcher, error);
      else this.#context.fatal(error);
    } finally {
      watcher.isBusy = false;
    }
  }

  /** Looks the key up in a version, as the one who watches. */
  async #look(watcher: Watcher, version: Version | null): Promise<Seen> {
    const { watch, request, state } = watcher;
    const { userid, rolemask } = request;
    // The first look goes by the namespace's name: it is the one that checks who may read it.
    const place =
      version === null || watcher.rootseq < 0
        ? { namespace: watch.namespace }
        : { namespace: watch.namespace, rootdir: directoryReference(version.rootref) };
    try {
      const payload = { key: watch.key, flags: state.lookupFlags, ...place };
      const answer = await this.#context.handle.rpc<LookupPlusAnswer>("kvs.lookup-plus", payload, { userid, rolemask });
      watcher.awaitsNamespace = false;
      watcher.rootseq = version !== null && watcher.rootseq >= 0 ? version.rootseq : answer.rootseq;
      this.#attend(watcher, answer.followed === true);
      return { value: answer.val ?? null };
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      // A version that came and went before it was looked at cannot be read any more: the present one must do.
      if (error.is("EIO") && version !== null) {
        watcher.mergedSeq = Infinity;
        return this.#look(watcher, null);
      }
      if (error.is("ENOTSUP") && watcher.rootseq < 0) watcher.awaitsNamespace = true;
      return { error };
    }
  }

  /** A watcher that has found its key needs less attention than one that waits for it. */
  #attend(watcher: Watcher, followed: boolean): void {
    const namespace = this.#namespaces.get(watcher.watch.namespace);
    if (namespace === undefined || watcher.isOver) return;
    const attention = attentionOf(watcher.watch, watcher.state, followed);
    if (attention === watcher.attention) return;
    namespace.watchers.delete(watcher);
    watcher.attention = attention;
    namespace.watchers.add(watcher);
  }

  /** Reacts to what was seen. Where blobs of it are gone before they were sent, what took their place is looked at. */
  async #reactTo(watcher: Watcher, first: Seen, mayBeUnchanged: boolean): Promise<void> {
    let seen = first;
    for (;;) {
      const { rootseq } = watcher;
      try {
        await this.#react(watcher, seen, mayBeUnchanged);
        watcher.sentSeq = watcher.rootseq;
        return;
      } catch (error) {
        if (!isFluxError(error, "ENOENT") || !watcher.state.sendsPieces) throw error;
        watcher.mergedSeq = Infinity;
        seen = await this.#look(watcher, null);
        if (watcher.isOver) return;
        if (watcher.rootseq === rootseq) throw error;
      }
    }
  }

  async #react(watcher: Watcher, seen: Seen, mayBeUnchanged: boolean): Promise<void> {
    const first = watcher.state.see(seen, mayBeUnchanged);
    const { mismatch } = first;
    if (mismatch !== undefined && !("value" in seen && (await this.#catchUp(watcher, mismatch, seen.value!))))
      return this.#end(watcher, new FluxError("EINVAL"));
    const { pieces, end } = mismatch === undefined ? first : watcher.state.see(seen);
    await this.#send(watcher, pieces);
    if (watcher.isOver) return;
    if (end === undefined) this.#attend(watcher, watcher.attention === "every");
    else this.#end(watcher, end);
  }

  /** Sends what merged blobs hold besides what was sent. False where they hold something else, or nothing was merged. */
  async #catchUp(watcher: Watcher, mismatch: Mismatch, value: TreeObject): Promise<boolean> {
    if (watcher.mergedSeq <= watcher.sentSeq) return false;
    const { codec } = this.#context.ports;
    const found = await continuationOf(codec, mismatch, (ref) => this.#load(ref));
    if (found === null) return false;
    watcher.state.merged(mismatch.from, found.blobs, value);
    if (found.rest.byteLength > 0 && !watcher.isOver) await this.#respond(watcher, valOfPieces([found.rest]));
    return true;
  }

  /** Sends pieces in order; blobs are fetched some ahead. */
  async #send(watcher: Watcher, pieces: readonly Piece[]): Promise<void> {
    const ahead: Promise<Fetched>[] = [];
    for (let next = 0; (next < pieces.length || ahead.length > 0) && !watcher.isOver;) {
      while (next < pieces.length && ahead.length < BLOB_WINDOW) ahead.push(handledLater(this.#fetch(pieces[next++]!)));
      const { value, blob } = await ahead.shift()!;
      if (watcher.isOver) return;
      if (blob !== null) watcher.state.sent(blob);
      await this.#respond(watcher, value);
    }
  }

  /** A watcher that reads slowly is not sent more than it takes. */
  async #respond(watcher: Watcher, value: TreeObject | null): Promise<void> {
    const answer = value === null ? null : lookupAnswer(value);
    if (answer instanceof Payload || watcher.state.sendsPieces) await watcher.request.respondInTurn(answer);
    else watcher.request.respond(answer);
  }

  async #fetch(piece: Piece): Promise<Fetched> {
    if (piece.kind === "sentinel") return { value: null, blob: null };
    if (piece.kind === "blob") {
      const bytes = await this.#load(piece.ref);
      return { value: valOfPieces([bytes]), blob: { ref: piece.ref, bytes: bytes.byteLength } };
    }
    return { value: piece.value, blob: null };
  }

  async #load(ref: string): Promise<Uint8Array> {
    const payload = await this.#context.handle.call("content.load", blobrefDigest(ref));
    return payload?.bytes ?? EMPTY_BYTES;
  }

  /** Ends a watch: with an error, or normally. */
  #end(watcher: Watcher, error: FluxError | null): void {
    if (!this.#forget(watcher)) return;
    if (error !== null) watcher.request.respondError(error);
    else if (watcher.request.isStreaming) watcher.request.end();
  }

  #forget(watcher: Watcher): boolean {
    if (watcher.isOver) return false;
    watcher.isOver = true;
    const namespace = this.#namespaces.get(watcher.watch.namespace);
    namespace?.watchers.delete(watcher);
    if (namespace?.watchers.size === 0) this.#namespaces.delete(watcher.watch.namespace);
    const { sender } = watcher.request;
    const others = this.#bySender.get(sender);
    others?.delete(watcher);
    if (others?.size === 0) this.#bySender.delete(sender);
    return true;
  }

  #cancel(request: IncomingRequest): Answer {
    const { matchtag } = request.json;
    for (const watcher of this.#bySender.get(request.sender) ?? [])
      if (watcher.request.matchtag === matchtag) this.#end(watcher, new FluxError("ENODATA"));
    return undefined;
  }

  #disconnect(request: IncomingRequest): Answer {
    for (const watcher of this.#bySender.get(request.sender) ?? []) this.#forget(watcher);
    return undefined;
  }

  #all(): Watcher[] {
    return [...this.#namespaces.values()].flatMap((namespace) => [...namespace.watchers]);
  }

  /** Watchers are counted by the namespace that they asked for. */
  #statistics(): JsonObject {
    const namespaces: Record<string, { owner: number; rootseq: number; rootref: string; watchers: number }> = {};
    let count = 0;
    for (const { watchers, latest } of this.#namespaces.values()) {
      const owner = latest?.owner ?? this.#context.ownerUserid;
      const { rootseq, rootref } = latest === null ? { rootseq: 0, rootref: "" } : versionOf(latest);
      for (const { watch } of watchers) {
        const told = (namespaces[watch.asked] ??= { owner, rootseq, rootref, watchers: 0 });
        told.watchers += 1;
        count += 1;
      }
    }
    return { watchers: count, "namespace-count": Object.keys(namespaces).length, namespaces };
  }
}

function attentionOf(watch: WatchRequest, state: WatchState, followed: boolean): Attention {
  const isLoose = state.isWaiting || (watch.flags & LookupFlag.WatchFull) !== 0;
  if (!isLoose) return "exact";
  return followed ? "every" : "loose";
}

export const kvsWatchModule: ModuleDefinition = {
  name: "kvs-watch",
  start: (context) => WatchService.start(context),
};
