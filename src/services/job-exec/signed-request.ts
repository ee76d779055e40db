/**
 * The request J as its user signed it (RFC 15) must still stand behind a job that was held: what runs is what was accepted
 * with it, and where the record is not that user's request any more, nothing. (To read it for each job would cost a
 * twentieth of all jobs per second.)
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { unwrapJobspec } from "../../sdk/job-envelope.ts";
import { lookupText } from "../../sdk/kvs-text.ts";

/** Rejects with ENOENT, EINVAL. */
export async function checkSignedRequest(handle: Handle, id: Integer, userid: number): Promise<void> {
  const key = `${fluidKvsPath(id)}.J`;
  const text = await lookupText(handle, key).catch((error: FluxError) => {
    throw new FluxError(error.errnum, `${key}: ${error.message}`);
  });
  const signed = unwrapJobspec(text);
  if (signed.userid !== userid) throw new FluxError("EINVAL", `J was signed by user ${signed.userid}, not ${userid}`);
}
