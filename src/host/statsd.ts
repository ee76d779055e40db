/**
 * Measurements for a collector that speaks the statsd protocol: datagrams to the address in FLUX_FRIPP_STATSD (HOST:PORT).
 * Nobody answers, and what is lost is lost.
 */
import { FluxError } from "../base/errors.ts";

/** What sends a packet of lines; throws EINVAL where the address is none. The socket is made for the first packet. */
export function statsdSender(address: string): (lines: readonly string[]) => void {
  let send: ((text: string) => void) | null = null;
  return (lines) => {
    send ??= openSocket(address);
    send(lines.join("\n"));
  };
}

function openSocket(address: string): (text: string) => void {
  const [, host, port] = /^(.+):(\d+)$/.exec(address) ?? [];
  if (host === undefined || Number(port) > 0xffff)
    throw new FluxError("EINVAL", `FLUX_FRIPP_STATSD: '${address}' is not HOST:PORT`);
  const socket = process.getBuiltinModule("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.unref();
  // A collector that is not there, or a name that nobody knows, is no reason to stop.
  socket.on("error", () => undefined);
  return (text) => socket.send(text, Number(port), host, () => undefined);
}
