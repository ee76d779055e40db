/** Goes into the instances of Flux that run as jobs, a few at the same time. */
import { isFluxError } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import { connect } from "../framework/connect.ts";
import type { JobRecord } from "./record.ts";

/** Connects to the instance that a job is; null where it is none, or does not answer (any more). */
export async function openInstance(job: JobRecord): Promise<Handle | null> {
  if (job.isInactive || job.uri === null) return null;
  try {
    return await connect(job.uri);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    return null;
  }
}

/** Lets so many tasks run at the same time; the others wait for their turn. */
export class TaskLimit {
  readonly #max: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#max) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    this.#running += 1;
    try {
      return await task();
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }
}
