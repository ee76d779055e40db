/**
 * The local connector: clients of this broker on the unix socket RUNDIR/local-RANK. One byte of handshake (0 = welcome,
 * an errno otherwise), then RFC 3 frames in both directions; roles as RFC 12 has them.
 *
 * Invariants: what one client sends, garbage included, concerns its own connection only. A client is not read from while it
 * does not read, or while its messages cannot be passed on; it is dropped when too much is held for it. Of a client that
 * sends much, a bounded number of messages and bytes is taken per turn, and others have the next turn. A client's services,
 * subscriptions and streams end with it.
 */
import { Errno, FluxError } from "../base/errors.ts";
import type { ByteStream, Clock, Listener, Net, PeerCredentials } from "../base/ports.ts";
import { FrameReader } from "../protocol/frame-reader.ts";
import {
  errorResponseTo,
  expectsResponse,
  MessageType,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type Message,
  type Transit,
} from "../protocol/message.ts";
import { Outbox } from "./outbox.ts";
import { remember, settle, unanswered, type Outstanding } from "./outstanding.ts";
import { isSmallTalk, type Pace } from "./pace.ts";
import type { Credentials, Port } from "./port.ts";
import type { Tap } from "./tracing.ts";

/** A client with this much unread is not read from. */
const PAUSE_BYTES = 4 * 1024 * 1024;
/** A client for which this much is held in memory is dropped. */
const DROP_BYTES = 256 * 1024 * 1024;
/** A client is not read from while more bytes of its messages than this have not been passed on. */
const TRANSIT_BYTES_MAX = 1024 * 1024;
/** Messages from this length on are bulk work: they are read and written a part at a time, at its pace. */
const BULK_BYTES: number = 128 * 1024;
/** For so long after it has moved much, a client counts as one that does. */
const BULK_MS = 200;
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
  readonly pace: Pace;
  /** Where the messages of clients go. */
  readonly router: { attach(credentials: Credentials): Port };
  readonly ownerUserid: number;
  access(): Access;
  /** A fault that somebody has asked for, for the next client: it is refused, or taken for a guest. */
  takeFault?(): "refused" | "guest" | null;
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

function withFault(admitted: Credentials | number, fault: "refused" | "guest" | null): Credentials | number {
  if (typeof admitted === "number" || fault === null) return admitted;
  // A guest whom nobody knows: nor is any private message its own.
  return fault === "refused" ? Errno.EPERM : { userid: USERID_UNKNOWN, rolemask: Role.User | Role.Local };
}

export class LocalConnector {
  readonly #options: LocalConnectorOptions;
  readonly #clients = new Set<Client>();
  readonly #pace: Pace;
  #listener: Listener | null = null;
  #emptied: () => void = () => {};
  #connects = 0;
  #tap: Tap | null = null;

  constructor(options: LocalConnectorOptions) {
    this.#options = options;
    this.#pace = options.pace;
  }

  async listen(path: string): Promise<void> {
    const accept = (stream: ByteStream): void => this.#accept(stream);
    this.#listener = await this.#options.net.listen({ kind: "unix", path }, accept, { mode: SOCKET_MODE });
  }

  #accept(stream: ByteStream): void {
    const { ownerUserid, access, log } = this.#options;
    this.#connects++;
    const admitted = withFault(admit(stream.credentials, ownerUserid, access()), this.#options.takeFault?.() ?? null);
    if (typeof admitted === "number") {
      log(3, `refused a connection of uid ${stream.credentials?.uid ?? "unknown"}`);
      stream.start({ data: () => {}, close: () => {} });
      stream.write(Uint8Array.of(admitted));
      stream.end();
      return;
    }
    stream.write(Uint8Array.of(0));
    const client = new Client(this.#options, this.#pace, stream, admitted, () => this.#remove(client));
    client.tapInto(this.#tap);
    this.#clients.add(client);
  }

  /** Lets somebody look on at the messages of all clients; null ends that. */
  setTap(tap: Tap | null): void {
    this.#tap = tap;
    for (const client of this.#clients) client.tapInto(tap);
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

class Client implements Transit {
  readonly #options: LocalConnectorOptions;
  readonly #pace: Pace;
  readonly #stream: ByteStream;
  readonly #port: Port;
  readonly #reader = new FrameReader(FRAME_BYTES_MAX);
  readonly #outbox: Outbox;
  readonly #gone: () => void;
  /** Messages that came in one piece and wait for this client's next turn. */
  #waiting: Message[] = [];
  /** Messages taken in this turn. */
  #taken = 0;
  #isBehind = false;
  #isYielding = false;
  /** It sends much, and waits for its turn to be read from. */
  #awaitsTurn = false;
  /** Bytes of its messages that have not been passed on. */
  #transitBytes = 0;
  #bulkMs = -Infinity;
  #isStopped = false;
  #open = true;
  #received = 0;
  /** What it was asked, where it serves, and has not answered. */
  readonly #asked: Outstanding = new Map();
  #sent = 0;

  constructor(
    options: LocalConnectorOptions,
    pace: Pace,
    stream: ByteStream,
    credentials: Credentials,
    gone: () => void,
  ) {
    this.#options = options;
    this.#pace = pace;
    this.#stream = stream;
    this.#outbox = new Outbox(stream, pace);
    this.#gone = gone;
    this.#port = options.router.attach(credentials);
    this.#port.settlesTransit = true;
    this.#port.start(
      (message) => this.#deliver(message),
      () => {},
    );
    stream.start({
      data: (chunk) => this.#receive(chunk),
      drain: () => {
        this.#outbox.drained();
        this.#checkBacklog();
      },
      close: () => this.#close(),
    });
  }

  tapInto(tap: Tap | null): void {
    this.#port.tap = tap;
  }

  end(): void {
    this.#outbox.whenIdle(() => this.#stream.end());
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
    if (!this.#reader.isWithin(BULK_BYTES) || this.#awaitsTurn) return;
    this.#noteBulk();
    this.#awaitsTurn = true;
    this.#pause();
    this.#pace.wait(() => {
      this.#awaitsTurn = false;
      this.#resume();
    });
  }

  #take(message: Message): void {
    if (this.#isYielding) return void this.#waiting.push(message);
    this.#forward(message);
    if (++this.#taken < TURN_MESSAGES_MAX) return;
    this.#isYielding = true;
    this.#pause();
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
    if (message.type === MessageType.Response) settle(this.#asked, message);
    this.#noteTalk(message);
    const isRefused =
      message.type === MessageType.Request && this.#options.isOffline() && !OFFLINE_TOPICS.has(message.topic);
    if (!isRefused) return this.#pass(message);
    const error = new FluxError("EAGAIN", "Upstream Flux broker is offline. Try again later.");
    if (expectsResponse(message)) this.#deliver(errorResponseTo(message, error));
  }

  #noteBulk(): void {
    this.#bulkMs = this.#options.clock.monotonicMs();
    this.#pace.moves(this);
  }

  /** Small requests of those who do not move much just now. */
  #noteTalk(message: Message): void {
    if (isSmallTalk(message) && this.#options.clock.monotonicMs() - this.#bulkMs >= BULK_MS) this.#pace.spoke(this);
  }

  /** Passes a message on; what it takes in memory is counted until it has left. */
  #pass(message: Message): void {
    const byteLength = message.payload?.byteLength ?? 0;
    if (byteLength === 0 || message.type === MessageType.Event) return this.#port.send(message);
    this.#transitBytes += byteLength;
    this.#port.send({ ...message, transit: this });
    if (this.#transitBytes > TRANSIT_BYTES_MAX) this.#pause();
  }

  left(byteLength: number): void {
    this.#transitBytes -= byteLength;
    if (this.#isStopped) this.#resume();
  }

  #deliver(message: Message): void {
    if (!this.#open) return settleTransit(message);
    if (message.type === MessageType.Request) remember(this.#asked, message);
    this.#sent++;
    if ((message.payload?.byteLength ?? 0) >= BULK_BYTES) this.#noteBulk();
    this.#outbox.send(message);
    if (this.#outbox.heldBytes > DROP_BYTES) {
      this.#options.log(3, `dropped a client that left ${this.#outbox.heldBytes} bytes unread`);
      this.#stream.destroy();
    } else if (!this.#isBehind && this.#outbox.owedBytes > PAUSE_BYTES) {
      this.#isBehind = true;
      this.#pause();
    }
  }

  /** Something was read: who has not much unread any more is read from again. */
  #checkBacklog(): void {
    if (!this.#isBehind || this.#outbox.owedBytes > PAUSE_BYTES) return;
    this.#isBehind = false;
    this.#resume();
  }

  #pause(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stream.pause();
  }

  #resume(): void {
    const mayRead = !this.#isBehind && !this.#isYielding && !this.#awaitsTurn;
    if (!this.#open || !mayRead || this.#transitBytes > TRANSIT_BYTES_MAX) return;
    this.#isStopped = false;
    this.#stream.resume();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#outbox.clear();
    for (const request of unanswered(this.#asked))
      this.#port.send(errorResponseTo(request, new FluxError("ENOSYS", "who served this is gone")));
    this.#gone();
    this.#port.close();
  }
}
