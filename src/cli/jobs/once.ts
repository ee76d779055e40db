/**
 * `--once NAME`: a script that is run again after its instance came back (FLUX_RESUMED) submits each of its jobs only where
 * none of that name has succeeded, or is still under way.
 */
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { JobResult, STATES_ACTIVE } from "../../sdk/job-protocol.ts";

/** The job of a name that makes another one superfluous, the latest one; null where there is none. */
export async function findOnce(handle: Handle, name: string, userid: number): Promise<Integer | null> {
  const wanted = { or: [{ states: [STATES_ACTIVE] }, { results: [JobResult.Completed] }] };
  const payload = {
    max_entries: 1,
    attrs: ["state"],
    constraint: { and: [{ userid: [userid] }, { name: [name] }, wanted] },
  };
  const { jobs } = await handle.rpc<{ jobs: { id: Integer }[] }>("job-list.list", payload);
  return jobs[0]?.id ?? null;
}
