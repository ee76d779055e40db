/** Requests that may be made twice: where the way up broke under one, another is made, which waits for the new way. */
import { isFluxError } from "../base/errors.ts";

/** Asks, and once more where the first request was lost with a link. For what changes nothing, or nothing more the second time. */
export async function withSecondTry<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (isFluxError(error, "EHOSTUNREACH")) return ask();
    throw error;
  }
}
