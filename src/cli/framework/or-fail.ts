/** Running what may not be possible: the error of a service or a format ends the command with its message. */
import { errnoSentence, FluxError } from "../../base/errors.ts";
import type { CommandContext } from "./command.ts";

/** Runs an action; a FluxError that it throws ends the command, in the words of `wording` (the error's own by default). */
export async function orFail<T>(
  context: CommandContext,
  action: () => T | Promise<T>,
  wording: (error: FluxError) => string = (error) => error.message,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof FluxError) context.fail(wording(error));
    throw error;
  }
}

/** The same, where the message says first what could not be done. */
export function orFailAt<T>(context: CommandContext, about: string, action: () => T | Promise<T>): Promise<T> {
  return orFail(context, action, ({ message }) => `${about}: ${message}`);
}

/** An error as scripts look for it: the sentence of its errno, then what else there is to say. */
export function sentenceFirst({ errnum, message }: FluxError): string {
  const sentence = errnoSentence(errnum);
  return message.includes(sentence) ? message : `${sentence}: ${message}`;
}
