/**
 * The job-list service: follows the job manager's journal and answers queries about jobs.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { Role, type Payload } from "../../protocol/message.ts";
import type { OpenStream } from "../../sdk/handle.ts";
import { JobState, readJournalEntry, type JournalEntry } from "../../sdk/job-protocol.ts";
import { LookupFlag, PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import { ANY_USER, ANYONE, type Methods } from "../../sdk/service.ts";
import { Turns } from "../../sdk/turns.ts";
import { JobList } from "./core.ts";
import { memoryPages, type StoredPage } from "./finished.ts";
import { PageFiles } from "./page-files.ts";
import { parseList, parseListId, type ListIdRequest } from "./protocol.ts";
import { ALL_ATTRIBUTES, describe, type JobRecord } from "./record.ts";

const SERVICE = "job-list";
/** Jobs in one answer of a stream, after the first. */
const STREAM_BATCH = 100;
/** Comparisons for one list, where the configuration does not say. */
const COMPARISONS_MAX_DEFAULT = 10_000_000;
/** How often streams of statistics get new counts, at most. */
const STATISTICS_PERIOD_MS = 500;
/** Until the journal is asked for again after it has ended. */
const JOURNAL_RETRY_MS = 200;

export const jobListModule: ModuleDefinition = { name: SERVICE, start: (context) => JobListService.start(context) };

class JobListService implements RunningModule {
  readonly #context: ModuleContext;
  #list: JobList;
  readonly #turns: Turns;
  /** Where the pages of the lists are; null where there is no place for files. */
  readonly #pages: PageFiles | null;
  /** The instance comes back, and goes on with the pages. */
  readonly #isKept: boolean;
  #hasPageTrouble = false;
  readonly #waits = new RequestSet<ListIdRequest>();
  readonly #statisticsStreams = new RequestSet<null>();
  #statisticsScheduled = false;
  #journal: OpenStream | null = null;
  #retry: TimerHandle | null = null;
  #isStopped = false;
  /** What the journal brought while a test holds it back; null otherwise. */
  #held: JournalEntry[] | null = null;
  #lookups = 0;
  #comparisonsMax = COMPARISONS_MAX_DEFAULT;
  /** Guests see no jobs but their own. */
  #isPrivate = false;
  /** Whether all jobs so far have been told; who asks before waits. */
  #isKnown = false;
  readonly #untilKnown: (() => void)[] = [];
  /** What was purged while a journal tells of all jobs: it may tell of these after that. Null while none does. */
  #purgedMeanwhile: Integer[] | null = null;

  private constructor(context: ModuleContext) {
    this.#context = context;
    this.#turns = new Turns(context.ports.clock, 1);
    const { disk, codec } = context.ports;
    const statedir = context.attribute("statedir");
    const place = statedir ?? context.attribute("rundir");
    this.#isKept = statedir !== null;
    this.#pages = place === null ? null : new PageFiles(disk, codec, `${place}/${SERVICE}`);
    if (!this.#isKept) this.#pages?.removeAll();
    this.#list = this.#newList(this.#pages?.load() ?? []);
  }

  static async start(context: ModuleContext): Promise<RunningModule> {
    const service = new JobListService(context);
    service.configure(context.config());
    await context.handle.subscribe("job-purge-inactive", ({ payload }) => service.#purged(payload), {
      ownerOnly: true,
    });
    try {
      // Of an instance with many finished jobs, what they were is read on while it works; who asks waits for that.
      await new Promise<void>((resolve, reject) => service.#follow(service.#list, resolve).catch(reject));
    } catch (error) {
      service.stop();
      throw error;
    }
    context.server.add(SERVICE, service.#methods());
    return service;
  }

  configure(config: JsonObject): void {
    this.#comparisonsMax = comparisonsMaxOf(config);
    const access = config["access"];
    this.#isPrivate = isJsonObject(access) && access["private-mode"] === true;
    configureQueues(this.#list, config);
  }

  stop(): void {
    this.#isStopped = true;
    for (const proceed of this.#untilKnown.splice(0)) proceed();
    this.#waits.failAll(new FluxError("ENOSYS", "job-list is unloading"));
    this.#statisticsStreams.failAll(new FluxError("ENODATA"));
    this.#retry?.cancel();
    this.#journal?.cancel();
    if (!this.#isKept) this.#pages?.removeAll();
  }

  /**
   * Opens the journal; resolves when all jobs so far are known. It is opened again whenever it ends: a job manager that is
   * loaded anew tells of all jobs from their first event on. Until it has, the list is what it was.
   */
  #follow(list: JobList, opened: () => void = () => {}): Promise<void> {
    this.#purgedMeanwhile = [];
    return new Promise((resolve, reject) => {
      let isComplete = false;
      const item = (payload: Payload | null): void => {
        opened();
        const entry = readJournalEntry(payload);
        if (entry.id === -1) {
          isComplete = true;
          this.#replace(list, entry.gone ?? []);
          resolve();
        } else if (!isComplete) this.#takeInto(list, entry);
        else if (this.#held === null) this.#take(entry);
        else this.#held.push(entry);
      };
      const end = (error: FluxError | null): void => {
        reject(error ?? new FluxError("ENODATA"));
        if (this.#isStopped) return;
        if (isComplete) this.#context.log(LogLevel.info, "the journal of the job manager ended");
        this.#retry = this.#context.ports.clock.after(JOURNAL_RETRY_MS, () => this.#followAgain());
      };
      const cancelTopic = "job-manager.events-journal-cancel";
      const request = { full: true, known: list.paged() };
      this.#journal = this.#context.handle.open("job-manager.events-journal", request, { item, end }, { cancelTopic });
    });
  }

  #followAgain(): void {
    this.#pages?.share();
    const list = this.#newList(this.#list.storedPages);
    configureQueues(list, this.#context.config());
    // An end before all jobs were told is the end of this attempt, and leads to the next.
    this.#follow(list).catch(() => undefined);
  }

  #replace(list: JobList, gone: readonly Integer[]): void {
    this.#list = list;
    list.forget(gone);
    list.purge(this.#purgedMeanwhile ?? []);
    this.#purgedMeanwhile = null;
    this.#isKnown = true;
    for (const proceed of this.#untilKnown.splice(0)) proceed();
    this.#pages?.settle();
    this.#held = this.#held === null ? null : [];
    for (const [request, wanted] of this.#waits) {
      const record = list.get(wanted.id);
      if (record !== null) this.#answerWait(request, wanted, record);
    }
    if (this.#statisticsStreams.size > 0) this.#scheduleStatistics();
  }

  #methods(): Methods {
    return {
      list: { roles: ANY_USER, handler: (request) => this.#answerList(request) },
      "list-id": { roles: ANY_USER, handler: (request) => this.#answerId(request) },
      "list-attrs": { roles: ANY_USER, handler: () => ({ attrs: [...ALL_ATTRIBUTES, "all"] }) },
      "job-stats": { roles: ANY_USER, handler: (request) => this.#answerStatistics(request) },
      "job-stats-cancel": {
        roles: ANY_USER,
        handler: (request) => void this.#statisticsStreams.takeCanceled(request)?.[0].end(),
      },
      "stats-get": {
        roles: ANYONE,
        handler: (request) => {
          this.#checkCounts(request);
          return {
            jobs: this.#list.sizes(),
            idsync: { lookups: this.#lookups, waits: this.#waitedFor() },
            stats_watchers: this.#statisticsStreams.size,
          };
        },
      },
      "job-state-pause": () => ((this.#held ??= []), null),
      "job-state-unpause": () => (this.#unpause(), null),
      disconnect: {
        roles: ANYONE,
        handler: (request) => {
          this.#waits.takeDisconnected(request);
          this.#statisticsStreams.takeDisconnected(request);
          return undefined;
        },
      },
    };
  }

  /** How many jobs somebody waits for. */
  #waitedFor(): number {
    return new Set([...this.#waits].map(([, { id }]) => id)).size;
  }

  #take(entry: JournalEntry): void {
    const record = this.#takeInto(this.#list, entry);
    if (record === null) return;
    if (this.#waits.size > 0) this.#answerWaits(record);
    if (this.#statisticsStreams.size > 0) this.#scheduleStatistics();
  }

  /** A list that goes on with pages. */
  #newList(stored: readonly StoredPage[]): JobList {
    return this.#pages === null ? new JobList(memoryPages()) : new JobList(this.#pages, stored);
  }

  #takeInto(list: JobList, entry: JournalEntry): JobRecord | null {
    try {
      const record = list.take(entry);
      this.#hasPageTrouble = false;
      return record;
    } catch (error) {
      if (!isFluxError(error)) throw error;
      if (!this.#hasPageTrouble) this.#context.log(LogLevel.err, `finished jobs stay in memory: ${error.message}`);
      this.#hasPageTrouble = true;
      return list.get(entry.id);
    }
  }

  #unpause(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const entry of held) this.#take(entry);
  }

  #purged(payload: Payload | null): void {
    const jobs = payload?.value["jobs"];
    if (!Array.isArray(jobs)) return;
    const ids = jobs as Integer[];
    this.#purgedMeanwhile?.push(...ids);
    this.#list.purge(ids);
    if (this.#statisticsStreams.size > 0) this.#scheduleStatistics();
  }

  async #answerList(request: IncomingRequest): Promise<object | undefined> {
    const { maxEntries, attributes, since, matches } = parseList(request, this.#comparisonsMax);
    await this.#known();
    let jobs: JsonObject[] = [];
    let told = 0;
    // Clients learn from the first answer that more follow.
    const tell = (): void => {
      request.respond(told === 0 ? { jobs, version: 1 } : { jobs });
      told += jobs.length;
      jobs = [];
    };
    for (const record of this.#list.ordered(since)) {
      if (told + jobs.length >= maxEntries) break;
      // Others have their turn before a page is read.
      if (record === null) await this.#turns.next();
      else if (this.#maySee(request, record.userid) && matches(record)) jobs.push(describe(record, attributes));
      if (request.isAbandoned) return undefined;
      if (request.isStreaming && jobs.length >= (told === 0 ? 1 : STREAM_BATCH)) tell();
    }
    if (!request.isStreaming) return { jobs };
    if (jobs.length > 0) tell();
    request.end();
    return undefined;
  }

  async #answerId(request: IncomingRequest): Promise<object | undefined> {
    const wanted = parseListId(request);
    await this.#known();
    const record = this.#list.get(wanted.id);
    if (record !== null) this.#checkVisible(request, record);
    if (record !== null && hasReached(record, wanted.state)) return { job: describe(record, wanted.attributes) };
    if (record === null) await this.#checkExists(wanted.id);
    const now = this.#list.get(wanted.id);
    if (now !== null) this.#checkVisible(request, now);
    if (now !== null && hasReached(now, wanted.state)) return { job: describe(now, wanted.attributes) };
    this.#waits.add(request, wanted);
    return undefined;
  }

  /** A job that was just accepted may be in the KVS and not yet in the journal. Throws ENOENT. */
  async #checkExists(id: Integer): Promise<void> {
    if (typeof id === "number" && id < 0) throw new FluxError("ENOENT");
    this.#lookups += 1;
    try {
      const request = { key: fluidKvsPath(id), flags: LookupFlag.ReadDir, namespace: PRIMARY_NAMESPACE };
      await this.#context.handle.rpc("kvs.lookup", request);
    } catch (error) {
      if (isFluxError(error, "ENOTDIR")) throw new FluxError("ENOENT");
      throw error;
    } finally {
      this.#lookups -= 1;
    }
  }

  #answerWaits(record: JobRecord): void {
    for (const [request, wanted] of this.#waits) if (wanted.id === record.id) this.#answerWait(request, wanted, record);
  }

  #answerWait(request: IncomingRequest, wanted: ListIdRequest, record: JobRecord): void {
    if (!hasReached(record, wanted.state)) return;
    this.#waits.delete(request);
    if (!this.#maySee(request, record.userid)) return request.respondError(new FluxError("ENOENT"));
    request.respond({ job: describe(record, wanted.attributes) });
  }

  /** In private mode guests see their own jobs only (flux-config-access(5)). */
  #maySee(request: IncomingRequest, userid: number): boolean {
    if (!this.#isPrivate || (request.rolemask & (Role.Owner | Role.Admin)) !== 0) return true;
    return request.userid === userid;
  }

  /** A job that may not be seen is answered like one that is not there. */
  #checkVisible(request: IncomingRequest, record: JobRecord): void {
    if (!this.#maySee(request, record.userid)) throw new FluxError("ENOENT");
  }

  /** How many jobs there are is told to those only who see them all. */
  #checkCounts(request: IncomingRequest): void {
    if (!this.#maySee(request, this.#context.ownerUserid)) throw new FluxError("EPERM");
  }

  async #known(): Promise<void> {
    if (!this.#isKnown) await new Promise<void>((resolve) => void this.#untilKnown.push(resolve));
    if (this.#isStopped) throw new FluxError("ENOSYS", "job-list is unloading");
  }

  async #answerStatistics(request: IncomingRequest): Promise<object | undefined> {
    await this.#known();
    this.#checkCounts(request);
    if (!request.isStreaming) return this.#list.statistics.toJSON();
    request.respond(this.#list.statistics.toJSON());
    this.#statisticsStreams.add(request, null);
    return undefined;
  }

  #scheduleStatistics(): void {
    if (this.#statisticsScheduled) return;
    this.#statisticsScheduled = true;
    this.#context.ports.clock.after(
      STATISTICS_PERIOD_MS,
      () => {
        this.#statisticsScheduled = false;
        const counts = this.#list.statistics.toJSON();
        for (const [request] of this.#statisticsStreams) request.respond(counts);
      },
      { background: true },
    );
  }
}

/** `[job-list] max_comparisons`: 0 for no limit. Throws FluxError EINVAL. */
function comparisonsMaxOf(config: JsonObject): number {
  const table = config[SERVICE];
  const value = isJsonObject(table) ? table["max_comparisons"] : undefined;
  if (value === undefined) return COMPARISONS_MAX_DEFAULT;
  if (typeof value !== "number" || !Number.isInteger(value))
    throw new FluxError("EINVAL", "error reading config for job-list: max_comparisons must be an integer");
  if (value < 0) throw new FluxError("EINVAL", "job-list.max_comparisons must be >= 0");
  return value;
}

function configureQueues(list: JobList, { queues }: JsonObject): void {
  if (isJsonObject(queues)) list.statistics.configure(Object.keys(queues).sort());
}

/** Whether a job has been in a state, or can never be in it any more. */
function hasReached(record: JobRecord, state: number): boolean {
  return state === 0 || (record.states & state) !== 0 || record.state === JobState.Inactive;
}
