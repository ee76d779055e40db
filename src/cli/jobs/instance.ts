/**
 * What an instance of Flux that runs as a job tells of itself: counts of its jobs, its resources (`instance.*` fields of
 * `flux jobs`).
 */
import { isFluxError } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Float, type FieldValue } from "../output/field-value.ts";
import { resourcesIn, schedulerView, type SchedulerView } from "../resource/view.ts";

/** Counts of `job-list.job-stats`. */
export interface JobStats {
  readonly job_states: Readonly<Record<string, number>>;
  readonly successful: number;
  readonly failed: number;
  readonly canceled: number;
  readonly timeout: number;
  readonly inactive_purged?: number;
  readonly queues?: readonly (JobStats & { readonly name: string })[];
}

/** The counts as listings tell them: every job that did not succeed has failed. */
export class StatsSummary {
  readonly pending: number;
  readonly running: number;
  readonly successful: number;
  readonly failed: number;
  readonly active: number;
  readonly inactive: number;
  readonly total: number;
  readonly purged: number;

  constructor(stats: JobStats) {
    const states = stats.job_states;
    const sum = (...names: string[]): number => names.reduce((total, name) => total + (states[name] ?? 0), 0);
    this.pending = sum("depend", "priority", "sched");
    this.running = sum("run", "cleanup");
    this.successful = stats.successful;
    this.failed = stats.failed + stats.canceled + stats.timeout;
    this.active = this.pending + this.running;
    this.inactive = sum("inactive");
    this.total = sum("total");
    this.purged = stats.inactive_purged ?? 0;
  }

  /** `PD:1 R:1 CD:2 F:0`. */
  toString(): string {
    return `PD:${this.pending} R:${this.running} CD:${this.successful} F:${this.failed}`;
  }
}

/** Asks an instance. Resolves with what gives its fields; with null where it does not answer any more. */
export async function askInstance(handle: Handle): Promise<((path: string) => FieldValue) | null> {
  try {
    const [stats, view] = await Promise.all([
      handle.rpc<JobStats>("job-list.job-stats"),
      schedulerView(handle).catch((error: unknown) => {
        // An instance without a scheduler has jobs all the same.
        if (isFluxError(error)) return null;
        throw error;
      }),
    ]);
    const summary = new StatsSummary(stats);
    return (path) => instanceValue(path, summary, view);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    return null;
  }
}

/** A field of an instance by its path; empty where there is none, or the view that it needs is not known. */
export function instanceValue(path: string, stats: StatsSummary, view: SchedulerView | null): FieldValue {
  if (path === "stats") return stats.toString();
  if (path === "progress") return stats.total === 0 ? "" : new Float(stats.inactive / stats.total);
  const count = /^stats\.(total|pending|running|successful|failed|active|inactive)$/.exec(path)?.[1];
  if (count !== undefined) return stats[count as keyof StatsSummary] as number;
  if (view === null) return "";
  if (path === "utilization") return share(view.allocated.ncores, view.all.ncores);
  if (path === "gpu_utilization") return share(view.allocated.ngpus, view.all.ngpus);
  const resource = /^resources\.(all|up|down|allocated|free)(?:\.(ncores|ngpus|nnodes|rlist))?$/.exec(path);
  if (resource === null) return "";
  const resources = resourcesIn(view, resource[1]!);
  const what = (resource[2] ?? "rlist") as "ncores" | "ngpus" | "nnodes" | "rlist";
  return what === "rlist" ? resources.dump() : resources[what];
}

function share(used: number, all: number): FieldValue {
  return all === 0 ? "" : new Float(used / all);
}
