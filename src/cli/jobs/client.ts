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
import type { Payload } from "../../protocol/message.ts";
import { submitJob as sdkSubmitJob, WatchFlag } from "../../sdk/jobs.ts";

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

/** Follows an eventlog of a job: "eventlog", "guest.exec.eventlog", "guest.output" … */
export function watchEventlog(
  handle: Handle,
  id: Integer,
  path: string,
  listener: EventlogListener,
  options: { waitcreate?: boolean } = {},
): OpenStream {
  const listens = {
    line: (line: string) => listener.event(parseEvent(line), line),
    sentinel: () => undefined,
    end: (error: FluxError | null) => listener.end(error),
  };
  return openWatch(handle, { id, path, flags: options.waitcreate === true ? WatchFlag.WaitCreate : 0 }, listens);
}

/**
 * What there is of an eventlog, line by line, in memory for a little of it. Rejects with ENOENT where there is none.
 */
export function readEventlog(handle: Handle, id: Integer, path: string, see: (line: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = openWatch(
      handle,
      { id, path, flags: WatchFlag.InitialSentinel },
      {
        line: see,
        sentinel() {
          stream.cancel();
          resolve();
        },
        end: (error) => (error === null ? resolve() : reject(error)),
      },
    );
  });
}

interface LineListener {
  line(line: string): void;
  /** What was there when the watch began has come. */
  sentinel(): void;
  end(error: FluxError | null): void;
}

function openWatch(handle: Handle, request: JsonObject, listener: LineListener): OpenStream {
  const item = (payload: Payload | null): void => {
    const text = payload?.value["event"];
    if (typeof text !== "string") return listener.sentinel();
    for (const line of text.split("\n")) if (line !== "") listener.line(line);
  };
  const end = (error: FluxError | null): void => listener.end(error);
  const cancelTopic = "job-info.eventlog-watch-cancel";
  return handle.open("job-info.eventlog-watch", request, { item, end }, { cancelTopic });
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
