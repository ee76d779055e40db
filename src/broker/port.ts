/**
 * A local party of the router: a service of this broker, or a client's connection. It speaks for somebody, owns service
 * names, hears events, and leaves a notice to whom it called.
 */
import {
  disconnectTopic,
  hasFlag,
  MATCHTAG_NONE,
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type EventMessage,
  type Message,
  type RequestMessage,
} from "../protocol/message.ts";
import type { MessageChannel } from "../sdk/channel.ts";
import { noMessages, type MessageCounts } from "../sdk/service.ts";
import { Subscriptions } from "./subscriptions.ts";

const COUNTED: Readonly<Record<Message["type"], keyof MessageCounts>> = {
  [MessageType.Request]: "request",
  [MessageType.Response]: "response",
  [MessageType.Event]: "event",
  [MessageType.Control]: "control",
};

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
  /** One disconnect notice per service that was called. */
  readonly called: Map<string, RequestMessage> = new Map();
  /** Topics whose service is in `called`, without a rank: the quick way to know it. */
  readonly calledTopics: Set<string> = new Set();
  readonly #router: PortOwner;
  readonly tx: MessageCounts = noMessages();
  readonly rx: MessageCounts = noMessages();
  receive: ((message: Message) => void) | null = null;
  closed: ((error: Error | null) => void) | null = null;
  /** Whether who receives here says itself when a message has left; otherwise it has when it is received. */
  settlesTransit = false;

  constructor(router: PortOwner, uuid: string, credentials: Credentials) {
    this.#router = router;
    this.uuid = uuid;
    this.credentials = credentials;
  }

  start(receive: (message: Message) => void, closed: (error: Error | null) => void): void {
    this.receive = (message) => {
      this.rx[COUNTED[message.type]]++;
      receive(message);
    };
    this.closed = closed;
  }
  /** Hands over a message that came to this party. */
  take(message: Message): void {
    this.receive?.(message);
    if (message.transit !== undefined && (this.receive === null || !this.settlesTransit)) settleTransit(message);
  }
  send(message: Message): void {
    this.tx[COUNTED[message.type]]++;
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

/** Notes whom a port calls: one disconnect notice for each service. */
export function rememberCall(port: Port, request: RequestMessage): void {
  const isPlain = request.nodeid === NODEID_ANY && !hasFlag(request, MessageFlag.Upstream);
  if (isPlain && port.calledTopics.has(request.topic)) return;
  if (isPlain) port.calledTopics.add(request.topic);
  const topic = disconnectTopic(request.topic);
  const key = `${topic} ${request.nodeid} ${request.flags & MessageFlag.Upstream}`;
  if (port.called.has(key)) return;
  const flags = (request.flags & MessageFlag.Upstream) | MessageFlag.NoResponse;
  port.called.set(key, { ...request, topic, flags, payload: null, matchtag: MATCHTAG_NONE });
}
