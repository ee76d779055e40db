/**
 * The SDK as Node programs use it: `import { openFlux, Kvs } from "flux-ts"`. Everything a program may rely on is exported
 * here, and nothing else is.
 */
import { FluxError } from "../base/errors.ts";
import { Handle } from "../sdk/handle.ts";
import { connectLocal } from "../sdk/local-connector.ts";
import { nodeClock } from "./clock.ts";
import { nodeNet } from "./net.ts";

export { Errno, FluxError, isFluxError } from "../base/errors.ts";
export { Handle } from "../sdk/handle.ts";
export type { EventOptions, PayloadLike, RequestOptions, StreamOptions, Subscription } from "../sdk/handle.ts";
export { Kvs, KvsTransaction } from "../sdk/kvs.ts";
export { formatFluid as formatJobId, parseFluid as parseJobId } from "../formats/fluid.ts";
export { instanceEvents, type EventKind, type InstanceEvent } from "../sdk/events.ts";
export { LogLevel } from "../sdk/module.ts";
export type { ModuleContext, ModuleDefinition, RunningModule } from "../sdk/module.ts";
export type { IncomingRequest } from "../sdk/request.ts";
export { ANY_USER, ANYONE } from "../sdk/service.ts";
export type { Method, Methods } from "../sdk/service.ts";
export * as jobs from "../sdk/jobs.ts";

/**
 * Connects to an instance: the one this program runs in (FLUX_URI), or the one at a `local://PATH` URI. Rejects with
 * FluxError: ENOENT where there is none, EPERM where this user may not.
 */
export async function openFlux(uri: string | undefined = process.env["FLUX_URI"]): Promise<Handle> {
  if (uri === undefined)
    throw new FluxError("ENOENT", "FLUX_URI is not set: run this inside an instance, for example with 'flux start'");
  return new Handle(await connectLocal({ net: nodeNet(), clock: nodeClock() }, uri));
}
