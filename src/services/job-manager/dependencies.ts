/**
 * Job dependencies (RFC 26): which schemes there are, when each is satisfied, and who waits for whom.
 *
 * Invariants: every dependency of a job that may leave state DEPEND was added by an event and removed by one; a
 * dependency that can never be satisfied raises an exception on its job instead of holding it for ever.
 *
 * Does not know: how a job's eventlog is read or written; it says what to post.
 */
import { FluxError } from "../../base/errors.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import type { Job } from "./job.ts";
import type { Outcome } from "./outcome.ts";

type Verdict = "wait" | "satisfied" | "never";

interface AfterScheme {
  /** How the event's description begins. */
  readonly prefix: string;
  verdict(antecedent: Outcome): Verdict;
  /** Why an inactive antecedent makes a new job pointless. */
  refusal(scheme: string, value: string, antecedent: Outcome): string;
}

function afterEnd(antecedent: Outcome, isSatisfied: boolean): Verdict {
  if (!antecedent.isInactive) return "wait";
  return isSatisfied && antecedent.started ? "satisfied" : "never";
}

function neverStarted(value: string): string {
  return `dependency: after: ${value} never started`;
}

const AFTER_START: AfterScheme = {
  prefix: "after-start",
  verdict: (antecedent) => (antecedent.started ? "satisfied" : antecedent.isInactive ? "never" : "wait"),
  refusal: (_scheme, value) => neverStarted(value),
};

/** Schemes whose value is the id of an antecedent job. */
const AFTER_SCHEMES: ReadonlyMap<string, AfterScheme> = new Map<string, AfterScheme>([
  ["after", AFTER_START],
  ["afterstart", AFTER_START],
  [
    "afterany",
    {
      prefix: "after-finish",
      verdict: (antecedent) => (antecedent.isInactive ? "satisfied" : "wait"),
      refusal: (_scheme, value) => neverStarted(value),
    },
  ],
  [
    "afterok",
    {
      prefix: "after-success",
      verdict: (antecedent) => afterEnd(antecedent, antecedent.success),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value} failed or was canceled` : neverStarted(value),
    },
  ],
  [
    "afternotok",
    {
      prefix: "after-failure",
      verdict: (antecedent) => afterEnd(antecedent, !antecedent.success),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value} succeeded` : neverStarted(value),
    },
  ],
  [
    "afterexcept",
    {
      prefix: "after-except",
      verdict: (antecedent) => afterEnd(antecedent, antecedent.excepted),
      refusal: (scheme, value, { started }) =>
        started ? `dependency: ${scheme}: job ${value}: no exception` : neverStarted(value),
    },
  ],
]);

const SINGLETON = "singleton";
const BEGIN_TIME = "begin-time";
const DEPRECATED_SCHEME = "dependency scheme 'after' is deprecated, use 'afterstart'";

/** A dependency on another job, not yet satisfied. */
export interface Link {
  readonly job: Job;
  readonly antecedent: Integer;
  readonly scheme: AfterScheme;
  readonly description: string;
}

/** What this part asks of the job manager. */
export interface DependencyOutput {
  post(job: Job, name: string, context: JsonObject): void;
  raise(job: Job, type: string, severity: number, note: string): void;
  /** Null for a job that is not known (or purged). */
  outcome(id: Integer): Outcome | null;
}

interface Entry {
  readonly scheme: string;
  readonly value: string;
}

function entriesOf(jobspec: Jobspec): Entry[] {
  const { dependencies } = jobspec.attributes.system ?? {};
  if (dependencies === undefined) return [];
  return dependencies.map((dependency) => {
    const { scheme, value } = dependency as Record<string, unknown>;
    if (!isJsonObject(dependency) || typeof scheme !== "string") throw invalid("dependency object missing scheme");
    if (typeof value !== "string") throw invalid(`dependency: ${scheme}: value must be a string`);
    return { scheme, value };
  });
}

function invalid(text: string): FluxError {
  return new FluxError("EINVAL", text);
}

/** The ids of the jobs that a jobspec depends on, as far as they can be read. */
export function antecedentsOf(jobspec: Jobspec): Integer[] {
  const { dependencies } = jobspec.attributes.system ?? {};
  if (!Array.isArray(dependencies)) return [];
  return (dependencies as JsonObject[]).flatMap(({ scheme, value }) => {
    if (typeof scheme !== "string" || typeof value !== "string" || !AFTER_SCHEMES.has(scheme)) return [];
    const id = tryParseFluid(value);
    return id === null ? [] : [id];
  });
}

export class Dependencies {
  readonly #output: DependencyOutput;
  readonly #clock: Clock;
  readonly #byAntecedent = new Map<Integer, Set<Link>>();
  readonly #byJob = new Map<Job, Link[]>();
  readonly #timers = new Map<Job, TimerHandle[]>();
  /** Active jobs with a name of their own, by user and name, in the order of submission. */
  readonly #named = new Map<string, Set<Job>>();

  constructor(output: DependencyOutput, clock: Clock) {
    this.#output = output;
    this.#clock = clock;
  }

  /** The open links, for people who look (`flux jobtap query .dependency-after`). */
  links(): Link[] {
    return [...this.#byJob.values()].flat();
  }

  /** Names that jobs wait for: how many active jobs have one, and which of them wait. */
  singletons(): Record<string, { count: number; singletons: Integer[] }> {
    const entries = [...this.#named].map(([key, jobs]) => {
      const waiting = [...jobs].filter(({ dependencies }) => dependencies?.has(SINGLETON) === true);
      return [key, { count: jobs.size, singletons: waiting.map(({ id }) => id) }] as const;
    });
    return Object.fromEntries(entries.filter(([, { singletons }]) => singletons.length > 0));
  }

  /**
   * Checks the dependencies of a new job. Throws EINVAL where one is malformed or can never be satisfied. The function
   * that is returned takes them: it posts what is added, and removes at once what is satisfied already.
   */
  check(job: Job): () => void {
    const entries = entriesOf(job.jobspec!);
    if (entries.length === 0) return () => this.#remember(job);
    const steps = entries.map((entry) => this.#prepare(job, entry));
    const descriptions = steps.flatMap((step) => (step === null ? [] : [step.description]));
    if (new Set(descriptions).size !== descriptions.length) throw invalid("rejected by job-manager dependency plugin");
    return () => {
      for (const step of steps) step?.take();
      this.#remember(job);
    };
  }

  /** Finds the dependencies of a job again that was read back from its eventlog in state DEPEND. */
  restore(job: Job): void {
    for (const entry of job.state === JobState.Depend ? entriesOf(job.jobspec!) : []) {
      const after = AFTER_SCHEMES.get(entry.scheme);
      const description = this.#describe(entry);
      if (job.dependencies?.has(description) !== true) continue;
      if (after !== undefined) this.#restoreLink(job, entry, after, description);
      else if (entry.scheme === BEGIN_TIME) this.#startTimer(job, Number(entry.value), description);
    }
    this.#remember(job);
    if (job.dependencies?.has(SINGLETON) === true) this.#releaseSingleton(nameKey(job)!);
  }

  /** An antecedent got its start event. */
  started(job: Job): void {
    this.#review(job.id);
  }

  /** An antecedent is inactive. */
  ended(job: Job): void {
    this.#review(job.id);
    this.forget(job);
    const key = nameKey(job);
    if (key === null || this.#named.get(key)?.delete(job) !== true) return;
    this.#releaseSingleton(key);
  }

  /** A job waits for nothing any more. */
  forget(job: Job): void {
    for (const link of this.#byJob.get(job) ?? []) this.#unlink(link);
    this.#byJob.delete(job);
    for (const timer of this.#timers.get(job) ?? []) timer.cancel();
    this.#timers.delete(job);
  }

  stop(): void {
    for (const timers of this.#timers.values()) for (const timer of timers) timer.cancel();
    this.#timers.clear();
  }

  #prepare(job: Job, entry: Entry): { description: string; take(): void } | null {
    const after = AFTER_SCHEMES.get(entry.scheme);
    if (after !== undefined) return this.#prepareAfter(job, entry, after);
    if (entry.scheme === SINGLETON) return this.#prepareSingleton(job);
    if (entry.scheme === BEGIN_TIME) return this.#prepareBeginTime(job, entry);
    throw invalid(`dependency scheme "${entry.scheme}" not supported`);
  }

  #prepareAfter(job: Job, entry: Entry, scheme: AfterScheme): { description: string; take(): void } {
    const id = tryParseFluid(entry.value);
    const description = this.#describe(entry);
    if (id === null) throw invalid(`dependency: ${entry.scheme}: "${entry.value}" is not a valid jobid`);
    const antecedent = id === job.id ? null : this.#output.outcome(id);
    if (antecedent === null) throw invalid(`dependency: ${entry.scheme}: id ${entry.value}: job not found`);
    if (antecedent.userid !== job.userid)
      throw invalid(`dependency: ${entry.scheme}: id ${entry.value}: Permission denied`);
    const verdict = scheme.verdict(antecedent);
    if (verdict === "never") throw invalid(scheme.refusal(entry.scheme, entry.value, antecedent));
    const take = (): void => {
      if (entry.scheme === "after") this.#output.raise(job, "dependency", 3, DEPRECATED_SCHEME);
      this.#output.post(job, "dependency-add", { description });
      if (verdict === "satisfied") this.#output.post(job, "dependency-remove", { description });
      else this.#link({ job, antecedent: id, scheme, description });
    };
    return { description, take };
  }

  #prepareSingleton(job: Job): { description: string; take(): void } | null {
    const key = nameKey(job);
    if (key === null) throw invalid("singleton jobs require a job name");
    if ((this.#named.get(key)?.size ?? 0) === 0) return null;
    return {
      description: SINGLETON,
      take: () => this.#output.post(job, "dependency-add", { description: SINGLETON }),
    };
  }

  #prepareBeginTime(job: Job, entry: Entry): { description: string; take(): void } {
    const time = entry.value.trim() === "" ? Number.NaN : Number(entry.value);
    if (!Number.isFinite(time) || time < 0) throw invalid(`Invalid begin-time=${entry.value}`);
    const description = this.#describe(entry);
    return {
      description,
      take: () => {
        this.#output.post(job, "dependency-add", { description });
        if (time > this.#clock.now()) this.#startTimer(job, time, description);
        else this.#output.post(job, "dependency-remove", { description });
      },
    };
  }

  #describe(entry: Entry): string {
    if (entry.scheme === SINGLETON) return SINGLETON;
    return `${AFTER_SCHEMES.get(entry.scheme)?.prefix ?? entry.scheme}=${entry.value}`;
  }

  #restoreLink(job: Job, entry: Entry, scheme: AfterScheme, description: string): void {
    const antecedent = tryParseFluid(entry.value)!;
    this.#link({ job, antecedent, scheme, description });
    this.#review(antecedent);
  }

  #startTimer(job: Job, time: number, description: string): void {
    const delayMs = Math.max(0, (time - this.#clock.now()) * 1000);
    // A timer's range is limited: what lies further ahead is looked at again then.
    const timer = this.#clock.after(Math.min(delayMs, 2 ** 30), () => this.#timeCame(job, time, description), {
      background: true,
    });
    const timers = this.#timers.get(job);
    if (timers === undefined) this.#timers.set(job, [timer]);
    else timers.push(timer);
  }

  #timeCame(job: Job, time: number, description: string): void {
    if (job.dependencies?.has(description) !== true || job.state !== JobState.Depend) return;
    if (this.#clock.now() < time) this.#startTimer(job, time, description);
    else this.#output.post(job, "dependency-remove", { description });
  }

  #link(link: Link): void {
    let links = this.#byAntecedent.get(link.antecedent);
    if (links === undefined) this.#byAntecedent.set(link.antecedent, (links = new Set()));
    links.add(link);
    const own = this.#byJob.get(link.job);
    if (own === undefined) this.#byJob.set(link.job, [link]);
    else own.push(link);
  }

  #unlink(link: Link): void {
    const links = this.#byAntecedent.get(link.antecedent);
    links?.delete(link);
    if (links?.size === 0) this.#byAntecedent.delete(link.antecedent);
  }

  /** Looks at everyone who waits for a job. */
  #review(antecedent: Integer): void {
    const links = this.#byAntecedent.get(antecedent);
    if (links === undefined) return;
    const outcome = this.#output.outcome(antecedent);
    for (const link of links) this.#decide(link, outcome === null ? "never" : link.scheme.verdict(outcome));
  }

  #decide(link: Link, verdict: Verdict): void {
    const { job, description } = link;
    if (verdict === "wait" || (job.state !== JobState.Depend && job.state !== JobState.New)) return;
    this.#unlink(link);
    const own = this.#byJob.get(job)?.filter((other) => other !== link) ?? [];
    if (own.length === 0) this.#byJob.delete(job);
    else this.#byJob.set(job, own);
    if (verdict === "satisfied") this.#output.post(job, "dependency-remove", { description });
    else this.#output.raise(job, "dependency", 0, `dependency ${description} can never be satisfied`);
  }

  #remember(job: Job): void {
    const key = nameKey(job);
    if (key === null) return;
    const jobs = this.#named.get(key);
    if (jobs === undefined) this.#named.set(key, new Set([job]));
    else jobs.add(job);
  }

  /** The earliest job of a name may go on, if it waits for that. */
  #releaseSingleton(key: string): void {
    const jobs = this.#named.get(key);
    if (jobs === undefined) return;
    if (jobs.size === 0) {
      this.#named.delete(key);
      return;
    }
    const [earliest] = jobs;
    if (earliest!.state === JobState.Depend && earliest!.dependencies?.has(SINGLETON) === true)
      this.#output.post(earliest!, "dependency-remove", { description: SINGLETON });
  }
}

/** User and name of a job that has a name of its own. */
function nameKey(job: Job): string | null {
  const name = job.jobspec?.attributes.system?.job?.name;
  return name === undefined ? null : `${job.userid}:${name}`;
}
