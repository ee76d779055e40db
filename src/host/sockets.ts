/**
 * Streams over the sockets of Node: unix and TCP, plain or secured by a key that both sides hold (TLS 1.2 with PSK, RFC 4279
 * and RFC 7905, ephemeral Diffie-Hellman).
 *
 * Knows how a connection is made, refused and closed; not what travels on it. Node's TLS is loaded where security is
 * asked for only.
 */
import { chmodSync, lstatSync, rmSync, statSync } from "node:fs";
import * as net from "node:net";
import { dirname } from "node:path";
import type { TLSSocket } from "node:tls";
import { FluxError, errnoSentence, errorText } from "../base/errors.ts";
import type { Address, ByteStream, ConnectSecurity, ListenSecurity, Listener, PeerCredentials } from "../base/ports.ts";
import { addressText } from "./address.ts";
import { errnoOf, hasCode, systemError } from "./errors.ts";
import { nativeAddon } from "./native.ts";
import { SocketStream, isTlsError, tlsReason } from "./stream.ts";
import { UnixStream } from "./unix-stream.ts";

/** Forward secrecy and a shared key; the second suite serves builds of OpenSSL without ChaCha20. */
const TLS_SUITES = "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256";
const TLS_VERSION = "TLSv1.2";
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 30_000;
/** An idle TCP peer is asked after this time whether it is still there. */
const KEEP_ALIVE_DELAY_MS = 10_000;
const BACKLOG = 1024;

const TCP_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS } as const;

/** The descriptor of a socket. Node has no public name for it; every version of it has this one. */
function descriptorOf(socket: net.Socket): number {
  // oxlint-disable-next-line no-underscore-dangle -- there is no public name
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  return handle?.fd ?? -1;
}

/**
 * Credentials of a unix peer. The addon asks the kernel. Without it, where only this user can reach the socket (its
 * directory or its own mode says so), the peer is this user, with an unknown process (pid 0); else it stays unknown.
 */
function credentialsOf(socket: net.Socket, path: string): PeerCredentials | null {
  const addon = nativeAddon();
  if (addon !== null) {
    const fd = descriptorOf(socket);
    return fd < 0 ? null : addon.peerCredentials(fd);
  }
  const uid = process.getuid?.() ?? -1;
  return isPrivate(dirname(path), uid) || isPrivate(path, uid) ? { uid, pid: 0 } : null;
}

function isPrivate(path: string, uid: number): boolean {
  try {
    const { uid: owner, mode } = statSync(path);
    return owner === uid && (mode & 0o077) === 0;
  } catch {
    // The socket's file is gone, or its directory is closed to us: nothing is proved.
    return false;
  }
}

class NodeListener implements Listener {
  readonly address: Address;
  readonly #server: net.Server;

  constructor(server: net.Server, address: Address) {
    this.#server = server;
    this.address = address;
  }

  close(): Promise<void> {
    // The server's own `close` event waits for accepted streams too; the socket itself closes at once.
    if (this.#server.listening) this.#server.close();
    return new Promise((resolve) => setImmediate(resolve));
  }
}

/** Accepts connections. Throws FluxError where the address cannot be had. */
export async function listen(
  address: Address,
  accept: (stream: ByteStream) => void,
  options: { security?: ListenSecurity; mode?: number },
): Promise<Listener> {
  const unixPath = address.kind === "unix" ? address.path : null;
  const server =
    options.security === undefined
      ? plainServer(unixPath, accept)
      : await securedServer(options.security, unixPath, accept);
  await bind(server, address, options.mode);
  if (address.kind === "unix") return new NodeListener(server, address);
  const { port } = server.address() as net.AddressInfo;
  return new NodeListener(server, { kind: "tcp", host: address.host, port });
}

/** Connects, and proves who we are where that is asked for. Throws FluxError. */
export async function connect(
  address: Address,
  options: { security?: ConnectSecurity; timeoutMs?: number },
): Promise<ByteStream> {
  const raw = net.connect(
    address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port, ...TCP_OPTIONS },
  );
  const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS;
  let timeoutError: FluxError | null = null;
  const timer = setTimeout(() => {
    const text = `cannot connect to ${addressText(address)}: no answer within ${timeoutMs / 1000} s`;
    timeoutError = new FluxError("ETIMEDOUT", text);
    raw.destroy();
  }, timeoutMs);
  try {
    await connected(raw, "connect", address);
    const credentials = address.kind === "unix" ? () => credentialsOf(raw, address.path) : null;
    if (options.security === undefined) return new SocketStream(raw, { credentials, identity: null });
    const socket = await secure(raw, options.security);
    await connected(socket, "secureConnect", address);
    return new SocketStream(socket, { credentials, identity: null });
  } catch (error) {
    raw.destroy();
    throw timeoutError ?? error;
  } finally {
    clearTimeout(timer);
  }
}

function connected(socket: net.Socket, event: "connect" | "secureConnect", address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error: Error | null): void => {
      socket.off(event, onReady);
      socket.off("error", settle);
      socket.off("close", onClose);
      // From here on an error shows in the stream that is made of the socket, or has been told already.
      socket.on("error", () => socket.destroy());
      if (error === null) resolve();
      else reject(connectError(error, event === "secureConnect", address));
    };
    const onReady = (): void => settle(null);
    const onClose = (): void => settle(new FluxError("ECONNRESET"));
    socket.once(event, onReady);
    socket.once("error", settle);
    socket.once("close", onClose);
  });
}

function connectError(error: Error, securing: boolean, address: Address): FluxError {
  if (error instanceof FluxError && error.hasText) return error;
  const where = addressText(address);
  if (securing && isTlsError(error)) {
    const text = `the peer at ${where} refused us or has another key (${tlsReason(error)}); both sides need the same key`;
    return new FluxError("EPERM", text, { cause: error });
  }
  const errnum = errnoOf(error, "ECONNREFUSED");
  // Names that do not resolve carry a code of the resolver instead of an errno.
  if (hasCode(error, "ENOTFOUND", "EAI_AGAIN")) {
    return new FluxError("EHOSTUNREACH", `cannot connect to ${where}: the host's name is not known`, { cause: error });
  }
  return new FluxError(errnum, `cannot connect to ${where}: ${errnoSentence(errnum)}`, { cause: error });
}

async function secure(raw: net.Socket, security: ConnectSecurity): Promise<TLSSocket> {
  const tls = await import("node:tls");
  return tls.connect({
    socket: raw,
    ciphers: TLS_SUITES,
    minVersion: TLS_VERSION,
    maxVersion: TLS_VERSION,
    pskCallback: () => ({ psk: security.key, identity: security.identity }),
    // The proof of the peer is the key; there are no certificates to look at, and the system's need not be read.
    ca: [],
    checkServerIdentity: () => undefined,
  });
}

function plainServer(unixPath: string | null, accept: (stream: ByteStream) => void): net.Server {
  return net.createServer({ ...TCP_OPTIONS, pauseOnConnect: true }, (socket) => {
    const own = unixPath === null ? null : adopted(socket);
    if (own !== null) return accept(own);
    const credentials = unixPath === null ? null : () => credentialsOf(socket, unixPath);
    accept(new SocketStream(socket, { credentials, identity: null }));
  });
}

/** An accepted connection without the socket of Node around it; null where there is no addon, or no descriptor left. */
function adopted(socket: net.Socket): ByteStream | null {
  const addon = nativeAddon();
  const fd = addon === null ? -1 : addon.duplicate(descriptorOf(socket));
  if (addon === null || fd < 0) return null;
  socket.destroy();
  return new UnixStream(addon, fd);
}

async function securedServer(
  security: ListenSecurity,
  unixPath: string | null,
  accept: (stream: ByteStream) => void,
): Promise<net.Server> {
  const tls = await import("node:tls");
  const { constants } = await import("node:crypto");
  const identities = new WeakMap<net.Socket, string>();
  const server = tls.createServer({
    ...TCP_OPTIONS,
    ciphers: TLS_SUITES,
    minVersion: TLS_VERSION,
    maxVersion: TLS_VERSION,
    ca: [],
    // A resumed session would not ask for the key again.
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    pskCallback: (socket, identity) => {
      identities.set(socket, identity);
      return security.keyFor(identity);
    },
  });
  server.on("secureConnection", (socket) => {
    const credentials = unixPath === null ? null : () => credentialsOf(socket, unixPath);
    socket.pause();
    accept(new SocketStream(socket, { credentials, identity: identities.get(socket) ?? null }));
  });
  server.on("tlsClientError", (error, socket) => {
    security.refused(identities.get(socket) ?? null, refusalReason(error));
    socket.on("error", () => socket.destroy());
    socket.destroy();
  });
  return server;
}

function refusalReason(error: Error): string {
  const reason = isTlsError(error) ? tlsReason(error) : "";
  if (/psk identity not found/.test(reason)) return "no key is known for this peer";
  if (/bad record mac|decrypt/.test(reason)) return "the peer has another key";
  if (reason !== "") return `the peer does not follow the protocol: ${reason}`;
  return `the peer went away before it proved its identity: ${errorText(error)}`;
}

async function bind(server: net.Server, address: Address, mode?: number): Promise<void> {
  try {
    await listenOnce(server, address, mode);
  } catch (error) {
    if (address.kind !== "unix" || !hasCode(error, "EADDRINUSE")) {
      throw systemError(`cannot listen on ${addressText(address)}`, error);
    }
    await removeStaleSocket(address.path);
    try {
      await listenOnce(server, address, mode);
    } catch (again) {
      throw systemError(`cannot listen on ${addressText(address)}`, again);
    }
  }
}

function listenOnce(server: net.Server, address: Address, mode?: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(error);
    server.once("error", onError);
    const ready = (): void => {
      server.off("error", onError);
      if (address.kind === "unix" && mode !== undefined) chmodSync(address.path, mode);
      resolve();
    };
    if (address.kind === "tcp") {
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, ready);
      return;
    }
    // The socket's file is made inside the call: with this mask it is never open to others, not even for a moment.
    const previous = mode === undefined ? null : process.umask(0o777 & ~mode);
    try {
      server.listen({ path: address.path, backlog: BACKLOG }, ready);
    } finally {
      if (previous !== null) process.umask(previous);
    }
  });
}

/** Removes the file of a socket that nobody listens on. Throws EADDRINUSE where somebody does, or it is no socket. */
async function removeStaleSocket(path: string): Promise<void> {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined) return;
  if (!info.isSocket()) throw new FluxError("EADDRINUSE", `${path} exists and is not a socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = net.connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => resolve(!hasCode(error, "ECONNREFUSED", "ENOENT")));
  });
  if (alive) throw new FluxError("EADDRINUSE", `another process listens on ${path}`);
  rmSync(path, { force: true });
}
