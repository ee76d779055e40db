/**
 * The net port on Node. Unix sockets go by the native addon where there is one: who only connects to a broker, as every
 * command does, never loads Node's sockets. The rest is in `sockets.ts`, loaded when it is needed.
 */
import { fstatSync } from "node:fs";
import { FluxError, errnoSentence } from "../base/errors.ts";
import type { Address, ByteStream, ConnectSecurity, ListenSecurity, Listener, Net } from "../base/ports.ts";
import { addressText, checkUnixPath, hostAddress } from "./address.ts";
import { nativeAddon } from "./native.ts";
import { SocketStream } from "./stream.ts";
import { connectUnix } from "./unix-stream.ts";

class NodeNet implements Net {
  async listen(
    address: Address,
    accept: (stream: ByteStream) => void,
    options: { security?: ListenSecurity; mode?: number } = {},
  ): Promise<Listener> {
    if (address.kind === "unix") checkUnixPath(address.path);
    const { listen } = await import("./sockets.ts");
    return listen(address, accept, options);
  }

  async connect(
    address: Address,
    options: { security?: ConnectSecurity; timeoutMs?: number } = {},
  ): Promise<ByteStream> {
    if (address.kind === "unix") checkUnixPath(address.path);
    const addon = address.kind === "unix" && options.security === undefined ? nativeAddon() : null;
    if (addon !== null && address.kind === "unix") {
      try {
        return connectUnix(addon, address.path);
      } catch (error) {
        if (!(error instanceof FluxError)) throw error;
        const text = `cannot connect to ${addressText(address)}: ${errnoSentence(error.errnum)}`;
        throw new FluxError(error.errnum, text, { cause: error });
      }
    }
    const { connect } = await import("./sockets.ts");
    return connect(address, options);
  }

  openDescriptor(descriptor: number): ByteStream {
    let isSocket: boolean;
    try {
      isSocket = fstatSync(descriptor).isSocket();
    } catch (error) {
      throw new FluxError("EBADF", `file descriptor ${descriptor} is not open`, { cause: error });
    }
    if (!isSocket) throw new FluxError("EBADF", `file descriptor ${descriptor} is not a socket`);
    const { Socket } = process.getBuiltinModule("node:net");
    return new SocketStream(new Socket({ fd: descriptor, readable: true, writable: true }), {
      credentials: null,
      identity: null,
    });
  }

  hostAddress(interfaceHint?: string): string {
    return hostAddress(interfaceHint);
  }
}

export function nodeNet(): Net {
  return new NodeNet();
}
