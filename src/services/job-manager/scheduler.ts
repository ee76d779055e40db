/**
 * The job manager's side of the allocation protocol (RFC 27): which jobs ask the scheduler for resources, in which order,
 * and how many at once.
 *
 * Invariants:
 * 1. At most one request is open per job; with mode "limited", at most `limit` altogether.
 * 2. Requests are sent in the order of priority, then of submission.
 * 3. While no scheduler is there, nothing is sent, and jobs wait in the queue.
 *
 * Does not know: job states, events, or what an allocation contains.
 */
import type { JsonObject } from "../../base/json.ts";
import { withoutEnvironment } from "../../sdk/job-environment.ts";
import { compareIds } from "../../sdk/job-protocol.ts";
import { queueOf, type Job } from "./job.ts";

/** What the scheduler is told; sent by the service. */
export interface SchedulerOutput {
  /** Opens a `sched.alloc` request. */
  requestAllocation(payload: object): void;
  /** Sends a request that gets no answer. */
  tellScheduler(topic: string, payload: object): void;
}

interface Ticket {
  readonly job: Job;
  readonly queue: string;
  readonly priority: number;
}

/** Higher priority first, then the earlier id. */
function before(left: Ticket, right: Ticket): boolean {
  if (left.priority !== right.priority) return left.priority > right.priority;
  return compareIds(left.job.id, right.job.id) < 0;
}

/** A binary heap of tickets; one whose job has another ticket (or none) by now is skipped when it surfaces. */
class TicketHeap {
  readonly #tickets: Ticket[] = [];

  push(ticket: Ticket): void {
    const tickets = this.#tickets;
    let at = tickets.length;
    tickets.push(ticket);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(ticket, tickets[parent]!)) break;
      tickets[at] = tickets[parent]!;
      at = parent;
    }
    tickets[at] = ticket;
  }

  peek(): Ticket | null {
    while (this.#tickets.length > 0 && this.#tickets[0]!.job.ticket !== this.#tickets[0]) this.#removeTop();
    return this.#tickets[0] ?? null;
  }

  pop(): Ticket | null {
    const top = this.peek();
    if (top !== null) this.#removeTop();
    return top;
  }

  #removeTop(): void {
    const tickets = this.#tickets;
    const last = tickets.pop()!;
    if (tickets.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= tickets.length) break;
      if (child + 1 < tickets.length && before(tickets[child + 1]!, tickets[child]!)) child += 1;
      if (!before(tickets[child]!, last)) break;
      tickets[at] = tickets[child]!;
      at = child;
    }
    tickets[at] = last;
  }
}

export class SchedulerLink {
  readonly #output: SchedulerOutput;
  readonly #isStarted: (queue: string) => boolean;
  /** Called when a job's request was sent. */
  readonly #requested: (job: Job) => void;
  readonly #queues = new Map<string, TicketHeap>();
  /** Jobs with an open request, the cancelled ones included. */
  readonly #open = new Set<Job>();
  readonly #reprioritized = new Set<Job>();
  /** How many jobs wait in each queue. */
  readonly #waiting = new Map<string, number>();
  /** Null while no scheduler is ready; Infinity with mode "unlimited". */
  #limit: number | null = null;
  /** What was freed between a scheduler's hello and its being ready; null at other times. */
  #heldFrees: object[] | null = null;

  constructor(output: SchedulerOutput, isStarted: (queue: string) => boolean, requested: (job: Job) => void) {
    this.#output = output;
    this.#isStarted = isStarted;
    this.#requested = requested;
  }

  get isReady(): boolean {
    return this.#limit !== null;
  }
  /** Jobs that wait for their turn to ask; those of stopped queues do not. */
  get queuedCount(): number {
    let count = 0;
    for (const [queue, waiting] of this.#waiting) if (this.#isStarted(queue)) count += waiting;
    return count;
  }
  /** Jobs whose request the scheduler has. */
  get pendingCount(): number {
    return this.#open.size;
  }

  /** A scheduler said hello and was told of all allocations; what is freed from here on it must hear of. */
  hello(): void {
    this.#heldFrees = [];
  }

  ready(limit: number): void {
    this.#limit = limit;
    for (const payload of this.#heldFrees ?? []) this.#output.tellScheduler("sched.free", payload);
    this.#heldFrees = null;
  }

  /** Gives resources back. A scheduler that is not there will be told of allocations only when it says hello. */
  free(payload: object): void {
    if (this.#limit !== null) this.#output.tellScheduler("sched.free", payload);
    else this.#heldFrees?.push(payload);
  }

  /** The scheduler is gone, and with it the requests that it had: their jobs wait again. Returns those jobs. */
  lost(): Job[] {
    this.#limit = null;
    this.#heldFrees = null;
    const jobs = [...this.#open];
    this.#open.clear();
    this.#reprioritized.clear();
    for (const job of jobs) job.allocation = "none";
    return jobs;
  }

  enqueue(job: Job): void {
    const queue = queueOf(job);
    const ticket: Ticket = { job, queue, priority: job.priority };
    job.ticket = ticket;
    job.allocation = "queued";
    this.#waiting.set(queue, (this.#waiting.get(queue) ?? 0) + 1);
    let heap = this.#queues.get(queue);
    if (heap === undefined) this.#queues.set(queue, (heap = new TicketHeap()));
    heap.push(ticket);
  }

  /** Takes a job out of the queue, or asks the scheduler to give its request up. */
  withdraw(job: Job): void {
    if (job.allocation === "queued") {
      this.#takeTicket(job);
      job.allocation = "none";
    } else if (job.allocation === "pending") {
      job.allocation = "canceling";
      this.#output.tellScheduler("sched.cancel", { id: job.id });
    }
  }

  /** A job's priority or queue changed. */
  changed(job: Job): void {
    if (job.allocation === "queued") {
      this.withdraw(job);
      this.enqueue(job);
    } else if (job.allocation === "pending" && job.priority > 0) this.#reprioritized.add(job);
  }

  /** A request is over: answered for good, or canceled. */
  settled(job: Job): void {
    this.#open.delete(job);
    this.#reprioritized.delete(job);
    job.allocation = "none";
  }

  /** A queue stopped: requests of its jobs are given up. They come back to the queue when the scheduler has agreed. */
  stopped(queue: string): void {
    for (const job of this.#open) if (queueOf(job) === queue) this.withdraw(job);
  }

  /** Sends what may be sent now. */
  pump(): void {
    if (this.#limit === null) return;
    this.#tellPriorities();
    for (let best = this.#best(); best !== null; best = this.#best()) {
      if (this.#open.size >= this.#limit) return this.#makeRoom(best.priority);
      this.#queues.get(queueOf(best.job))!.pop();
      this.#request(best.job);
    }
  }

  #takeTicket(job: Job): void {
    // A job's queue may have changed since: the ticket knows where it waited.
    const { queue } = job.ticket as Ticket;
    job.ticket = null;
    this.#waiting.set(queue, this.#waiting.get(queue)! - 1);
  }

  #request(job: Job): void {
    this.#takeTicket(job);
    job.allocation = "pending";
    this.#open.add(job);
    this.#output.requestAllocation({
      id: job.id,
      priority: job.priority,
      userid: job.userid,
      t_submit: job.tSubmit,
      jobspec: withoutEnvironment(job.jobspec!),
    });
    this.#requested(job);
  }

  #best(): Ticket | null {
    let best: Ticket | null = null;
    for (const [queue, heap] of this.#queues) {
      if (!this.#isStarted(queue)) continue;
      const top = heap.peek();
      if (top === null) this.#queues.delete(queue);
      else if (best === null || before(top, best)) best = top;
    }
    return best;
  }

  /** The scheduler has as many requests as it wants: the least of them gives way to a job of higher priority. */
  #makeRoom(priority: number): void {
    let least: Job | null = null;
    for (const job of this.#open) {
      if (job.allocation === "canceling") return;
      if (least === null || job.priority < least.priority || (job.priority === least.priority && job.id > least.id))
        least = job;
    }
    if (least !== null && least.priority < priority) this.withdraw(least);
  }

  #tellPriorities(): void {
    if (this.#reprioritized.size === 0) return;
    const jobs = [...this.#reprioritized].map((job): [JsonObject[string], number] => [job.id, job.priority]);
    this.#reprioritized.clear();
    this.#output.tellScheduler("sched.prioritize", { jobs });
  }
}
