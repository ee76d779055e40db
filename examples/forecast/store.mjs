/** What the tasks of the example share: the KVS as the leader has it now. */
import { Kvs } from "flux-ts";

/**
 * Brokers follow the leader's KVS with a delay. Who needs what another task has just written asks the leader for its
 * version and waits until the local broker has got that far.
 */
export async function openCurrentKvs(flux) {
  const kvs = new Kvs(flux);
  const { rootseq } = await flux.rpc("kvs.getroot", { namespace: "primary" }, { nodeid: 0 });
  await kvs.waitVersion(rootseq);
  return kvs;
}
