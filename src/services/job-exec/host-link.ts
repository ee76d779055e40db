/**
 * The way to the shell host of one rank: has it started when it is first needed, hands it the jobs of a turn in one
 * message, and tells what it reports.
 *
 * Invariants: jobs reach the host in the order given; after `lost` was called, nothing that was given before is reported
 * any more, and the next job has a new host started.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { WaitStatus, Clock } from "../../base/ports.ts";
import type { Payload } from "../../protocol/message.ts";
import {
  SHELL_AGENT_SERVICE,
  SHELL_HOST_SERVICE,
  type HostEvent,
  type HostResponse,
  type ShellStart,
} from "../../protocol/shell-host.ts";
import type { Handle } from "../../sdk/handle.ts";

export interface HostLinkListener {
  /** The host is there, with jobs that it has been running already. */
  attached(rank: number, jobs: readonly Integer[]): void;
  events(rank: number, events: readonly HostEvent[]): void;
  lost(rank: number, error: FluxError, hostStatus: WaitStatus | null): void;
}

export interface HostLinkOptions {
  readonly rank: number;
  readonly handle: Handle;
  readonly listener: HostLinkListener;
  readonly clock: Clock;
  /** How long a rank that cannot be reached may take to come back into the tree, in milliseconds. */
  readonly patienceMs: number;
}

/** What a host is asked to do with a job that it has. */
export type JobMethod = "kill" | "destroy" | "expiration" | "release" | "log";

/** How often a rank that cannot be reached is tried. */
const RETRY_MS = 250;
/** Events that are confirmed together. */
const CONFIRMED_TOGETHER = 64;

export class HostLink {
  readonly rank: number;
  readonly #options: HostLinkOptions;
  #state: "idle" | "starting" | "attached" = "idle";
  /** Grows with each host: what an earlier one still says is not heard. */
  #generation = 0;
  #queue: ShellStart[] = [];
  #isFlushScheduled = false;
  /** Until when a rank that cannot be reached is waited for (monotonic milliseconds); null where it is reached. */
  #waitsUntilMs: number | null = null;
  /** The host that is, or was, attached, and the ordinal of the last event that it told. */
  #host: string | null = null;
  #through = 0;
  #confirmed = 0;
  /** How the host's process ended, where its agent could tell. */
  #hostStatus: WaitStatus | null = null;

  constructor(options: HostLinkOptions) {
    this.rank = options.rank;
    this.#options = options;
  }

  get isAttached(): boolean {
    return this.#state === "attached";
  }

  /** Has the host started if it is not. */
  open(): void {
    if (this.#state !== "idle") return;
    this.#state = "starting";
    this.#run();
  }

  #run(): void {
    const generation = ++this.#generation;
    this.#options.handle.open(
      `${SHELL_AGENT_SERVICE}.run`,
      {},
      {
        item: (payload) => {
          const ended = payload?.value["ended"];
          if (typeof ended === "number") this.#hostStatus = ended;
          else this.#attach(generation);
        },
        end: (error) => this.#lose(generation, error),
      },
      { nodeid: this.rank },
    );
  }

  start(job: ShellStart): void {
    this.open();
    this.#queue.push(job);
    if (this.isAttached) this.#scheduleFlush();
  }

  /** Takes back a job that has not been handed over. */
  withdraw(id: Integer): boolean {
    const length = this.#queue.length;
    this.#queue = this.#queue.filter((job) => job.id !== id);
    return this.#queue.length < length;
  }

  /** Sends a request about a job that was handed over. */
  tell(method: JobMethod, payload: object): void {
    if (this.isAttached) this.#send(method, payload);
  }

  #attach(generation: number): void {
    if (generation !== this.#generation || this.#state !== "starting") return;
    // That the host is gone its agent tells, too, and how it ended.
    const end = (error: FluxError | null): void => {
      if (error?.is("ENOSYS") !== true) this.#lose(generation, error);
    };
    const item = (payload: Payload | null): void => {
      if (generation === this.#generation) this.#receive((payload?.value ?? {}) as HostResponse);
    };
    const heard = this.#host === null ? {} : { host: this.#host, since: this.#through };
    this.#options.handle.open(`${SHELL_HOST_SERVICE}.attach`, heard, { item, end }, { nodeid: this.rank });
  }

  #receive(response: HostResponse): void {
    if (response.jobs !== undefined && this.#state === "starting") {
      this.#state = "attached";
      this.#waitsUntilMs = null;
      if (response.host !== this.#host) this.#through = this.#confirmed = 0;
      this.#host = response.host ?? null;
      // What waits to be handed over is not missing there.
      this.#options.listener.attached(this.rank, [...response.jobs, ...this.#queue.map(({ id }) => id)]);
      this.#scheduleFlush();
    }
    if (response.events !== undefined) this.#options.listener.events(this.rank, response.events);
    if (response.through === undefined) return;
    this.#through = response.through;
    if (this.#through - this.#confirmed < CONFIRMED_TOGETHER) return;
    this.#confirmed = this.#through;
    this.#send("told", { through: this.#through });
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // After the messages at hand: jobs that are allocated together start together.
    void Promise.resolve().then(() => {
      this.#isFlushScheduled = false;
      if (!this.isAttached || this.#queue.length === 0) return;
      const jobs = this.#queue;
      this.#queue = [];
      this.#send("start", { jobs });
    });
  }

  #send(method: string, payload: object): void {
    this.#options.handle.send(`${SHELL_HOST_SERVICE}.${method}`, payload, { nodeid: this.rank });
  }

  #lose(generation: number, error: FluxError | null): void {
    if (generation !== this.#generation || this.#state === "idle") return;
    if (error?.is("EHOSTUNREACH") === true && this.#waitOn()) return;
    this.#state = "idle";
    this.#waitsUntilMs = null;
    this.#generation++;
    this.#queue = [];
    const status = this.#hostStatus;
    this.#hostStatus = null;
    this.#options.listener.lost(this.rank, error ?? new FluxError("ECONNRESET", "the shell host ended"), status);
  }

  /** The way to a rank broke: it may come back into the tree, and its host is still there then. False when that took too long. */
  #waitOn(): boolean {
    const { clock, patienceMs } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#waitsUntilMs ??= nowMs + patienceMs;
    if (nowMs >= this.#waitsUntilMs) return false;
    this.#state = "starting";
    const generation = ++this.#generation;
    clock.after(
      RETRY_MS,
      () => {
        if (generation === this.#generation && this.#state === "starting") this.#run();
      },
      { background: true },
    );
    return true;
  }
}
