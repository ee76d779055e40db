/**
 * What an instance that runs as a job tells the instance around it: how to reach it, and which of its ranks it cannot do
 * without.
 */
import { errorText, isFluxError } from "../base/errors.ts";
import type { Ports } from "../base/ports.ts";
import { parseFluid } from "../formats/fluid.ts";
import { Handle } from "../sdk/handle.ts";
import { connectLocal } from "../sdk/local-connector.ts";
import type { Attributes } from "./attributes.ts";

/** Does nothing where there is no parent instance. A failure is complained of, and harms nobody else. */
export async function tellParentInstance(
  ports: Ports,
  attributes: Attributes,
  complain: (text: string) => void,
): Promise<void> {
  const uri = attributes.get("parent-uri");
  const jobid = attributes.get("jobid");
  if (uri === null || jobid === null) return;
  let handle: Handle | null = null;
  try {
    const id = parseFluid(jobid);
    handle = new Handle(await connectLocal(ports, uri));
    const path = attributes.require("local-uri").slice("local://".length);
    await handle.rpc("job-manager.memo", { id, memo: { uri: `ssh://${attributes.require("hostname")}${path}` } });
    await tellCriticalRanks(handle, id, attributes.require("broker.critical-ranks"));
  } catch (error) {
    complain(`cannot tell the parent instance of this one: ${errorText(error)}`);
  } finally {
    handle?.close();
  }
}

async function tellCriticalRanks(handle: Handle, id: number | bigint, ranks: string): Promise<void> {
  try {
    await handle.rpc("job-exec.critical-ranks", { id, ranks });
  } catch (error) {
    // An execution service need not know of critical ranks.
    if (!isFluxError(error, "ENOSYS")) throw error;
  }
}
