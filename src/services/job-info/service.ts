/**
 * The job-info service: what is stored with jobs, for those who may see it. The eventlogs of active jobs are followed
 * through the job manager's journal, so a watch of one costs the KVS nothing.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { stringifyJson, type Integer, type JsonValue } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import { Role, type Payload } from "../../protocol/message.ts";
import type { OpenStream } from "../../sdk/handle.ts";
import { parseEventlog, readJournalEntry, type JobEvent } from "../../sdk/job-protocol.ts";
import { guestKey, PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import { ANY_USER, ANYONE, type Methods } from "../../sdk/service.ts";
import { ActiveJobs, applyUpdates, isComplete, lifeOf, linesOf, type ActiveJob, type Follower } from "./core.ts";
import { ForeignEvents } from "./foreign-events.ts";
import { GuestWatch } from "./guest-watch.ts";
import { LookupFlag, parseLookup, parseUpdate, parseWatch, WatchFlag, type WatchRequest } from "./protocol.ts";
import { parseObject, UpdateWatch } from "./update-watch.ts";

const SERVICE = "job-info";
/** Until the journal is asked for again after it has ended. */
const JOURNAL_RETRY_MS = 200;

export const jobInfoModule: ModuleDefinition = { name: SERVICE, start: (context) => JobInfoService.start(context) };

/** Ends a watch whose requester is gone or has had enough. */
interface Watch {
  readonly kind: "eventlog" | "guest" | "update";
  stop(): void;
}

/** A job as a request finds it: active, or inactive with its whole eventlog. */
type FoundJob = { readonly active: ActiveJob } | { readonly active: null; readonly events: readonly JobEvent[] };

/** Watches of eventlogs that look for events of others than the job manager; each costs the KVS a lookup per event. */
const FOREIGN_EVENTS_WATCHES_MAX = 256;
/** The directory of a job that its guest, and its shells, write to. */
const GUEST_PREFIX = "guest.";

/** What every job has once its shells run: who asks before waits for it. */
const SHELL_LOGS: ReadonlySet<string> = new Set(["guest.exec.eventlog", "guest.output"]);

class JobInfoService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #jobs = new ActiveJobs();
  readonly #watches = new RequestSet<Watch>();
  #journal: OpenStream | null = null;
  #retry: TimerHandle | null = null;
  #isStopped = false;
  #counts = { lookups: 0, update_lookups: 0 };

  private constructor(context: ModuleContext) {
    this.#context = context;
  }

  static async start(context: ModuleContext): Promise<RunningModule> {
    const service = new JobInfoService(context);
    await service.#follow();
    context.server.add(SERVICE, service.#methods());
    return service;
  }

  stop(): void {
    this.#isStopped = true;
    this.#retry?.cancel();
    for (const [, watch] of this.#watches) watch.stop();
    this.#watches.failAll(new FluxError("ENOSYS", "job-info is unloading"));
    this.#journal?.cancel();
  }

  /**
   * Opens the journal; resolves when all active jobs are known, or when there is no journal for now. It is opened again
   * whenever it ends: a job manager that is loaded anew goes on with the same jobs.
   */
  #follow(): Promise<void> {
    return new Promise((resolve) => {
      const item = (payload: Payload | null): void => {
        const entry = readJournalEntry(payload);
        if (entry.id !== -1) return this.#jobs.take(entry);
        for (const id of this.#jobs.complete()) this.#finishUnseen(id);
        resolve();
      };
      const end = (): void => {
        resolve();
        if (this.#isStopped) return;
        this.#jobs.lose();
        this.#retry = this.#context.ports.clock.after(JOURNAL_RETRY_MS, () => void this.#follow());
      };
      const cancelTopic = "job-manager.events-journal-cancel";
      this.#journal = this.#context.handle.open("job-manager.events-journal", {}, { item, end }, { cancelTopic });
    });
  }

  /** A job that ended while there was no journal: the rest of its events is in its record. */
  #finishUnseen(id: Integer): void {
    this.#storedEvents(id)
      .catch((error: unknown) => {
        // One that was purged has no record any more.
        if (!isFluxError(error, "ENOENT"))
          this.#context.log(LogLevel.err, `reading the events of ${formatFluid(id)}: ${errorText(error)}`);
        return [];
      })
      .then((events) => this.#jobs.finish(id, events));
  }

  #methods(): Methods {
    return {
      lookup: { roles: ANY_USER, handler: (request) => this.#lookup(request) },
      "eventlog-watch": { roles: ANY_USER, handler: (request) => this.#watchEventlog(request) },
      "eventlog-watch-cancel": { roles: ANY_USER, handler: (request) => void this.#cancel(request) },
      "update-watch": { roles: ANY_USER, handler: (request) => this.#watchUpdates(request) },
      "update-watch-cancel": { roles: ANY_USER, handler: (request) => void this.#cancel(request) },
      "update-lookup": { roles: ANY_USER, handler: (request) => this.#lookupUpdated(request) },
      "stats-get": { roles: Role.Owner, handler: () => this.#statistics() },
      disconnect: { roles: ANYONE, handler: (request) => void this.#disconnect(request) },
    };
  }

  /** Finds a job that the sender of a request may see. Throws ENOENT, EPERM. */
  async #find(request: IncomingRequest, id: Integer): Promise<FoundJob> {
    let active = this.#jobs.get(id);
    if (active === null) {
      const notice = this.#jobs.notice(id);
      let events: readonly JobEvent[];
      try {
        events = await this.#storedEvents(id);
        // It was too short lived to be met in the journal.
        if (notice.isOver && !isComplete(events)) events = await this.#storedEvents(id);
      } finally {
        notice.close();
      }
      const userid = events[0]?.context?.["userid"];
      if (typeof userid !== "number") throw new FluxError("EPROTO", "error parsing eventlog");
      if (isComplete(events)) {
        checkAccess(request, userid);
        return { active: null, events };
      }
      // The journal tells of it in a moment, from its first event on.
      active = this.#jobs.get(id) ?? this.#jobs.expect(id, userid, events);
    }
    if (!request.isOwner) checkAccess(request, await this.#storedOwner(id, active));
    return { active };
  }

  /** Whose an active job is, by what is stored of it: guests are judged by that. */
  async #storedOwner(id: Integer, active: ActiveJob): Promise<number> {
    const stored = await this.#storedEvents(id).catch((error: unknown) => {
      // Its first commit is still under way.
      if (isFluxError(error, "ENOENT")) return active.events;
      throw error;
    });
    const userid = stored[0]?.context?.["userid"];
    return typeof userid === "number" ? userid : active.userid;
  }

  async #storedEvents(id: Integer): Promise<readonly JobEvent[]> {
    const text = await this.#text(id, "eventlog", "invalid job id");
    return lifeOf(parseEventlog(text));
  }

  /** A value that is stored with a job. Throws ENOENT with a sentence. */
  async #text(id: Integer, key: string, missing: string): Promise<string> {
    if (typeof id === "number" && id < 0) throw new FluxError("ENOENT", missing);
    try {
      return await lookupText(this.#context.handle, `${fluidKvsPath(id)}.${key}`);
    } catch (error) {
      if (isFluxError(error, "ENOENT", "ENOTDIR")) throw new FluxError("ENOENT", missing);
      throw error;
    }
  }

  async #lookup(request: IncomingRequest): Promise<object> {
    const { id, keys, flags } = parseLookup(request);
    this.#counts.lookups += 1;
    try {
      const found = await this.#findForReader(request, id);
      const values = await Promise.all(keys.map((key) => this.#text(id, key, `${key}: key not found`)));
      const answer: Record<string, JsonValue> = { id };
      for (const [index, key] of keys.entries()) answer[key] = present(key, values[index]!, flags, found);
      return answer;
    } finally {
      this.#counts.lookups -= 1;
    }
  }

  /** Finds a job of which somebody wants to read what is stored. Throws ENOENT, EPERM with a sentence. */
  #findForReader(request: IncomingRequest, id: Integer): Promise<FoundJob> {
    return this.#find(request, id).catch((error: unknown) => {
      if (isFluxError(error, "EPERM")) throw new FluxError("EPERM", "access is restricted to job/instance owner");
      throw error;
    });
  }

  async #lookupUpdated(request: IncomingRequest): Promise<object> {
    const { id, key } = parseUpdate(request, "update-lookup");
    this.#counts.update_lookups += 1;
    try {
      const found = await this.#findForReader(request, id);
      const value = parseObject(await this.#text(id, key, `${key}: key not found`));
      return { id, [key]: applyUpdates(key, value, eventsOf(found)) };
    } finally {
      this.#counts.update_lookups -= 1;
    }
  }

  async #watchEventlog(request: IncomingRequest): Promise<undefined> {
    const watch = parseWatch(request);
    const found = await this.#find(request, watch.id);
    if (request.isAbandoned) return;
    if (watch.path === "eventlog") this.#watchMain(request, watch, found);
    else this.#watchGuest(request, watch, found);
  }

  #watchMain(request: IncomingRequest, watch: WatchRequest, found: FoundJob): void {
    const send = (events: readonly JobEvent[]): void => {
      for (const line of linesOf(events)) request.respond({ event: line });
    };
    send(eventsOf(found));
    if ((watch.flags & WatchFlag.InitialSentinel) !== 0) request.respond();
    if (found.active === null) return request.end();
    const foreign = this.#foreignEvents(watch.id, send);
    foreign?.know(found.active.events);
    const follower: Follower = {
      events: (events) => {
        foreign?.know(events);
        send(events);
      },
      ended: () => {
        foreign?.stop();
        if (this.#watches.delete(request)) request.end();
      },
    };
    this.#followJob(request, found.active, "eventlog", follower, () => foreign?.stop());
  }

  /** What others append to an eventlog. Null where many logs are watched already: then the journal must do. */
  #foreignEvents(id: Integer, take: (events: readonly JobEvent[]) => void): ForeignEvents | null {
    if (this.#watches.size >= FOREIGN_EVENTS_WATCHES_MAX) return null;
    const { handle, ports } = this.#context;
    return new ForeignEvents({ handle, clock: ports.clock, key: `${fluidKvsPath(id)}.eventlog`, take });
  }

  #watchGuest(request: IncomingRequest, watch: WatchRequest, found: FoundJob): void {
    const has = (flag: number): boolean => (watch.flags & flag) !== 0;
    const isExec = watch.path === "guest.exec.eventlog";
    const key = `${fluidKvsPath(watch.id)}.${watch.path}`;
    const isGuest = watch.path.startsWith(GUEST_PREFIX);
    const options = {
      handle: this.#context.handle,
      key,
      live: isGuest
        ? placeOfGuest(watch.id, watch.path.slice(GUEST_PREFIX.length), key)
        : { namespace: PRIMARY_NAMESPACE, key },
      // The shell's first event tells that its output log exists, but the two travel in commits of their own. Who asks for
      // a mark behind what is there wants to hear of what is not there, too.
      waitCreate: has(WatchFlag.WaitCreate) || (SHELL_LOGS.has(watch.path) && !has(WatchFlag.InitialSentinel)),
      isLast: (line: string) => isExec && found.active?.mayRetry === false && line.includes('"name":"done"'),
    };
    const guest = new GuestWatch(options, {
      line: (line) => request.respondInTurn({ event: line }),
      sentinel: () => {
        if (has(WatchFlag.InitialSentinel)) request.respond();
      },
      end: (error) => {
        if (!this.#watches.has(request)) return;
        this.#stopWatch(request);
        if (error === null) request.end();
        else request.respondError(error);
      },
    });
    if (found.active === null) {
      this.#watches.add(request, { kind: "guest", stop: () => guest.cancel() });
      // What shells write ends with the job; what others keep beside it may go on.
      return isGuest ? guest.jobEnded() : guest.open();
    }
    guest.open();
    const { active } = found;
    const hasBegun = (): boolean => !isGuest || active.events.some(({ name }) => name === "start");
    const follower: Follower = {
      events: () => {},
      ended: () => (hasBegun() ? guest.jobEnded() : guest.neverBegan()),
    };
    this.#followJob(request, active, "guest", follower, () => guest.cancel());
  }

  async #watchUpdates(request: IncomingRequest): Promise<undefined> {
    const { id, key } = parseUpdate(request, "update-watch");
    const found = await this.#find(request, id).catch((error: unknown) => {
      throw isFluxError(error, "ENOENT") ? new FluxError("ENOENT") : error;
    });
    if (request.isAbandoned) return;
    const update = new UpdateWatch(key, () => this.#text(id, key, `${key}: key not found`), request);
    if (found.active === null) {
      await update.take(found.events);
      update.end();
      return;
    }
    const follower: Follower = {
      events: (events) => this.#guard(request, update.take(events)),
      ended: () => {
        const finish = update.take([]).then(() => {
          if (this.#watches.delete(request)) update.end();
        });
        this.#guard(request, finish);
      },
    };
    const first = update.take(found.active.events.slice());
    this.#followJob(request, found.active, "update", follower, () => {});
    await first;
  }

  /** What fails for a watch ends it. */
  #guard(request: IncomingRequest, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!(error instanceof FluxError)) return this.#context.fatal(error);
      if (!this.#watches.has(request)) return;
      this.#stopWatch(request);
      request.respondError(error);
    });
  }

  #followJob(
    request: IncomingRequest,
    job: ActiveJob,
    kind: Watch["kind"],
    follower: Follower,
    stop: () => void,
  ): void {
    job.followers.add(follower);
    this.#watches.add(request, {
      kind,
      stop: () => {
        job.followers.delete(follower);
        stop();
      },
    });
    if (job.isOver) follower.ended();
  }

  #stopWatch(request: IncomingRequest): void {
    for (const [other, watch] of this.#watches) if (other === request) watch.stop();
    this.#watches.delete(request);
  }

  #cancel(cancel: IncomingRequest): void {
    const entry = this.#watches.takeCanceled(cancel);
    if (entry === null) return;
    entry[1].stop();
    entry[0].end();
  }

  #disconnect(disconnect: IncomingRequest): void {
    for (const [, watch] of this.#watches.takeDisconnected(disconnect)) watch.stop();
  }

  #statistics(): object {
    const count = (kind: Watch["kind"]): number => [...this.#watches].filter(([, watch]) => watch.kind === kind).length;
    return {
      lookups: this.#counts.lookups,
      watchers: count("eventlog") + count("guest"),
      guest_watchers: count("guest"),
      update_lookups: this.#counts.update_lookups,
      update_watchers: count("update"),
    };
  }
}

/** A key in the namespace of a job's guest. The very first ids of an instance have none: theirs is in the primary one. */
function placeOfGuest(id: Integer, name: string, primaryKey: string): { namespace: string; key: string } {
  const namespace = `job-${id}`;
  const hasNamespace = guestKey(namespace, name) !== null;
  return hasNamespace ? { namespace, key: name } : { namespace: PRIMARY_NAMESPACE, key: primaryKey };
}

function checkAccess(request: IncomingRequest, userid: number): void {
  if (!request.isOwner && request.userid !== userid) throw new FluxError("EPERM");
}

function eventsOf(found: FoundJob): readonly JobEvent[] {
  return found.active === null ? found.events : found.active.events;
}

/** A value as the flags of a lookup want it. */
function present(key: string, text: string, flags: number, found: FoundJob): JsonValue {
  if (key !== "R" && key !== "jobspec") return text;
  const decode = (flags & LookupFlag.JsonDecode) !== 0;
  const current = (flags & LookupFlag.Current) !== 0;
  if (!decode && !current) return text;
  const value = parseObject(text);
  const updated = current ? applyUpdates(key, value, eventsOf(found)) : value;
  if (decode) return updated;
  return updated === value ? text : stringifyJson(updated);
}
