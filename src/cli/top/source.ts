/**
 * What `flux top` knows of one instance, and how it hears of changes: counts of jobs as a stream, jobs and resources asked
 * for again after each change, at most every so often.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import { JobState, STATES_RUNNING } from "../../sdk/job-protocol.ts";
import type { Handle, OpenStream, Subscription } from "../../sdk/handle.ts";
import { StatsSummary, type JobStats } from "../jobs/instance.ts";
import { listRecords } from "../jobs/listing.ts";
import { jobIdText } from "../jobs/client.ts";
import type { JobRecord } from "../jobs/record.ts";
import { queuesMeant } from "../jobs/selection.ts";
import { Queues } from "../resource/queues.ts";
import { schedulerView, type SchedulerView } from "../resource/view.ts";
import type { InstanceView, ShownJob, Usage } from "./view.ts";

/** Between two rounds of questions. */
const REFRESH_MS = 1000;
/** Without any news, resources may have changed. */
const IDLE_REFRESH_MS = 2000;
/** More jobs than any terminal has rows. */
const JOBS_MAX = 500;
const ATTRS = ["userid", "state", "name", "queue", "ntasks", "nnodes", "t_run", "t_cleanup", "annotations", "result"];

/** What does not change while an instance lives. */
interface Facts {
  readonly size: number;
  readonly depth: number;
  readonly startTime: number;
  readonly version: string;
  readonly jobId: string | null;
}

export interface SourceEvents {
  changed(): void;
  heartbeat(): void;
  /** The instance is gone. */
  lost(error: FluxError): void;
}

export class InstanceSource {
  readonly handle: Handle;
  readonly path: string;
  readonly #uid: number;
  readonly #facts: Facts;
  readonly #events: SourceEvents;
  #config: JsonObject;
  #queue: string | null = null;
  #summary: StatsSummary | null = null;
  #stats: JobStats | null = null;
  #view: InstanceView | null = null;
  /** The running jobs, those that began last first. */
  #jobs: readonly JobRecord[] = [];
  #stream: OpenStream | null = null;
  #pulse: Subscription | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isAsking = false;
  #isClosed = false;

  private constructor(
    handle: Handle,
    path: string,
    uid: number,
    facts: Facts,
    config: JsonObject,
    events: SourceEvents,
  ) {
    this.handle = handle;
    this.path = path;
    this.#uid = uid;
    this.#facts = facts;
    this.#config = config;
    this.#events = events;
  }

  /** Asks an instance who it is, and begins to follow it. Rejects with what the instance says. */
  static async open(handle: Handle, path: string, uid: number, events: SourceEvents): Promise<InstanceSource> {
    const attribute = (name: string): Promise<string> => getAttribute(handle, name);
    const [size, depth, startTime, version, config] = await Promise.all([
      attribute("size"),
      attribute("instance-level"),
      attribute("broker.starttime"),
      attribute("version"),
      handle.rpc<JsonObject>("config.get"),
    ]);
    const jobId = await attribute("jobid").catch((error: unknown) => {
      if (isFluxError(error)) return null;
      throw error;
    });
    const facts = { size: Number(size), depth: Number(depth), startTime: Number(startTime), version, jobId };
    const source = new InstanceSource(handle, path, uid, facts, config, events);
    handle.onClose((error) => {
      if (!source.#isClosed) events.lost(error);
    });
    source.#pulse = await handle.subscribe("heartbeat.pulse", () => events.heartbeat());
    return source;
  }

  /** What is to be shown; null before the first answers. */
  get view(): InstanceView | null {
    return this.#view;
  }
  get jobs(): readonly JobRecord[] {
    return this.#jobs;
  }
  /** The queues that one can be limited to, in order. */
  get queues(): readonly string[] {
    return Object.keys((this.#config["queues"] as JsonObject | undefined) ?? {}).sort();
  }

  /** Limits the display to a queue, or to none. Throws FluxError ENOENT where there is no such queue. */
  select(queue: string | null): void {
    if (queue !== null && !this.queues.includes(queue)) throw new FluxError("ENOENT", `queue ${queue} not configured`);
    this.#queue = queue;
  }

  /** The next queue in a direction, beyond the last one all of them. */
  rotate(step: number): void {
    const all = [null, ...this.queues];
    const next = (all.indexOf(this.#queue) + step + all.length) % all.length;
    this.select(all[next] ?? null);
    this.refresh();
  }

  /** Begins to follow what happens; the first `changed` comes when everything is known. */
  start(): void {
    const item = (payload: { readonly value: JsonObject } | null): void => {
      if (payload === null) return;
      this.#stats = payload.value as unknown as JobStats;
      this.refresh();
    };
    // A user who may not see the counts sees the jobs all the same.
    const end = (): void => this.refresh();
    const cancelTopic = "job-list.job-stats-cancel";
    this.#stream = this.handle.open("job-list.job-stats", {}, { item, end }, { cancelTopic });
  }

  /** Asks again, now or as soon as the last questions are a while ago. */
  refresh(): void {
    if (this.#isClosed || this.#isAsking) return;
    this.#isAsking = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    void this.#ask().then(() => {
      if (this.#isClosed) return;
      this.#timer = setTimeout(() => {
        this.#isAsking = false;
        this.#timer = setTimeout(() => this.refresh(), IDLE_REFRESH_MS - REFRESH_MS);
      }, REFRESH_MS);
      this.#events.changed();
    });
  }

  /** The display is limited anew: what is known is shown as it is now. */
  async reshow(): Promise<void> {
    await this.#ask();
    if (!this.#isClosed) this.#events.changed();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#pulse?.cancel();
    this.#stream?.cancel();
    this.handle.close();
  }

  async #ask(): Promise<void> {
    try {
      const queue = this.#queue;
      const queues = queue === null ? [] : queuesMeant([queue], this.#config);
      const constraint = {
        and: [{ states: [STATES_RUNNING] }, ...(queue === null ? [] : [{ queue: queues }])],
      };
      const [jobs, view] = await Promise.all([
        listRecords(this.handle, { attrs: ATTRS, constraint, maxEntries: JOBS_MAX }),
        schedulerView(this.handle).catch((error: unknown) => {
          if (isFluxError(error)) return null;
          throw error;
        }),
      ]);
      const counts = queue === null ? this.#stats : this.#stats?.queues?.find(({ name }) => name === queue);
      this.#summary = counts === undefined || counts === null ? null : new StatsSummary(counts);
      this.#jobs = jobs;
      this.#view = this.#viewOf(jobs, view);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      // A lost connection is told by the handle; anything else is gone at the next round.
    }
  }

  #viewOf(jobs: readonly JobRecord[], resources: SchedulerView | null): InstanceView {
    const { size, depth, startTime, version } = this.#facts;
    const summary = this.#summary;
    const usage = usageOf(resources, this.#queue, this.#config);
    return {
      path: this.path,
      queue: this.#queue,
      expiration: resources?.all.expiration ?? 0,
      ...usage,
      pending: summary?.pending ?? 0,
      running: summary?.running ?? jobs.length,
      successful: summary?.successful ?? 0,
      failed: summary?.failed ?? 0,
      jobs: jobs.map((job) => shownJob(job, this.#uid)),
      size,
      depth,
      startTime,
      version,
    };
  }
}

function usageOf(
  view: SchedulerView | null,
  queue: string | null,
  config: JsonObject,
): Pick<InstanceView, "nodes" | "cores" | "gpus"> {
  const none: Usage = { total: 0, used: 0, down: 0 };
  if (view === null) return { nodes: none, cores: none, gpus: none };
  const ranks = queue === null ? view.all.ranks : new Queues(config).ranks(queue, view.all);
  const [all, allocated, down] = [view.all, view.allocated, view.down].map((set) => set.keepRanks(ranks)) as [
    SchedulerView["all"],
    SchedulerView["all"],
    SchedulerView["all"],
  ];
  const of = (name: "nnodes" | "ncores" | "ngpus"): Usage => ({
    total: all[name],
    used: allocated[name],
    down: down[name],
  });
  return { nodes: of("nnodes"), cores: of("ncores"), gpus: of("ngpus") };
}

function shownJob(job: JobRecord, uid: number): ShownJob {
  return {
    id: job.id,
    idText: jobIdText(job.id),
    queue: job.text("queue"),
    user: job.context.userName(job.number("userid")),
    status: job.statusAbbreviated,
    ntasks: String(job.number("ntasks")),
    nnodes: String(job.number("nnodes")),
    startTime: job.number("t_run"),
    endTime: job.state === JobState.Run ? 0 : job.number("t_cleanup"),
    name: job.text("name"),
    isInstance: job.uri !== null && job.number("userid") === uid,
  };
}
