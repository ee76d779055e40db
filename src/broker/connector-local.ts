/**
 * The local connector: clients of this broker on the unix socket RUNDIR/local-RANK. One byte of handshake (0 = welcome,
 * an errno otherwise), then RFC 3 frames in both directions; roles as RFC 12 has them.
 *
 * Invariants: what one client sends, garbage included, concerns its own connection only. A client that does not read is
 * not read from either, and is dropped when it owes too much. Who sends many messages at once has a bounded number taken
 * per turn, so that others get theirs taken in between. Its services, subscriptions and streams end with it.
 */
import { Errno, FluxError } from "../base/errors.ts";
import type { ByteStream, Clock, Listener, Net, PeerCredentials } from "../base/ports.ts";
import { encodeFrame, FrameReader } from "../protocol/codec.ts";
import { errorResponseTo, expectsResponse, MessageType, Role, type Message } from "../protocol/message.ts";
import type { Credentials, Port } from "./port.ts";
import type { Router } from "./router.ts";

/** A client with this much unread is not read from. */
const PAUSE_BYTES = 4 * 1024 * 1024;
/** A client with this much unread is dropped. */
const DROP_BYTES = 1024 * 1024 * 1024;
/** Messages of one client that are taken before others have their turn. */
const TURN_MESSAGES_MAX = 64;
/** How long clients may take to read the last messages when the broker ends. */
const CLOSE_PATIENCE_MS = 500;
const FRAME_BYTES_MAX = 2 ** 31 - 1;
const SOCKET_MODE = 0o777;

/** What clients may ask for while the broker is not part of an instance yet. */
const OFFLINE_TOPICS: ReadonlySet<string> = new Set([
  "state-machine.wait",
  "state-machine.get",
  "attr.get",
  "log.dmesg",
  "event.subscribe",
  "event.unsubscribe",
]);

/** Who may connect besides the owner (flux-config-access(5)). */
export interface Access {
  readonly allowGuestUser: boolean;
  readonly allowRootOwner: boolean;
}

export interface LocalConnectorOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly router: Router;
  readonly ownerUserid: number;
  access(): Access;
  isOffline(): boolean;
  log(severity: number, text: string): void;
}

/** The credentials of a peer's messages, or the errno that refuses it. */
export function admit(peer: PeerCredentials | null, ownerUserid: number, access: Access): Credentials | number {
  if (peer === null) return Errno.EPERM;
  const { uid: userid } = peer;
  if (userid === ownerUserid || (userid === 0 && access.allowRootOwner))
    return { userid, rolemask: Role.Owner | Role.Local };
  if (access.allowGuestUser) return { userid, rolemask: Role.User | Role.Local };
  return Errno.EPERM;
}

export class LocalConnector {
  readonly #options: LocalConnectorOptions;
  readonly #clients = new Set<Client>();
  #listener: Listener | null = null;
  #emptied: () => void = () => {};
  #connects = 0;

  constructor(options: LocalConnectorOptions) {
    this.#options = options;
  }

  async listen(path: string): Promise<void> {
    const accept = (stream: ByteStream): void => this.#accept(stream);
    this.#listener = await this.#options.net.listen({ kind: "unix", path }, accept, { mode: SOCKET_MODE });
  }

  #accept(stream: ByteStream): void {
    const { ownerUserid, access, log } = this.#options;
    this.#connects++;
    const admitted = admit(stream.credentials, ownerUserid, access());
    if (typeof admitted === "number") {
      log(3, `refused a connection of uid ${stream.credentials?.uid ?? "unknown"}`);
      stream.start({ data: () => {}, close: () => {} });
      stream.write(Uint8Array.of(admitted));
      stream.end();
      return;
    }
    stream.write(Uint8Array.of(0));
    this.#clients.add(new Client(this.#options, stream, admitted, (client) => this.#remove(client)));
  }

  #remove(client: Client): void {
    this.#clients.delete(client);
    if (this.#clients.size === 0) this.#emptied();
  }

  /** Stops listening and ends every connection once what was sent has gone; does not wait long for those who do not read. */
  async close(): Promise<void> {
    await this.#listener?.close();
    for (const client of this.#clients) client.end();
    if (this.#clients.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#emptied = resolve;
      this.#options.clock.after(CLOSE_PATIENCE_MS, resolve, { background: true });
    });
    for (const client of this.#clients) client.destroy();
  }

  /** Drops everything at once. */
  destroy(): void {
    void this.#listener?.close();
    for (const client of this.#clients) client.destroy();
  }

  stats(): object {
    const { allowGuestUser, allowRootOwner } = this.#options.access();
    return {
      server: { clients: [...this.#clients].map((client) => client.stats()), connects: this.#connects },
      allow_guest_user: allowGuestUser,
      allow_root_owner: allowRootOwner,
    };
  }
}

class Client {
  readonly #options: LocalConnectorOptions;
  readonly #stream: ByteStream;
  readonly #port: Port;
  readonly #reader = new FrameReader(FRAME_BYTES_MAX);
  readonly #gone: (client: Client) => void;
  /** Messages that came in one piece and wait for this client's next turn. */
  #waiting: Message[] = [];
  /** Messages taken in this turn. */
  #taken = 0;
  #isBehind = false;
  #isYielding = false;
  #open = true;
  #received = 0;
  #sent = 0;

  constructor(
    options: LocalConnectorOptions,
    stream: ByteStream,
    credentials: Credentials,
    gone: (client: Client) => void,
  ) {
    this.#options = options;
    this.#stream = stream;
    this.#gone = gone;
    this.#port = options.router.attach(credentials);
    this.#port.start(
      (message) => this.#deliver(message),
      () => {},
    );
    stream.start({
      data: (chunk) => this.#receive(chunk),
      drain: () => {
        if (!this.#isBehind) return;
        this.#isBehind = false;
        this.#resume();
      },
      close: () => this.#close(),
    });
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  stats(): object {
    const { credentials } = this.#stream;
    return {
      uuid: this.#port.uuid,
      userid: this.#port.credentials.userid,
      pid: credentials?.pid ?? -1,
      txcount: this.#sent,
      rxcount: this.#received,
      rxbacklog: this.#reader.pendingBytes,
    };
  }

  #receive(chunk: Uint8Array): void {
    if (!this.#open) return;
    this.#taken = 0;
    try {
      this.#reader.feed(chunk, (message) => this.#take(message));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#options.log(3, `dropped a client (pid ${this.#stream.credentials?.pid ?? "unknown"}): ${error.message}`);
      this.#stream.destroy();
    }
  }

  #take(message: Message): void {
    if (this.#isYielding) return void this.#waiting.push(message);
    this.#forward(message);
    if (++this.#taken < TURN_MESSAGES_MAX) return;
    this.#isYielding = true;
    this.#stream.pause();
    this.#options.clock.defer(() => this.#takeWaiting());
  }

  /** The next turn of a client that sent much. */
  #takeWaiting(): void {
    const messages = this.#waiting;
    this.#waiting = [];
    this.#taken = 0;
    this.#isYielding = false;
    for (const message of messages) this.#take(message);
    this.#resume();
  }

  #forward(message: Message): void {
    if (!this.#open || message.type === MessageType.Control) return;
    this.#received++;
    const isRefused =
      message.type === MessageType.Request && this.#options.isOffline() && !OFFLINE_TOPICS.has(message.topic);
    if (!isRefused) return this.#port.send(message);
    const error = new FluxError("EAGAIN", "Upstream Flux broker is offline. Try again later.");
    if (expectsResponse(message)) this.#deliver(errorResponseTo(message, error));
  }

  #deliver(message: Message): void {
    if (!this.#open) return;
    this.#sent++;
    this.#stream.write(encodeFrame(message));
    const unread = this.#stream.buffered;
    if (unread > DROP_BYTES) {
      this.#options.log(3, `dropped a client that left ${unread} bytes unread`);
      this.#stream.destroy();
    } else if (unread > PAUSE_BYTES && !this.#isBehind) {
      this.#isBehind = true;
      this.#stream.pause();
    }
  }

  #resume(): void {
    if (this.#open && !this.#isBehind && !this.#isYielding) this.#stream.resume();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#gone(this);
    this.#port.close();
  }
}
