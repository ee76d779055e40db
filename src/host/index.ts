/** All ports on Node, ready for a broker, a shell host or a command. */
import type { Exec, Ports } from "../base/ports.ts";
import { nodeClock } from "./clock.ts";
import { nodeCodec } from "./codec.ts";
import { nodeDisk } from "./disk.ts";
import { nodeFileTree } from "./file-tree.ts";
import { nodeHostInfo } from "./info.ts";
import { nodeExec } from "./exec.ts";
import { nodeNet } from "./net.ts";
import { nodeRandom } from "./random.ts";
import { statsdSender } from "./statsd.ts";
import { nodeTrace } from "./trace.ts";

export { mainProcess, type MainProcess } from "./main-process.ts";
export { nodeClock, nodeCodec, nodeDisk, nodeExec, nodeHostInfo, nodeNet, nodeRandom, nodeTrace };

export interface NodePortsOptions {
  /** Which components to trace; default: the variable FLUX_DEBUG. */
  readonly debug?: string;
  /** How processes are started; default: by the native addon where there is one. */
  readonly exec?: Exec;
}

export function nodePorts(options: NodePortsOptions = {}): Ports {
  const { FLUX_FRIPP_STATSD: collector } = process.env;
  return {
    clock: nodeClock(),
    random: nodeRandom(),
    codec: nodeCodec(),
    net: nodeNet(),
    disk: nodeDisk(),
    files: nodeFileTree(),
    exec: options.exec ?? nodeExec(),
    trace: nodeTrace({ debug: options.debug ?? process.env["FLUX_DEBUG"] }),
    host: nodeHostInfo(),
    ...(collector === undefined ? {} : { statsd: statsdSender(collector) }),
  };
}
