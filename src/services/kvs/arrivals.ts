/**
 * Commits as they arrive, on any rank: what one needs before it may join the queue of its namespace. A huge one is cut
 * (`huge-commit.ts`). One that refers to blobs of the content store waits until the store has promised to keep them. That may
 * take as long as the stores of others under way; if it waited in the queue, all commits behind it would wait, too.
 *
 * Invariant: the commits of one sender go on in the order in which they came.
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { PieceSource } from "../../protocol/message.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { Turns } from "../../sdk/turns.ts";
import { CommitCutter } from "./huge-commit.ts";
import { isLong } from "./long-commit.ts";
import { callerOf, checkOperations, parseCommit, type Caller, type CommitRequest } from "./protocol.ts";
import { referencesIn } from "./transaction.ts";

/** A commit whose payload is longer is cut, in bytes. */
const HUGE_COMMIT_BYTES: number = 256 * 1024;

const NOTHING_CUT: ReadonlySet<number> = new Set();
export const NOTHING_ADOPTED: ReadonlySet<string> = new Set();

/** A commit that is to be carried out. */
export interface ArrivedCommit {
  /** To be answered. */
  readonly request: IncomingRequest;
  readonly caller: Caller;
  /** What it says. */
  readonly json: JsonObject;
  readonly commit: CommitRequest;
  /** Whether values were cut into blobs: `json` is not what came. */
  readonly isCut: boolean;
  /** Blobs of which the content store knows that the commit refers to them. */
  readonly adopted: ReadonlySet<string>;
}

export interface ArrivalsOptions {
  readonly context: Pick<ModuleContext, "handle" | "ports" | "fatal">;
  /** Those of some blobs about which the content store is to be asked. */
  foreign(refs: readonly string[]): ReadonlySet<string>;
  /** Tells the content store that blobs are referred to from now on; resolves with those it keeps. */
  adopt(refs: ReadonlySet<string>): Promise<ReadonlySet<string>>;
  /** Carries a commit out; the request is answered by it. A long one has been answered when it resolves. */
  commit(commit: ArrivedCommit): void | Promise<void>;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #cutter: CommitCutter;
  /** What senders have under way: others of theirs come after it. */
  readonly #last = new Map<string, Promise<void>>();
  /** Long ones under way, by sender and namespace. */
  readonly #long = new Map<string, Promise<void>>();

  constructor(options: ArrivalsOptions) {
    const { handle, ports } = options.context;
    this.#options = options;
    this.#cutter = new CommitCutter(handle, new Turns(ports.clock, 1));
  }

  /** Takes a commit that came. Throws FluxError where it makes no sense. */
  take(request: IncomingRequest): undefined {
    const source = request.message.payload?.source ?? null;
    const isHuge = source !== null && source.byteLength > HUGE_COMMIT_BYTES;
    const last = this.#last.get(request.sender);
    if (isHuge || last !== undefined) {
      const enter = (): void | Promise<void> => (isHuge ? this.#cut(request, source) : this.#enter(request));
      return this.#follow(request, (last ?? Promise.resolve()).then(enter));
    }
    const entered = this.#enter(request);
    if (entered !== undefined) this.#follow(request, entered);
  }

  /** What the sender sends meanwhile comes after this. */
  #follow(request: IncomingRequest, entered: Promise<void>): undefined {
    const { transit, payload } = request.message;
    const byteLength = payload?.byteLength ?? 0;
    // It takes memory until it is done: until then its sender is held back.
    transit?.left(-byteLength);
    const done = entered
      .catch((error: unknown) => this.#fail(request, error))
      .finally(() => {
        transit?.left(byteLength);
        if (this.#last.get(request.sender) === done) this.#last.delete(request.sender);
      });
    this.#last.set(request.sender, done);
  }

  /** Resolves, where that takes time, when the commit has been handed on. */
  #enter(request: IncomingRequest): void | Promise<void> {
    return this.#pass(request, request.json, NOTHING_CUT);
  }

  async #cut(request: IncomingRequest, source: PieceSource): Promise<void> {
    const { json, operations, cut } = await this.#cutter.cut(source);
    await this.#pass(request, json, cut, operations);
  }

  #pass(
    request: IncomingRequest,
    json: JsonObject,
    cut: ReadonlySet<number>,
    operations?: readonly Operation[],
  ): void | Promise<void> {
    const caller = callerOf(request);
    const commit = parseCommit(json, operations);
    checkOperations(caller, commit.operations, cut);
    const arrived = { request, caller, json, commit, isCut: cut.size > 0 };
    const references = referencesIn(commit.operations);
    if (references.length > 0) {
      const foreign = this.#options.foreign(references);
      if (foreign.size > 0)
        return this.#options.adopt(foreign).then((adopted) => this.#handOn({ ...arrived, adopted }));
    }
    this.#handOn({ ...arrived, adopted: NOTHING_ADOPTED });
  }

  /** Others may pass a long one; those of its sender to the same namespace come after it. */
  #handOn(arrived: ArrivedCommit): void {
    const { request, commit } = arrived;
    const key = `${request.sender} ${commit.namespace}`;
    const long = this.#long.get(key);
    const carryOut = (): void | Promise<void> => this.#options.commit(arrived);
    const done = (long === undefined ? carryOut() : long.then(carryOut))?.catch((error) => this.#fail(request, error));
    if (done === undefined || !isLong(commit.operations)) return;
    const ended = done.finally(() => {
      if (this.#long.get(key) === ended) this.#long.delete(key);
    });
    this.#long.set(key, ended);
  }

  #fail(request: IncomingRequest, error: unknown): void {
    if (!(error instanceof FluxError)) return this.#options.context.fatal(error);
    if (!request.isFinished) request.respondError(error);
  }
}
