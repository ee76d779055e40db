/**
 * What a rank does for itself: it tells rank 0 what its machine has, and has itself drained where that is not what the
 * inventory says.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { LogLevel, type ModuleContext, type RunningModule } from "../../sdk/module.ts";
import { ANY_USER, type Methods } from "../../sdk/service.ts";
import { readResourceSettings } from "./config.ts";
import { hasFakeResources, ownResources, ownTopology } from "./inventory.ts";
import type { DefineMethod } from "./protocol.ts";
import { verifyRank } from "./verify.ts";

const REPORT_RETRY_MS = 50;

/** Ways to an inventory that say what a machine should have, not what it has. */
const CLAIMS: readonly DefineMethod[] = ["configuration", "kvs"];

/** The service on ranks other than 0. */
export async function startReporter(context: ModuleContext, isVerifying: boolean): Promise<RunningModule> {
  readResourceSettings(context.config());
  const resource = ownResources(context).toJSON();
  context.server.add(context.name, followerMethods(context));
  let timer: { cancel(): void } | null = null;
  let isStopped = false;
  const report = (): Promise<void> =>
    context.handle
      .rpc("resource.topo-reduce", { resource }, { nodeid: 0 })
      .then(() => (isVerifying && !isStopped ? verifyOwn(context) : undefined))
      .catch((error: unknown) => {
        if (isStopped) return;
        context.log(LogLevel.debug, `reporting resources: ${errorText(error)}`);
        timer = context.ports.clock.after(REPORT_RETRY_MS, () => void report(), { background: true });
      });
  // A rank that has not what is expected of it is drained before it is said to be there.
  await report();
  return {
    configure: (config) => void readResourceSettings(config),
    stop: () => {
      isStopped = true;
      timer?.cancel();
    },
  };
}

function followerMethods(context: ModuleContext): Methods {
  const onLeader = {
    roles: ANY_USER,
    handler: () => Promise.reject(new FluxError("EPROTO", "this RPC only works on rank 0")),
  };
  const update = new FluxError("ENOSYS", "resource.expiration-update is only available on rank 0");
  return {
    get: (request) => context.handle.rpc("resource.get", request.json, { nodeid: 0 }),
    "topo-get": { roles: ANY_USER, handler: (request) => void request.respond(ownTopology(context)) },
    status: onLeader,
    "sched-status": onLeader,
    "monitor-waitup": onLeader,
    "expiration-update": () => Promise.reject(update),
  };
}

/** Compares this rank with the inventory, where there is one that could be wrong. Throws FluxError. */
export async function verifyOwn(context: ModuleContext): Promise<void> {
  const { verify, isVerifyExplicit } = readResourceSettings(context.config());
  if (verify === null || hasFakeResources(context.config())) return;
  if (context.attribute("jobid") !== null && !isVerifyExplicit) return;
  const { handle, rank } = context;
  const known = await handle
    .rpc<{ R: JsonValue; method: DefineMethod }>("resource.get", { wait: false }, { nodeid: 0 })
    .catch((error: unknown) => {
      if (isFluxError(error, "ENODATA")) return null;
      throw error;
    });
  if (known === null || !(CLAIMS.includes(known.method) || isVerifyExplicit)) return;
  const reason = verifyRank(ResourceSet.parse(known.R), ownResources(context), rank, verify);
  if (reason === null) return;
  context.log(LogLevel.err, `draining: ${reason}`);
  await handle.rpc("resource.drain", { targets: String(rank), reason, mode: "update" }, { nodeid: 0 });
}
