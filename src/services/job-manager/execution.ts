/**
 * The job manager's side of the execution protocol (RFC 32): start requests, and what a service's answers mean.
 *
 * Invariants: at most one start request is open per job; the last answer of each is a release with `final` set; a service
 * that says hello anew gets the open requests again, to find the shells that its predecessor started.
 *
 * Does not know: states; what an answer means for a job's eventlog is the core's business.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Job } from "./job.ts";

export interface ExecutionOutput {
  /** Opens a `SERVICE.start` request. */
  requestStart(topic: string, payload: object): void;
}

/** What an execution service says of a job. */
export type ExecutionAnswer =
  | { readonly type: "start" | "reattached" }
  | { readonly type: "release"; readonly ranks: string; readonly final: boolean }
  | { readonly type: "exception"; readonly context: JsonObject }
  | { readonly type: "finish"; readonly status: number };

export class ExecutionLink {
  readonly #output: ExecutionOutput;
  readonly #open = new Set<Job>();
  #service: string | null = null;
  #sender: string | null = null;

  constructor(output: ExecutionOutput) {
    this.#output = output;
  }

  get isReady(): boolean {
    return this.#service !== null;
  }
  get service(): string | null {
    return this.#service;
  }

  /** Jobs whose start requests are open. */
  get open(): ReadonlySet<Job> {
    return this.#open;
  }

  /** A service takes over. Returns the jobs whose start requests must be made again. */
  hello(service: string, sender: string): Job[] {
    this.#service = service;
    this.#sender = sender;
    const jobs = [...this.#open];
    this.#open.clear();
    for (const job of jobs) {
      job.startRequested = false;
      job.reattach = true;
    }
    return jobs;
  }

  /** The service is gone: its requests stay open until another one says hello. */
  lost(sender: string | null): boolean {
    if (this.#service === null || (sender !== null && sender !== this.#sender)) return false;
    this.#service = null;
    this.#sender = null;
    return true;
  }

  start(job: Job): void {
    job.startRequested = true;
    this.#open.add(job);
    this.#output.requestStart(`${this.#service}.start`, {
      id: job.id,
      userid: job.userid,
      jobspec: job.jobspec,
      reattach: job.reattach,
      R: job.R,
      ...(job.events.some(({ name }) => name === "urgency") && { inHand: true }),
    });
  }

  /** The last answer came. */
  settled(job: Job): void {
    this.#open.delete(job);
    job.startRequested = false;
    job.reattach = false;
  }
}

/** Reads an answer. Throws EPROTO. */
export function parseExecutionAnswer(payload: JsonObject): ExecutionAnswer {
  const { type, data } = payload as Record<"type" | "data", JsonValue | undefined>;
  const body: JsonObject = isJsonObject(data) ? data : {};
  switch (type) {
    case "start":
    case "reattached":
      return { type };
    case "release": {
      const { ranks, final } = body;
      if (typeof ranks !== "string" || typeof final !== "boolean") break;
      return { type, ranks, final };
    }
    case "exception":
      return { type, context: body };
    case "finish": {
      const { status } = body;
      if (typeof status !== "number" || !Number.isInteger(status)) break;
      return { type, status };
    }
    default:
      break;
  }
  throw new FluxError("EPROTO", `malformed answer of the execution service: ${String(type)}`);
}
