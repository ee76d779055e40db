/** Asks `job-list` for jobs (RFC 43) and hands them out as records. */
import type { Integer, JsonObject } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { jobInfo } from "../../sdk/jobs.ts";
import { JobRecord, type RecordContext } from "./record.ts";
import { userName } from "./users.ts";

export interface ListRequest {
  readonly attrs: readonly string[];
  readonly constraint?: JsonObject;
  /** 0 is no limit. */
  readonly maxEntries: number;
  /** Seconds since the epoch. */
  readonly since?: number;
}

/** The time of now, and the names of this machine's users. */
export function recordContext(): RecordContext {
  return { now: Date.now() / 1000, userName };
}

/** All jobs that a request selects, in the order of the service. */
export function listRecords(handle: Handle, request: ListRequest): Promise<JobRecord[]> {
  const context = recordContext();
  const records: JobRecord[] = [];
  const { attrs, constraint, maxEntries, since } = request;
  const payload = {
    max_entries: maxEntries,
    attrs,
    ...(constraint !== undefined && { constraint }),
    ...(since !== undefined && { since }),
  };
  return new Promise((resolve, reject) => {
    handle.open("job-list.list", payload, {
      item(answer) {
        const { jobs } = (answer?.value ?? {}) as { jobs?: readonly JsonObject[] };
        for (const job of jobs ?? []) records.push(new JobRecord(job, context));
      },
      end: (error) => (error === null ? resolve(records) : reject(error)),
    });
  });
}

/** One job by its id. Rejects with ENOENT or EINVAL where there is none. */
export async function fetchJob(
  handle: Handle,
  id: Integer,
  attrs: readonly string[],
  context: RecordContext = recordContext(),
): Promise<JobRecord> {
  return new JobRecord(await jobInfo(handle, id, { attrs }), context);
}
