/**
 * A local party of the router: a service of this broker, or a client's connection. It speaks for somebody, owns service
 * names, hears events, and leaves a notice to whom it called.
 */
import {
  MessageType,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type EventMessage,
  type Message,
  type RequestMessage,
} from "../protocol/message.ts";
import type { MessageChannel } from "../sdk/channel.ts";
import { COUNTED, noMessages, type MessageCounts } from "../sdk/service.ts";
import { Calls } from "./calls.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { Tap } from "./tracing.ts";

/** Who a port's messages speak for. */
export interface Credentials {
  readonly userid: number;
  readonly rolemask: number;
}

/** What a port needs of the router that it belongs to. */
export interface PortOwner {
  sendFrom(port: Port, message: Message): void;
  detach(port: Port): void;
}

/** A local party: a service, or a client connection. */
export class Port implements MessageChannel {
  readonly uuid: string;
  readonly credentials: Credentials;
  readonly subscriptions: Subscriptions = new Subscriptions();
  readonly services: Set<string> = new Set();
  readonly calls: Calls = new Calls();
  readonly #router: PortOwner;
  readonly tx: MessageCounts = noMessages();
  readonly rx: MessageCounts = noMessages();
  receive: ((message: Message) => unknown) | null = null;
  closed: ((error: Error | null) => void) | null = null;
  /** Whether the receiver says itself when a message has left; otherwise it has left when it is received. */
  settlesTransit = false;
  /** Somebody looks on. */
  tap: Tap | null = null;
  /** What came while nothing was to be handed over; null where it is. */
  #deferred: Message[] | null = null;

  constructor(router: PortOwner, uuid: string, credentials: Credentials) {
    this.#router = router;
    this.uuid = uuid;
    this.credentials = credentials;
  }

  start(receive: (message: Message) => unknown, closed: (error: Error | null) => void): void {
    this.receive = (message) => {
      if (this.#deferred !== null && message.type !== MessageType.Response) return void this.#deferred.push(message);
      this.rx[COUNTED[message.type]]++;
      this.tap?.("rx", message);
      return receive(message);
    };
    this.closed = closed;
  }
  /** Holds requests and events back, or hands over what was held. */
  defer(isDeferred: boolean): void {
    const held = this.#deferred ?? [];
    this.#deferred = isDeferred ? held : null;
    if (!isDeferred) for (const message of held) this.receive?.(message);
  }

  /** Hands over a message that came to this party. */
  take(message: Message): void {
    const taken = this.receive?.(message);
    if (message.transit === undefined || (this.receive !== null && this.settlesTransit)) return;
    if (taken instanceof Promise) void taken.finally(() => settleTransit(message));
    else settleTransit(message);
  }
  send(message: Message): void {
    this.tx[COUNTED[message.type]]++;
    this.tap?.("tx", message);
    this.#router.sendFrom(this, message);
  }
  close(): void {
    this.#router.detach(this);
  }
}

/** Who a message speaks for: an owner's may name another user, a guest's always speaks for the guest. */
export function speakerOf({ credentials }: Port, message: RequestMessage | EventMessage): Credentials {
  if ((credentials.rolemask & Role.Owner) === 0) return credentials;
  if (message.userid === USERID_UNKNOWN && message.rolemask === Role.None) return credentials;
  return {
    userid: message.userid === USERID_UNKNOWN ? credentials.userid : message.userid,
    rolemask: message.rolemask === Role.None ? credentials.rolemask : message.rolemask,
  };
}
