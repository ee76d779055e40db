/**
 * Job dependencies (RFC 26): when each is satisfied, and who waits for whom. The schemes are in `dependency-schemes.ts`.
 *
 * Invariants: every dependency of a job that may leave state DEPEND was added by an event and removed by one, and the
 * descriptions in these events say all that a restart must know; a dependency that can never be satisfied raises an
 * exception on its job instead of holding it for ever; no job waits for itself, by whatever way.
 *
 * Does not know: how a job's eventlog is read or written; it says what to post.
 */
import type { Clock } from "../../base/ports.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { formatFluid, tryParseFluid } from "../../formats/fluid.ts";
import { jobName } from "../../formats/jobspec.ts";
import { JobState } from "../../sdk/job-protocol.ts";
import { BeginTimes } from "./begin-times.ts";
import {
  AFTER_SCHEMES,
  alternativesOf,
  ANY,
  BEGIN_TIME,
  describeAlternatives,
  entriesOf,
  invalid,
  nameIn,
  noSuchJob,
  notJobid,
  pluginOf,
  readDescription,
  SINGLETON,
  unsupported,
  type AfterScheme,
  type Alternative,
  type Entry,
} from "./dependency-schemes.ts";
import { Expectations } from "./expectations.ts";
import type { Job } from "./job.ts";
import type { Outcome } from "./outcome.ts";

const DEPRECATED_SCHEME = "dependency scheme 'after' is deprecated, use 'afterstart'";
/** Jobs that one name may stand for in a dependency. */
const NAMESAKES_MAX = 1000;

/** A dependency on other jobs, not yet satisfied: one of the alternatives is enough. */
interface Link {
  readonly job: Job;
  readonly description: string;
  open: Alternative[];
}

/** What this part asks of the job manager. */
export interface DependencyOutput {
  post(job: Job, name: string, context: JsonObject): void;
  raise(job: Job, type: string, severity: number, note: string): void;
  /** Null for a job that is not known (or purged). */
  outcome(id: Integer): Outcome | null;
  /** The last job with a name that is over, of a user; null where none is known. */
  lastNamed(userid: number, name: string): Integer | null;
  /** An active job. */
  job(id: Integer): Job | undefined;
  /** Whether the part that knows a scheme is in place. */
  hasPlugin(name: string): boolean;
}

/** What a check prepared: its event's description, and what to do when the job is taken. */
interface Step {
  readonly description: string;
  take(): void;
}

export class Dependencies {
  readonly #output: DependencyOutput;
  readonly #byAntecedent = new Map<Integer, Set<Link>>();
  readonly #byJob = new Map<Job, Link[]>();
  /** Active jobs with a name of their own, by user and name, in the order of submission. */
  readonly #named = new Map<string, Set<Job>>();
  /** All active jobs by user and the name that is shown for them. */
  readonly #namesakes = new Map<string, Set<Job>>();
  readonly #expectations = new Expectations();
  readonly #beginTimes: BeginTimes;

  constructor(output: DependencyOutput, clock: Clock) {
    this.#output = output;
    this.#beginTimes = new BeginTimes(clock, (job, description) =>
      output.post(job, "dependency-remove", { description }),
    );
  }

  /** The open links, for people who look (`flux jobtap query .dependency-after`). */
  links(): { id: Integer; depid: Integer; type: string; description: string }[] {
    return [...this.#byJob.values()]
      .flat()
      .flatMap(({ job, description, open }) =>
        open.map(({ antecedent, scheme }) => ({ id: job.id, depid: antecedent, type: scheme.prefix, description })),
      );
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
   * Checks the dependencies of a new job. Throws EINVAL where one is malformed, can never be satisfied or would close a
   * cycle. The function that is returned takes them: it posts what is added, and removes at once what is satisfied already.
   */
  check(job: Job): () => void {
    const steps = entriesOf(job.jobspec!).flatMap((entry) => this.#prepare(job, entry));
    // What is said twice counts once.
    const byDescription = new Map(steps.toReversed().map((step) => [step.description, step]));
    this.#checkCycles(job);
    return () => {
      for (const step of [...byDescription.values()].toReversed()) step.take();
      this.#remember(job);
      this.#arrived(job);
    };
  }

  /** Finds the dependencies of a job again that was read back from its eventlog. */
  restore(job: Job): void {
    for (const description of job.state === JobState.Depend ? [...(job.dependencies ?? [])] : []) {
      const found = readDescription(description);
      if (found !== null && "alternatives" in found) this.#restoreLink(job, description, found.alternatives);
      else if (found !== null) this.#expectations.add(found.expected, { job, scheme: found.scheme, description });
      else if (description.startsWith(`${BEGIN_TIME}=`))
        this.#beginTimes.wait(job, Number(description.slice(BEGIN_TIME.length + 1)), description);
    }
    this.#remember(job);
    if (job.dependencies?.has(SINGLETON) === true) this.#releaseSingleton(nameKey(job)!);
  }

  /** Holds a job back until a time, in seconds since the epoch: another attempt waits a while. */
  delay(job: Job, time: number): void {
    const description = `${BEGIN_TIME}=${time}`;
    this.#output.post(job, "dependency-add", { description });
    this.#beginTimes.wait(job, time, description);
  }

  /** An antecedent got its start event. */
  started(job: Job): void {
    this.#review(job.id);
  }

  /** An antecedent is inactive. */
  ended(job: Job): void {
    this.#review(job.id);
    this.forget(job);
    const namesake = namesakeKey(job.userid, job);
    const namesakes = this.#namesakes.get(namesake);
    namesakes?.delete(job);
    if (namesakes?.size === 0) this.#namesakes.delete(namesake);
    const key = nameKey(job);
    if (key === null || this.#named.get(key)?.delete(job) !== true) return;
    this.#releaseSingleton(key);
  }

  /** A job waits for nothing any more. */
  forget(job: Job): void {
    for (const link of this.#byJob.get(job) ?? []) this.#unlink(link);
    this.#byJob.delete(job);
    this.#beginTimes.forget(job);
    for (const description of job.dependencies ?? []) {
      const found = readDescription(description);
      if (found !== null && "expected" in found) this.#expectations.remove(job, found.expected);
    }
  }

  stop(): void {
    this.#beginTimes.stop();
  }

  #prepare(job: Job, entry: Entry): Step[] {
    if (!this.#output.hasPlugin(pluginOf(entry.scheme))) throw unsupported(entry.scheme);
    const after = AFTER_SCHEMES.get(entry.scheme);
    if (after !== undefined) return this.#prepareAfter(job, entry, after);
    if (entry.scheme === ANY) return [this.#prepareAny(job, entry)];
    if (entry.scheme === SINGLETON) return this.#prepareSingleton(job);
    if (entry.scheme === BEGIN_TIME) return [this.#prepareBeginTime(job, entry)];
    throw unsupported(entry.scheme);
  }

  #prepareAfter(job: Job, entry: Entry, scheme: AfterScheme): Step[] {
    const named = nameIn(entry.value);
    if (named !== null) return this.#prepareNamed(job, entry, scheme, named);
    const id = tryParseFluid(entry.value);
    if (id === null) throw notJobid(entry.scheme, entry.value);
    return [this.#prepareOn(job, entry, { antecedent: id, scheme, text: entry.value })];
  }

  /** On each job with a name; or, where there is none and that was said, on those that come. */
  #prepareNamed(job: Job, entry: Entry, scheme: AfterScheme, named: { name: string; isExpected: boolean }): Step[] {
    const ids = this.#namesakesOf(job, entry, named.name);
    if (ids.length > 0)
      return ids.map((antecedent) =>
        this.#prepareOn(job, entry, { antecedent, scheme, text: formatFluid(antecedent, "f58") }),
      );
    if (!named.isExpected) throw noneNamed(entry.scheme, named.name);
    const key = `${job.userid}:${named.name}`;
    if (key === namesakeKey(job.userid, job))
      throw invalid(`dependency cycle: ${describeJob(job)} waits for jobs with its own name`);
    const description = `${scheme.prefix}=@${named.name}`;
    const take = (): void => {
      this.#output.post(job, "dependency-add", { description });
      this.#expectations.add(named.name, { job, scheme, description });
    };
    return [{ description, take }];
  }

  #namesakesOf(job: Job, entry: Entry, name: string): Integer[] {
    const active = this.#namesakes.get(`${job.userid}:${name}`);
    if (active !== undefined && active.size > NAMESAKES_MAX)
      throw invalid(
        `dependency: ${entry.scheme}: ${active.size} active jobs are named '${name}' (limit ${NAMESAKES_MAX})`,
      );
    if (active !== undefined && active.size > 0) return [...active].map(({ id }) => id);
    const last = this.#output.lastNamed(job.userid, name);
    return last === null || this.#output.outcome(last) === null ? [] : [last];
  }

  #prepareOn(job: Job, entry: Entry, alternative: Alternative): Step {
    const { antecedent: id, scheme, text } = alternative;
    const description = `${scheme.prefix}=${text}`;
    const antecedent = this.#antecedent(job, entry.scheme, id, text);
    const verdict = scheme.verdict(antecedent);
    if (verdict === "never") throw invalid(scheme.refusal(entry.scheme, text, antecedent));
    const take = (): void => {
      if (entry.scheme === "after") this.#output.raise(job, "dependency", 3, DEPRECATED_SCHEME);
      this.#output.post(job, "dependency-add", { description });
      if (verdict === "satisfied") this.#output.post(job, "dependency-remove", { description });
      else this.#link({ job, description, open: [alternative] });
    };
    return { description, take };
  }

  #prepareAny(job: Job, entry: Entry): Step {
    const all = alternativesOf(entry.value).flatMap((part) => this.#alternatives(job, part));
    const verdicts = all.map(({ antecedent, scheme }) => scheme.verdict(this.#output.outcome(antecedent)!));
    const description = describeAlternatives(all);
    const isSatisfied = verdicts.includes("satisfied");
    const open = all.filter((_alternative, index) => verdicts[index] === "wait");
    if (!isSatisfied && open.length === 0) throw invalid(`dependency: any: none of "${entry.value}" can be satisfied`);
    const take = (): void => {
      this.#output.post(job, "dependency-add", { description });
      if (isSatisfied) this.#output.post(job, "dependency-remove", { description });
      else this.#link({ job, description, open });
    };
    return { description, take };
  }

  #alternatives(job: Job, entry: Entry): Alternative[] {
    const scheme = AFTER_SCHEMES.get(entry.scheme)!;
    const named = nameIn(entry.value);
    if (named?.isExpected === true)
      throw invalid(`dependency: any: ${entry.value}: a job that is not submitted yet cannot be one of several`);
    const single = named === null ? tryParseFluid(entry.value) : null;
    if (named === null && single === null) throw notJobid(entry.scheme, entry.value);
    const ids = named === null ? [single!] : this.#namesakesOf(job, entry, named.name);
    if (ids.length === 0) throw noneNamed(entry.scheme, named!.name);
    return ids.map((antecedent) => {
      const text = named === null ? entry.value : formatFluid(antecedent, "f58");
      this.#antecedent(job, entry.scheme, antecedent, text);
      return { antecedent, scheme, text };
    });
  }

  /** What is known of a job that another may depend on. Throws EINVAL. */
  #antecedent(job: Job, scheme: string, id: Integer, text: string): Outcome {
    const antecedent = id === job.id ? null : this.#output.outcome(id);
    if (antecedent === null) throw noSuchJob(scheme, text);
    if (antecedent.userid !== job.userid) throw invalid(`dependency: ${scheme}: id ${text}: Permission denied`);
    return antecedent;
  }

  #prepareSingleton(job: Job): Step[] {
    const key = nameKey(job);
    if (key === null) throw invalid("singleton jobs require a job name");
    if ((this.#named.get(key)?.size ?? 0) === 0) return [];
    const take = (): void => this.#output.post(job, "dependency-add", { description: SINGLETON });
    return [{ description: SINGLETON, take }];
  }

  #prepareBeginTime(job: Job, entry: Entry): Step {
    const time = entry.value.trim() === "" ? Number.NaN : Number(entry.value);
    if (!Number.isFinite(time) || time < 0) throw invalid(`Invalid begin-time=${entry.value}`);
    const description = `${BEGIN_TIME}=${time.toFixed(3)}`;
    return {
      description,
      take: () => {
        this.#output.post(job, "dependency-add", { description });
        this.#beginTimes.wait(job, time, description);
      },
    };
  }

  /** A job may have been waited for by name before it came: it must not wait for one that waits for it. */
  #checkCycles(job: Job): void {
    const goals = new Set([...this.#expectations.of(namesakeKey(job.userid, job))].map((waiting) => waiting.job));
    if (goals.size === 0) return;
    const first = entriesOf(job.jobspec!)
      .flatMap((entry) => (entry.scheme === ANY ? alternativesOf(entry.value) : [entry]))
      .filter(({ scheme }) => AFTER_SCHEMES.has(scheme))
      .flatMap((entry) => {
        const named = nameIn(entry.value);
        const id = named === null ? tryParseFluid(entry.value) : null;
        return named === null ? (id === null ? [] : [id]) : this.#namesakesOf(job, entry, named.name);
      });
    const way = this.#wayTo(goals, first);
    if (way === null) return;
    throw invalid(`dependency cycle: ${[job, ...way, job].map(describeJob).join(" waits for ")}`);
  }

  /** Active jobs, each waiting for the next, from one of `first` to one of the goals; null where there is no such way. */
  #wayTo(goals: ReadonlySet<Job>, first: readonly Integer[]): Job[] | null {
    const before = new Map<Job, Job | null>();
    const queue: Job[] = [];
    const visit = (id: Integer, from: Job | null): void => {
      const job = this.#output.job(id);
      if (job === undefined || before.has(job)) return;
      before.set(job, from);
      queue.push(job);
    };
    for (const id of first) visit(id, null);
    for (const job of queue) {
      if (goals.has(job)) {
        const way: Job[] = [];
        for (let at: Job | null = job; at !== null; at = before.get(at) ?? null) way.unshift(at);
        return way;
      }
      for (const link of this.#byJob.get(job) ?? []) for (const { antecedent } of link.open) visit(antecedent, job);
    }
    return null;
  }

  /** A job with a name that others wait for: from now on they wait for the job itself. */
  #arrived(job: Job): void {
    const text = formatFluid(job.id, "f58");
    for (const { job: waiting, scheme, description: old } of this.#expectations.take(namesakeKey(job.userid, job))) {
      const description = `${scheme.prefix}=${text}`;
      if (waiting.dependencies?.has(description) !== true) {
        this.#output.post(waiting, "dependency-add", { description });
        this.#link({ job: waiting, description, open: [{ antecedent: job.id, scheme, text }] });
      }
      this.#output.post(waiting, "dependency-remove", { description: old });
    }
  }

  #restoreLink(job: Job, description: string, open: Alternative[]): void {
    this.#link({ job, description, open });
    for (const { antecedent } of open) this.#review(antecedent);
  }

  #link(link: Link): void {
    for (const { antecedent } of link.open) {
      const links = this.#byAntecedent.get(antecedent);
      if (links === undefined) this.#byAntecedent.set(antecedent, new Set([link]));
      else links.add(link);
    }
    const own = this.#byJob.get(link.job);
    if (own === undefined) this.#byJob.set(link.job, [link]);
    else own.push(link);
  }

  #unlink(link: Link): void {
    for (const { antecedent } of link.open) {
      const links = this.#byAntecedent.get(antecedent);
      links?.delete(link);
      if (links?.size === 0) this.#byAntecedent.delete(antecedent);
    }
  }

  /** Looks at everyone who waits for a job. */
  #review(antecedent: Integer): void {
    const links = this.#byAntecedent.get(antecedent);
    if (links === undefined) return;
    const outcome = this.#output.outcome(antecedent);
    for (const link of Array.from(links)) this.#decide(link, antecedent, outcome);
  }

  #decide(link: Link, antecedent: Integer, outcome: Outcome | null): void {
    const { job, description } = link;
    if (job.state !== JobState.Depend && job.state !== JobState.New) return;
    const verdicts = link.open.map((alternative) =>
      alternative.antecedent !== antecedent ? "wait" : outcome === null ? "never" : alternative.scheme.verdict(outcome),
    );
    const isSatisfied = verdicts.includes("satisfied");
    const open = link.open.filter((_alternative, index) => verdicts[index] === "wait");
    if (!isSatisfied && open.length === link.open.length) return;
    this.#unlink(link);
    const others = this.#byJob.get(job)?.filter((other) => other !== link) ?? [];
    if (others.length === 0) this.#byJob.delete(job);
    else this.#byJob.set(job, others);
    if (isSatisfied) this.#output.post(job, "dependency-remove", { description });
    else if (open.length > 0) this.#link({ job, description, open });
    else {
      const why = outcome?.started === false ? "job never started" : "can never be satisfied";
      this.#output.raise(job, "dependency", 0, `dependency ${description} ${why}`);
    }
  }

  #remember(job: Job): void {
    add(this.#namesakes, namesakeKey(job.userid, job), job);
    const key = nameKey(job);
    if (key !== null) add(this.#named, key, job);
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

function add(jobs: Map<string, Set<Job>>, key: string, job: Job): void {
  const set = jobs.get(key);
  if (set === undefined) jobs.set(key, new Set([job]));
  else set.add(job);
}

/** User and name of a job that has a name of its own. */
function nameKey(job: Job): string | null {
  const name = job.jobspec?.attributes.system?.job?.name;
  return name === undefined ? null : `${job.userid}:${name}`;
}

/** User and name as lists show it. */
function namesakeKey(userid: number, { jobspec }: Job): string {
  return `${userid}:${jobspec === null ? "" : jobName(jobspec)}`;
}

function describeJob(job: Job): string {
  return `${formatFluid(job.id, "f58")} (${jobName(job.jobspec!)})`;
}

function noneNamed(scheme: string, name: string): Error {
  return invalid(
    `dependency: ${scheme}: no job named '${name}' (${scheme}:@@${name} waits for one that is submitted later)`,
  );
}
