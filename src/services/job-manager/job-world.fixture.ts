/**
 * An instance of one broker for tests of the job services: the real KVS, and in the place of scheduler and execution
 * service two handles that the test moves.
 */
import { makeBrokers, startStorage, stopStorage, OWNER, type MemoryDisk } from "../kvs/world.fixture.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { Handle } from "../../sdk/handle.ts";
import { submitJob } from "../../sdk/jobs.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { Server } from "../../sdk/service.ts";
import { jobInfoModule } from "../job-info/service.ts";
import { jobIngestModule } from "../job-ingest/service.ts";
import { jobListModule } from "../job-list/service.ts";
import { kvsWatchModule } from "../kvs-watch/service.ts";
import { jobManagerModule } from "./service.ts";

export { OWNER };
type Broker = ReturnType<typeof makeBrokers>[number];

export const R: JsonObject = {
  version: 1,
  execution: { R_lite: [{ rank: "0", children: { core: "0" } }], nodelist: ["h0"], starttime: 1, expiration: 0 },
};

export function jobspecOf(command: string[] = ["true"], system: JsonObject = {}): Jobspec {
  return {
    version: 1,
    resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
    tasks: [{ command, slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, ...system } },
  };
}

/** Requests that arrive at a fake service, in order. */
class Inbox {
  readonly #requests: IncomingRequest[] = [];
  #waiting: ((request: IncomingRequest) => void) | null = null;

  put(request: IncomingRequest): undefined {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) this.#requests.push(request);
    else waiting(request);
  }
  next(): Promise<IncomingRequest> {
    const first = this.#requests.shift();
    return first === undefined ? new Promise((resolve) => (this.#waiting = resolve)) : Promise.resolve(first);
  }
}

export class JobWorld {
  readonly broker: Broker;
  readonly client: Handle;
  readonly allocs = new Inbox();
  readonly starts = new Inbox();
  readonly frees = new Inbox();
  readonly hellos: JsonObject[] = [];

  private constructor(broker: Broker) {
    this.broker = broker;
    this.client = broker.connect();
  }

  /** Boots the services; a disk that was used before brings its jobs along. */
  static async start(options: { disk?: MemoryDisk; config?: JsonObject; idle?: boolean } = {}): Promise<JobWorld> {
    const [broker] = await startStorage(options);
    await broker!.load(kvsWatchModule);
    await broker!.load(jobManagerModule);
    await broker!.load(jobInfoModule);
    await broker!.load(jobListModule);
    const world = new JobWorld(broker!);
    if (options.idle !== true) await world.serve();
    await broker!.load(jobIngestModule);
    return world;
  }

  /** Takes the places of the scheduler and the execution service. */
  async serve(): Promise<void> {
    const scheduler = this.broker.connect();
    await scheduler.rpc("service.add", { service: "sched" });
    const ignore = (): undefined => undefined;
    new Server(scheduler, identity).add("sched", {
      alloc: (request) => this.allocs.put(request),
      free: (request) => this.frees.put(request),
      cancel: ignore,
      prioritize: ignore,
    });
    for await (const hello of scheduler.stream("job-manager.sched-hello")) this.hellos.push(hello);
    await scheduler.rpc("job-manager.sched-ready", { mode: "unlimited" });
    const execution = this.broker.connect();
    await execution.rpc("service.add", { service: "fake-exec" });
    new Server(execution, identity).add("fake-exec", { start: (request) => this.starts.put(request) });
    await execution.rpc("job-manager.exec-hello", { service: "fake-exec" });
  }

  submit(jobspec: Jobspec = jobspecOf(), options: { urgency?: number; flags?: number } = {}): Promise<Integer> {
    return submitJob(this.client, jobspec, { userid: OWNER, ...options });
  }

  /** Grants the next request of the scheduler's, R stored first; resolves with the job's id. */
  async allocate(): Promise<Integer> {
    const request = await this.allocs.next();
    const { id } = request.json;
    const key = `${fluidKvsPath(id as Integer)}.R`;
    await this.commit(key, JSON.stringify(R));
    request.respond({ id, type: 0, R, annotations: { sched: { resource_summary: "rank0/core0" } } });
    return id as Integer;
  }

  /** Takes the next start request. */
  async start(): Promise<Run> {
    return new Run(await this.starts.next());
  }

  /** Runs the next job to its end. */
  async runNext(status = 0): Promise<Integer> {
    const id = await this.allocate();
    (await this.start()).all(status);
    return id;
  }

  async commit(key: string, text: string, flags = 0): Promise<void> {
    const ops = [{ key, flags, dirent: makeTextVal(text) }];
    await this.client.rpc("kvs.commit", { namespace: PRIMARY_NAMESPACE, flags: 0, ops });
  }

  stop(): Promise<void> {
    return stopStorage([this.broker]);
  }
}

/** A job's shells, as the execution service tells of them. */
export class Run {
  readonly request: IncomingRequest;

  constructor(request: IncomingRequest) {
    this.request = request;
  }
  tell(type: string, data: JsonObject = {}): void {
    this.request.respond({ id: this.request.json["id"], type, data });
  }
  all(status: number): void {
    this.tell("start");
    this.finish(status);
  }
  finish(status: number): void {
    this.tell("finish", { status });
    this.tell("release", { ranks: "all", final: true });
  }
}

const identity = {
  rank: 0,
  fatal: (error: unknown): void => {
    throw error;
  },
};
