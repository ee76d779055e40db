/**
 * What commands ask of the job services, by message, in the form that suits callbacks (RFC 41 for eventlogs).
 *
 * Knows topics and payloads; prints nothing.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer, JsonObject } from "../../base/json.ts";
import { f58FormOf, formatFluid, tryParseFluid } from "../../formats/fluid.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Handle, OpenStream } from "../../sdk/handle.ts";
import { parseEvent, type JobEvent } from "../../sdk/job-protocol.ts";
import { submitJob as sdkSubmitJob } from "../../sdk/jobs.ts";

export interface Submission {
  readonly jobspec: Jobspec;
  readonly urgency: number;
  /** A mask of `JobFlag`. */
  readonly flags: number;
  /** Submit only where no job of this name has succeeded or is under way. */
  readonly once?: string;
}

/** Submits a job; resolves with its id, or with that of the one that makes it superfluous. */
export async function submitJob(handle: Handle, submission: Submission, userid: number): Promise<Integer> {
  const { jobspec, urgency, flags, once } = submission;
  if (once !== undefined) {
    const { findOnce } = await import("./once.ts");
    const found = await findOnce(handle, once, userid);
    if (found !== null) return found;
  }
  return sdkSubmitJob(handle, jobspec, { userid, urgency, flags });
}

export interface EventlogListener {
  event(entry: JobEvent, line: string): void;
  /** The log is complete (null), or cannot be followed. */
  end(error: FluxError | null): void;
}

const WATCH_WAITCREATE = 1;

/** Follows an eventlog of a job: "eventlog", "guest.exec.eventlog", "guest.output" … */
export function watchEventlog(
  handle: Handle,
  id: Integer,
  path: string,
  listener: EventlogListener,
  options: { waitcreate?: boolean } = {},
): OpenStream {
  return handle.open(
    "job-info.eventlog-watch",
    { id, path, flags: options.waitcreate === true ? WATCH_WAITCREATE : 0 },
    {
      item(payload) {
        const text = payload?.value["event"];
        if (typeof text !== "string") return;
        for (const line of text.split("\n")) if (line !== "") listener.event(parseEvent(line), line);
      },
      end: (error) => listener.end(error),
    },
    { cancelTopic: "job-info.eventlog-watch-cancel" },
  );
}

/** One value of a job: "jobspec", "R", "eventlog", "J" … */
export async function lookupJob(handle: Handle, id: Integer, key: string, flags = 0): Promise<JsonObject> {
  return handle.rpc("job-info.lookup", { id, keys: [key], flags });
}

/** A job id in any of its forms. Throws FluxError EINVAL. */
export function parseJobId(text: string): Integer {
  const id = tryParseFluid(text.trim());
  if (id === null) throw new FluxError("EINVAL", `${text}: not a valid jobid`);
  return id;
}

/** `ƒ2oLkTLb`. */
export function jobIdText(id: Integer): string {
  return formatFluid(id, f58FormOf(process.env));
}
