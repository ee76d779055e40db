/**
 * The service on the leader (rank 0): gathers commits, logs them, announces versions, makes checkpoints.
 *
 * The order of things in a turn: apply in memory, append to the redo log, then answer and announce (`publication.ts`).
 * When the log cannot be written, nothing of the turn happened.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError, errorText } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { RunningSummary } from "../../base/running-summary.ts";
import { isBlobref } from "../../formats/blobref.ts";
import { Payload } from "../../protocol/message.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, requireInteger, requireString, type Answer } from "../../sdk/service.ts";
import { Trouble } from "../../sdk/trouble.ts";
import { LogLevel, type ModuleContext, type RunningModule } from "../../sdk/module.ts";
import { CommitFlag, PRIMARY_NAMESPACE, type CommitAnswer } from "../../sdk/kvs-protocol.ts";
import { splitDigests } from "../../sdk/blob-batch.ts";
import { bytesOf, MissingBlob, type BlobIndex } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import { checkHash, foreignRoot, readCheckpoint } from "./checkpoint.ts";
import { Checkpointer, type CheckpointerOptions } from "./checkpointer.ts";
import { Leader } from "./core.ts";
import type { PendingCommit, TurnOutcome } from "./outcome.ts";
import { endsWithBroker, goesWithBroker } from "./ending.ts";
import { HeldRoots } from "./held-roots.ts";
import { isLong } from "./long-commit.ts";
import { LogStore } from "./log-store.ts";
import { Arrivals, NOTHING_ADOPTED, type ArrivedCommit } from "./arrivals.ts";
import { checkAccess, LOG_SYNC_PERIOD_MS, parseCommit, type Caller } from "./protocol.ts";
import { Publication } from "./publication.ts";
import { Reader } from "./reader.ts";
import { replay } from "./recovery.ts";
import type { NumberedRecord } from "./redo-log.ts";
import { SentAgain } from "./sent-again.ts";
import { parseSettings, type LeaderOptions, type Settings } from "./settings.ts";
import { Supplier } from "./supplier.ts";
import { serviceStatistics } from "./statistics.ts";
import { referencesIn } from "./transaction.ts";
import type { NamespaceRoot } from "./version.ts";

/** A commit without the one who waits for its answer. */
type SubmittedCommit = Omit<PendingCommit, "sender" | "settle">;

export class LeaderService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #refusals: Trouble;
  readonly #leader: Leader;
  readonly #index: BlobIndex;
  readonly #loader: BlobLoader;
  readonly #log: LogStore | null;
  readonly #reader: Reader;
  readonly #checkpointer: Checkpointer;
  readonly #held = new HeldRoots();
  /** Namespaces that are being read. */
  readonly #reading = new Map<string, Promise<void>>();
  readonly #supplier: Supplier;
  readonly #arrivals: Arrivals;
  readonly #publication: Publication;
  readonly #sentAgain = new SentAgain();
  #settings: Settings;
  #turnIsDue = false;
  readonly #operationCounts = new RunningSummary();
  #stopped = false;
  #syncTimer: TimerHandle | null = null;
  private constructor(
    context: ModuleContext,
    leader: Leader,
    loader: BlobLoader,
    log: LogStore | null,
    saved: CheckpointerOptions["saved"],
  ) {
    this.#context = context;
    this.#refusals = new Trouble(context.ports.clock, context.log);
    this.#leader = leader;
    this.#index = leader.index;
    this.#loader = loader;
    this.#log = log;
    const held = this.#held;
    const ended = (): void => this.#scheduleTurn();
    this.#supplier = new Supplier({ leader, loader, fatal: (error) => context.fatal(error), ready: ended });
    this.#checkpointer = new Checkpointer({ context, leader, loader, held, log, saved, ended });
    this.#settings = parseSettings(context.config());
    const fatal = (error: unknown): void => context.fatal(error);
    this.#publication = new Publication({ handle: context.handle, leader, log, reader: () => this.#reader, fatal });
    this.#arrivals = new Arrivals({
      context,
      foreign: (refs) => leader.index.revive(refs),
      adopt: async (refs) => {
        await loader.adopt(refs);
        return refs;
      },
      commit: (commit) => this.#commit(commit),
    });
    this.#reader = new Reader(leader.index, loader, {
      find: (namespace) => this.#findRoot(namespace),
      fetch: (namespace) => loader.complete(() => this.#publication.root(namespace)),
      hold: (sender, root) => this.#holdRoot(sender, root.name, root.rootref),
    });
  }

  /** Restores what the last checkpoint and the redo log hold. */
  static async start(
    context: ModuleContext,
    index: BlobIndex,
    loader: BlobLoader,
    { mergesCommits, initialRootref }: LeaderOptions,
  ): Promise<LeaderService> {
    const { handle, ownerUserid, ports } = context;
    const warn = (text: string): void => context.log(LogLevel.warning, text);
    const saved =
      initialRootref === null ? await readCheckpoint(handle, ownerUserid) : foreignRoot(initialRootref, ownerUserid);
    if (saved !== null) checkHash(context, saved.primary.rootref);
    const leader = new Leader(index, ownerUserid, saved ?? undefined);
    leader.mergesCommits = mergesCommits;
    if (saved !== null && saved.timestamp !== null)
      context.log(LogLevel.info, `restored KVS from checkpoint on ${new Date(saved.timestamp * 1000).toISOString()}`);
    const directory = context.attribute("statedir") ?? context.attribute("rundir");
    let log: LogStore | null = null;
    if (directory !== null) {
      const opened = LogStore.open(ports, directory, saved?.isForeign === true ? null : (saved?.number ?? 0), warn);
      log = opened.log;
      await replay(leader, loader, opened.records, warn);
    }
    const service = new LeaderService(context, leader, loader, log, saved ?? { number: 0, held: [] });
    // From here on there is a log that follows, which must be told from one that does not.
    if (saved?.isForeign === true) await service.#checkpointer.saveAll();
    service.#serve();
    await service.#offerBlobs();
    if (service.#checkpointer.isUnsaved) service.#checkpointer.arm(0);
    return service;
  }

  get #nowMs(): number {
    return this.#context.ports.clock.monotonicMs();
  }

  configure(config: JsonObject): void {
    this.#settings = parseSettings(config);
  }

  async stop(): Promise<void> {
    do this.#turn();
    while (this.#turnIsDue);
    // What waits for blobs, of which it has done a part, is not done.
    this.#leader.abandon();
    this.#stopped = true;
    this.#checkpointer.stop();
    this.#syncTimer?.cancel();
    let isSaved = true;
    try {
      // Callers that wait for the log to be safe get their answer.
      if (this.#settings.syncEachCommit) await this.#log?.sync();
      const isEnd = await endsWithBroker(this.#context);
      // Where only this service is loaded anew, what somebody asked for a moment ago can still be read after it.
      if (isEnd) this.#held.clear();
      if (this.#checkpointer.isUnsaved) isSaved = !(isEnd && this.#log !== null && goesWithBroker(this.#context));
      if (this.#checkpointer.isUnsaved && isSaved) await this.#checkpointer.saveAll();
    } catch (error) {
      isSaved = false;
      this.#context.log(LogLevel.err, `the last checkpoint failed, the redo log stays: ${errorText(error)}`);
    }
    this.#reader.stop();
    this.#log?.close(isSaved, (text) => this.#context.log(LogLevel.warning, text));
  }

  #serve(): void {
    this.#context.server.add(this.#context.name, {
      ...this.#reader.methods,
      commit: { roles: ANY_USER, handler: (request) => this.#arrivals.take(request) },
      "commit-cut": (request) => this.#commitCut(request),
      "namespace-create": (request) => this.#createNamespace(request),
      "namespace-remove": (request) => this.#removeNamespace(request),
      "namespace-list": () => this.#loader.complete(() => ({ namespaces: this.#publication.roots().map(listed) })),
      "setroot-pause": (request) => this.#known(request),
      "setroot-unpause": (request) => this.#known(request),
      "load-blob": (request) => this.#loadBlob(request),
      forget: (request) => this.#forget(request),
      hold: (request) => this.#hold(request),
      dropcache: () => this.#dropCache(),
      "stats-get": { roles: ANY_USER, handler: () => this.#statistics() },
      disconnect: { roles: ANY_USER, handler: (request) => this.#disconnect(request) },
    });
  }

  #statistics(): JsonObject {
    return serviceStatistics({
      index: this.#index,
      loader: this.#loader,
      reader: this.#reader,
      roots: this.#leader.roots,
      queueLengthOf: (name) => this.#leader.queueLengthOf(name),
      operationCounts: this.#operationCounts,
      isLogged: this.#log !== null,
    });
  }

  /** Blobs that no checkpoint holds yet can be read by all: the content service asks here for what it lacks. */
  async #offerBlobs(): Promise<void> {
    await this.#context.handle.rpc("content.register-volatile", { name: this.#context.name });
  }

  #loadBlob(request: IncomingRequest): Answer {
    if (request.bytes === null) throw new FluxError("EPROTO");
    const node = this.#index.findUnsaved(request.bytes);
    if (node === undefined) throw new FluxError("ENOENT");
    const bytes = bytesOf(node);
    return bytes.byteLength === 0 ? null : bytes;
  }

  /** The content store is about to drop blobs. */
  #forget(request: IncomingRequest): Answer {
    const digestLength = (this.#leader.emptyRef.length - this.#leader.emptyRef.indexOf("-") - 1) / 2;
    this.#index.forget(splitDigests(request.bytes ?? EMPTY_BYTES, digestLength));
    return null;
  }

  /** A follower holds a root for one of its clients, or none any more. */
  #hold(request: IncomingRequest): Answer {
    const { json } = request;
    const ref = json["rootref"] === null ? null : requireString(json, "rootref");
    this.#holdRoot(request.sender, requireString(json, "purpose"), ref);
    return null;
  }

  #holdRoot(sender: string, purpose: string, rootref: string | null): void {
    this.#held.hold(sender, purpose, rootref, this.#nowMs);
    this.#checkpointer.noteHeld();
    if (rootref !== null) this.#index.revive([rootref]);
  }

  #disconnect(request: IncomingRequest): Answer {
    this.#reader.disconnect(request);
    if (this.#held.release(request.sender, this.#nowMs)) this.#checkpointer.noteHeld();
    return undefined;
  }

  #dropCache(): Answer {
    this.#index.dropClean();
    return null;
  }

  #known(request: IncomingRequest): Answer | Promise<Answer> {
    const name = requireString(request.json, "namespace");
    return this.#onceRead(name, () => {
      this.#leader.root(name);
      return null;
    });
  }

  /** Null where the namespace has not been read yet. Throws ENOTSUP. */
  #findRoot(name: string): NamespaceRoot | null {
    try {
      return this.#publication.root(name);
    } catch (error) {
      if (error instanceof MissingBlob) return null;
      throw error;
    }
  }

  /** Does something with a namespace, at once where it has been read; what is asked for meanwhile keeps its order. */
  #onceRead<T>(name: string, action: () => T | Promise<T>): T | Promise<T> {
    const reading = this.#reading.get(name) ?? this.#read(name);
    return reading === null ? action() : reading.then(action);
  }

  /** Null where it is done. */
  #read(name: string): Promise<void> | null {
    try {
      this.#leader.read(name);
      return null;
    } catch (error) {
      if (!(error instanceof MissingBlob)) throw error;
      const reading = this.#loader
        .complete(() => this.#leader.read(name), error)
        .finally(() => this.#reading.delete(name));
      this.#reading.set(name, reading);
      return reading;
    }
  }

  /** A commit of which a follower has cut long values into blobs, or has told the content store; it has checked the operations. */
  #commitCut(request: IncomingRequest): Answer | Promise<Answer> {
    const { caller, adopted, ...json } = request.json;
    const commit = parseCommit(json);
    const done = this.#carryOut(request, caller as unknown as Caller, {
      request: commit,
      payload: Payload.json(json),
      adopted: adopted === true ? new Set(referencesIn(commit.operations)) : NOTHING_ADOPTED,
    });
    return done?.then(() => undefined);
  }

  #commit({ request, caller, json, commit, isCut, adopted }: ArrivedCommit): void | Promise<void> {
    const { payload } = request.message;
    const logged = isCut || payload === null ? Payload.json(json) : payload;
    return this.#carryOut(request, caller, { request: commit, payload: logged, adopted });
  }

  #carryOut(request: IncomingRequest, caller: Caller, commit: SubmittedCommit): void | Promise<void> {
    return this.#onceRead(commit.request.namespace, () => this.#submit(request, caller, commit));
  }

  /** Resolves, where it is a long one, when it has been answered. */
  #submit(request: IncomingRequest, caller: Caller, commit: SubmittedCommit): void | Promise<void> {
    const { namespace, flags, operations, once } = commit.request;
    checkAccess(caller, this.#leader.root(namespace).owner);
    this.#operationCounts.add(operations.length);
    const isSync = (flags & CommitFlag.Sync) !== 0;
    if (isSync && namespace !== PRIMARY_NAMESPACE)
      throw new FluxError("EINVAL", "only commits to the primary namespace can be synchronised");
    const known = once && this.#sentAgain.begin(once);
    if (known !== null) return request.respond(known);
    const end = isLong(operations) ? Promise.withResolvers<void>() : null;
    this.#leader.submit({
      ...commit,
      sender: request.sender,
      settle: (outcome) => {
        if (once !== null) this.#sentAgain.end(once, outcome);
        if (outcome instanceof FluxError) request.respondError(outcome);
        else if (isSync) void this.#answerOnceSaved(request, outcome);
        else request.respond(outcome);
        end?.resolve();
      },
    });
    this.#scheduleTurn();
    return end?.promise;
  }

  #scheduleTurn(): void {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    this.#context.ports.clock.defer(() => {
      try {
        this.#turn();
      } catch (error) {
        this.#context.fatal(error);
      }
    });
  }

  #turn(): void {
    this.#turnIsDue = false;
    if (this.#stopped || this.#isHeldUp()) return;
    const outcome = this.#leader.turn();
    if (outcome.goesOn) this.#scheduleTurn();
    for (const { commit, error } of outcome.failed) commit.settle(error);
    this.#supplier.supply(outcome);
    if (outcome.records.length === 0) return;
    try {
      this.#log?.append(outcome.records);
    } catch (error) {
      return this.#refuse(outcome, error);
    }
    this.#refusals.over();
    this.#publication.turn(outcome, this.#settings.syncEachCommit);
    this.#afterLogging();
  }

  /** Whether too much is unsaved: commits wait for the checkpoint, or are refused while none can be made. */
  #isHeldUp(): boolean {
    // A checkpoint does not begin before a long commit is done.
    const obstacle = this.#leader.isInCommit ? null : this.#checkpointer.obstacle;
    if (obstacle instanceof FluxError) for (const commit of this.#leader.takeQueued()) commit.settle(obstacle);
    return obstacle !== null;
  }

  /** Nothing of a turn could be logged: it did not happen. */
  #refuse(outcome: TurnOutcome, error: unknown): void {
    if (!(error instanceof FluxError)) throw error;
    this.#refusals.met(`commits are refused: ${error.message}`);
    this.#leader.rollBack(outcome);
    for (const { commits } of outcome.versions) for (const commit of commits) commit.settle(error);
  }

  #createNamespace(request: IncomingRequest): Answer | Promise<Answer> {
    const { json } = request;
    const name = requireString(json, "namespace");
    const owner = requireInteger(json, "owner");
    const flags = requireInteger(json, "flags");
    const rootref = json["rootref"] ?? this.#leader.emptyRef;
    if (!isBlobref(rootref)) throw new FluxError("EINVAL", "rootref is not a blobref");
    const userid = owner === 0xffffffff ? this.#context.ownerUserid : owner;
    const foreign = this.#index.revive([rootref]);
    const create = (): Answer | Promise<Answer> =>
      this.#onceRead(name, () => this.#create(name, userid, flags, rootref));
    return rootref === this.#leader.emptyRef || foreign.size === 0
      ? create()
      : this.#loader.adopt(foreign).then(create);
  }

  #create(name: string, owner: number, flags: number, rootref: string): Answer | Promise<Answer> {
    const change = this.#leader.createNamespace(name, owner, flags, rootref);
    this.#logChange(change, () => this.#leader.undoChange(change));
    return this.#publication.created(this.#leader.root(name), this.#settings.syncEachCommit);
  }

  #removeNamespace(request: IncomingRequest): Answer | Promise<Answer> {
    const name = requireString(request.json, "namespace");
    return this.#onceRead(name, () => this.#remove(name));
  }

  #remove(name: string): Answer | Promise<Answer> {
    const removed = this.#leader.removeNamespace(name);
    if (removed === null) return null;
    this.#logChange(removed.record, () => this.#leader.undoChange(removed.record, removed));
    for (const commit of removed.commits) commit.settle(new FluxError("ENOTSUP"));
    return this.#publication.removed(removed.root, this.#settings.syncEachCommit);
  }

  #logChange(change: NumberedRecord, undo: () => void): void {
    try {
      this.#log?.append([change]);
    } catch (error) {
      undo();
      throw error;
    }
    this.#afterLogging();
  }

  #afterLogging(): void {
    const { clock } = this.#context.ports;
    if (this.#log !== null && !this.#settings.syncEachCommit)
      this.#syncTimer ??= clock.after(LOG_SYNC_PERIOD_MS, () => this.#syncLog(), { background: true });
    this.#checkpointer.noteChange(this.#settings.checkpointPeriodMs);
  }

  #syncLog(): void {
    this.#syncTimer = null;
    this.#log?.sync().catch((error) => this.#context.log(LogLevel.err, `redo log: ${errorText(error)}`));
  }

  async #answerOnceSaved(request: IncomingRequest, outcome: CommitAnswer): Promise<void> {
    try {
      if (await this.#checkpointer.saveAll()) request.respond(outcome);
      else request.respondError(new FluxError("ENOSYS"));
    } catch (error) {
      if (error instanceof FluxError) request.respondError(error);
      else this.#context.fatal(error);
    }
  }
}

function listed(root: NamespaceRoot): JsonObject {
  return { namespace: root.name, owner: root.owner, flags: root.flags };
}
