/**
 * Jobs whose record cannot be read back at a restart: somebody wrote into it, or removed a part. They are put aside, whole,
 * as `job-lost+found.job.ID`, for people to look at, and do not trouble the next restart.
 *
 * Does not know: what is wrong with them.
 */
import { isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { fluidKvsPath, formatFluid } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { LookupFlag, OPERATION_PRUNE, PRIMARY_NAMESPACE, type TreeObject } from "../../sdk/kvs-protocol.ts";

const DIRECTORY = "job-lost+found";
/** What reading says of a record that is wrong, rather than of a store that cannot be read now. */
const DAMAGE = ["ENOENT", "EPROTO", "EINVAL", "ENOTDIR", "EISDIR"] as const;

/** Whether an error says that a record is wrong: another attempt would find the same. */
export function isDamage(error: unknown): boolean {
  return isFluxError(error, ...DAMAGE);
}

/** Puts a job aside. Throws FluxError. */
export async function putAside(handle: Handle, id: Integer): Promise<void> {
  const key = fluidKvsPath(id);
  const request = { key, flags: LookupFlag.TreeObject, namespace: PRIMARY_NAMESPACE };
  const { val } = await handle.rpc<{ val: TreeObject }>("kvs.lookup", request);
  const ops = [
    { key: `${DIRECTORY}.job.${formatFluid(id, "f58")}`, flags: 0, dirent: val },
    { key, flags: OPERATION_PRUNE, dirent: null },
  ];
  await handle.rpc("kvs.commit", { namespace: PRIMARY_NAMESPACE, flags: 0, ops });
}
