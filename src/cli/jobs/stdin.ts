/**
 * Standard input on its way to the tasks of a job: one piece at a time to the job shell that leads, so that a slow job
 * holds its input back.
 */
import { base64Encode, utf8DecodeStrict } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";

export interface InputTarget {
  /** Service name of the job's shells. */
  readonly service: string;
  /** Broker rank of the leading shell. */
  readonly rank: number;
  /** "all" or an idset of task ranks. */
  readonly tasks: string;
}

/** Starts to pass standard input on; goes on in the background until its end, or until the job takes no more. */
export function forwardInput(context: CommandContext, handle: Handle, target: InputTarget): void {
  void pump(context, handle, target);
}

async function pump(context: CommandContext, handle: Handle, target: InputTarget): Promise<void> {
  const send = (payload: object): Promise<unknown> =>
    handle.rpc(`${target.service}.stdin`, { stream: "stdin", rank: target.tasks, ...payload }, { nodeid: target.rank });
  try {
    for await (const chunk of context.inputChunks()) {
      const text = utf8DecodeStrict(chunk);
      await send(text === null ? { data: base64Encode(chunk), encoding: "base64" } : { data: text });
    }
    await send({ eof: true });
  } catch (error) {
    // The job ended, reads from a file, or has no standard input: what is typed now is of no use to anyone.
    if (isFluxError(error) || isReadError(error)) return;
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
