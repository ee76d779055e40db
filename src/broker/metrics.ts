/**
 * Measurements for those who watch a site: when its services have started, and with each heartbeat, a broker tells the
 * gauges of its content cache to the collector behind the port `statsd`, as `flux.RANK.content-cache.NAME`. Without that
 * port nothing happens.
 */
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { Core } from "./core.ts";

const LOG_ERR = 3;
const PULSE = "heartbeat.pulse";
const GAUGES = ["count", "valid", "dirty", "size", "flush-batch-count"];

export async function reportMetrics({ handle, options }: Core): Promise<void> {
  const { ports, rank, log } = options;
  const { statsd } = ports;
  if (statsd === undefined) return;
  const report = async (): Promise<void> => {
    try {
      const stats = await handle.rpc<JsonObject>("content.stats-get", {}, { nodeid: rank });
      statsd(GAUGES.map((name) => `flux.${rank}.content-cache.${name}:${String(stats[name])}|g`));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      // The content service may not be there yet, or not any more.
      if (isFluxError(error, "ENOSYS")) return;
      log.append("broker", LOG_ERR, errorText(error));
      subscription.cancel();
    }
  };
  const subscription = await handle.subscribe(PULSE, () => void report(), { ownerOnly: true });
  await report();
}
