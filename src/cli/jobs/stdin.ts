/**
 * Standard input on its way to the tasks of a job: one piece at a time to the job shell that leads, so that a slow job
 * holds its input back.
 */
import { isFluxError } from "../../base/errors.ts";
import { encodeStreamData } from "../../formats/stream-data.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";

/** The service that takes input: that of the job's shells, on the rank of the leading one. */
export interface InputService {
  readonly service: string;
  readonly rank: number;
}

export interface InputTarget {
  /** "all" or an idset of task ranks. */
  readonly tasks: string;
  /** Tasks that get no input: theirs ends at once. */
  readonly closed?: string;
}

/** How the passing on of standard input came to its end. */
export type InputEnd =
  | "sent"
  /** The job has had the end of its input already, or reads it from a file. */
  | "closed"
  /** There was input, and nobody to take it. */
  | "unwanted";

/** Passes standard input on until its end, or until the job takes no more. */
export async function forwardInput(
  context: CommandContext,
  handle: Handle,
  { service, rank }: InputService,
  { tasks, closed }: InputTarget,
): Promise<InputEnd> {
  let hasData = false;
  const send = (payload: object): Promise<unknown> =>
    handle.rpc(`${service}.stdin`, { stream: "stdin", rank: tasks, ...payload }, { nodeid: rank });
  try {
    if (closed !== undefined) await send({ rank: closed, eof: true });
    for await (const chunk of context.inputChunks()) {
      hasData ||= chunk.byteLength > 0;
      await send(encodeStreamData(chunk));
    }
    await send({ eof: true });
    return "sent";
  } catch (error) {
    // The end of input that nobody waits for is no loss.
    if (isFluxError(error) && !hasData) return "sent";
    if (isFluxError(error)) return error.is("EPIPE") ? "closed" : "unwanted";
    if (isReadError(error)) return "sent";
    throw error;
  }
}

/** Standard input itself cannot be read: it is closed, or belongs to a terminal that we are in the background of. */
function isReadError(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return (
    code === "EIO" ||
    code === "EBADF" ||
    code === "EAGAIN" ||
    code === "EISDIR" ||
    code === "ERR_STREAM_PREMATURE_CLOSE"
  );
}
