/**
 * The switchboard of one broker: requests find their service here or a hop further in the tree, responses go back along
 * their route stack, events fan out to who subscribed (RFC 3, RFC 6).
 *
 * Invariants:
 * 1. Delivery is in order per sender and never nested: a message sent while another is handled is delivered after it.
 * 2. A request that expects a response and went over a link that broke is answered with EHOSTUNREACH, once.
 * 3. A port that goes away has its services removed and every service it called told (`SERVICE.disconnect`).
 * 4. LOCAL never crosses a link: it says "on this broker".
 *
 * It knows neither sockets nor encodings, and no service by name but `event` and `service`, whose four methods are about
 * a port itself.
 */
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import {
  errorResponseTo,
  expectsResponse,
  hasFlag,
  MessageFlag,
  MessageType,
  NODEID_ANY,
  responseTo,
  Role,
  settleTransit,
  USERID_UNKNOWN,
  type EventMessage,
  type Message,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/message.ts";
import { GAP_TOPIC } from "../sdk/handle.ts";
import { requireString } from "../sdk/service.ts";
import { remember, settle, unanswered, type Outstanding } from "./outstanding.ts";
import { CallsBehind } from "./calls.ts";
import { RecentEvents } from "./recent-events.ts";
import { Port, speakerOf, type Credentials } from "./port.ts";

const NO_ROUTE: readonly string[] = [];

/** Requests that wait for a new parent; beyond, they are refused. */
const HELD_MAX = 10_000;
/** Messages that are delivered before input from outside gets its turn. */
const PUMP_BATCH_MAX = 1000;

/** A link to a neighbour in the tree. */
export interface Peer {
  /** Route id of the broker at the other end. */
  readonly uuid: string;
  readonly rank?: number;
  send(message: Message): void;
}

/** Which way a rank lies: null where there is no way. */
export interface Routes {
  nextHop(rank: number): Peer | null;
  readonly parent: Peer | null;
  /** Whether there is no parent just now, and one is looked for. */
  readonly isLooking?: boolean;
  /** Whether this broker leads, and its services are being started. */
  readonly isStarting?: boolean;
  readonly children: Iterable<Peer>;
}

export interface RouterOptions {
  readonly rank: number;
  readonly size: number;
  readonly ownerUserid: number;
  readonly routes: Routes;
  newUuid(): string;
  /** Runs a callback when this turn's input has been handled. */
  defer(callback: () => void): void;
  /** Whether latest events are kept for neighbours that rejoin. */
  readonly keepsEvents?: boolean;
  /** Told of an error of a delivery, instead of the process; the deliveries behind it take place. */
  failed?(error: unknown): void;
}

export class Router {
  readonly rank: number;
  readonly size: number;
  readonly #options: RouterOptions;
  readonly #ports = new Map<string, Port>();
  readonly #services = new Map<string, Port>();
  /** Ports that serve all names with a prefix (a registered name that ends with `-*`), where no one serves the name itself. */
  readonly #families = new Map<string, Port>();
  readonly #peers = new Map<string, { peer: Peer; outstanding: Outstanding; calls: CallsBehind }>();
  readonly #queue: (() => void)[] = [];
  #pumping = false;
  #sequence = 0;
  readonly #recent = new RecentEvents();
  readonly #held: RequestMessage[] = [];
  /** Somebody looks on at the links; `rank` is undefined for an event to all children. */
  linkTap: ((prefix: "tx" | "rx", message: Message, rank: number | undefined) => void) | null = null;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.rank = options.rank;
    this.size = options.size;
  }

  /** Sequence number of the latest event seen (published, at the leader). */
  get eventSequence(): number {
    return this.#sequence;
  }
  /** A broker that joins starts from its parent's number. */
  set eventSequence(sequence: number) {
    this.#sequence = sequence;
  }

  /**
   * Events were missed, and those to come are numbered from here on. Takes effect behind the messages that came before this
   * call, and then calls `begun`; a listener to all events (the prefix "") learns of it by an event without a number.
   */
  restartEvents(sequence: number, begun: () => void): void {
    const { userid, rolemask } = this.#ownCredentials();
    const gap: EventMessage = {
      type: MessageType.Event,
      topic: GAP_TOPIC,
      payload: null,
      flags: 0,
      userid,
      rolemask,
      route: [],
      sequence: 0,
    };
    this.#enqueue(() => {
      this.#sequence = sequence;
      this.#recent.clear();
      begun();
      for (const port of this.#ports.values())
        if (port.subscriptions.matches(gap.topic) && (port.credentials.rolemask & Role.Local) !== 0)
          port.receive?.(gap);
    });
  }

  /** The events after a number, for a neighbour that missed them; null where they are not all known any more. */
  eventsAfter(sequence: number): EventMessage[] | null {
    return this.#recent.after(sequence, this.#sequence);
  }

  /** Adds a local party. Its messages with unset credentials speak for `credentials`. */
  attach(credentials: Credentials): Port {
    const port = new Port(this, this.#options.newUuid(), credentials);
    this.#ports.set(port.uuid, port);
    return port;
  }

  /** Removes a local party: services go, called services are told, its handle learns that it is closed. */
  detach(port: Port): void {
    if (!this.#ports.delete(port.uuid)) return;
    for (const service of port.services) this.#forgetService(service);
    for (const notice of port.calls.take()) this.#enqueue(() => this.#routeRequest(notice));
    this.#enqueue(() => port.closed?.(null));
  }

  addPeer(peer: Peer): void {
    this.#peers.set(peer.uuid, { peer, outstanding: new Map(), calls: new CallsBehind() });
  }

  /** A link broke: what it still owed is answered with EHOSTUNREACH, and whom those behind it called is told. */
  removePeer(peer: Peer): void {
    const entry = this.#peers.get(peer.uuid);
    if (entry === undefined || entry.peer !== peer) return;
    this.#peers.delete(peer.uuid);
    for (const request of unanswered(entry.outstanding))
      this.#enqueue(() => this.#refuse(request, new FluxError("EHOSTUNREACH")));
    for (const notice of entry.calls.take()) this.#enqueue(() => this.#routeRequest(notice));
  }

  /** Registers a service name for a port. Throws EEXIST. */
  addService(port: Port, name: string): void {
    if (this.#services.has(name)) throw new FluxError("EEXIST", `service ${name} is already registered`);
    this.#services.set(name, port);
    if (name.endsWith("-*")) this.#families.set(name.slice(0, -1), port);
    port.services.add(name);
  }

  /** Throws ENOENT where the port does not own the name. */
  removeService(port: Port, name: string): void {
    if (this.#services.get(name) !== port) throw new FluxError("ENOENT", `service ${name} is not registered`);
    this.#forgetService(name);
    port.services.delete(name);
  }

  #forgetService(name: string): void {
    this.#services.delete(name);
    if (name.endsWith("-*")) this.#families.delete(name.slice(0, -1));
  }

  /** Takes a message from a local party. */
  sendFrom(port: Port, message: Message): void {
    if (!this.#ports.has(port.uuid)) return settleTransit(message);
    switch (message.type) {
      case MessageType.Request:
        return this.#enqueue(() => this.#requestFromPort(port, message));
      case MessageType.Response: {
        const response = message.userid === USERID_UNKNOWN ? { ...message, ...this.#ownCredentials() } : message;
        return this.#enqueue(() => this.#routeResponse(response));
      }
      case MessageType.Event: {
        const event = { ...message, ...speakerOf(port, message) };
        return this.#enqueue(() => this.publish(event));
      }
      case MessageType.Control:
        return;
    }
  }

  /** Takes a message from a neighbour. */
  receiveFrom(peer: Peer, message: Message): void {
    const entry = this.#peers.get(peer.uuid);
    if (entry === undefined) return;
    this.linkTap?.("rx", message, peer.rank);
    switch (message.type) {
      case MessageType.Request: {
        const rolemask = (message.rolemask & ~Role.Local) >>> 0;
        const request = { ...message, rolemask, route: [peer.uuid, ...message.route] };
        entry.calls.note(request);
        return this.#enqueue(() => this.#routeRequest(request));
      }
      case MessageType.Response:
        settle(entry.outstanding, message);
        return this.#enqueue(() => this.#routeResponse(message));
      case MessageType.Event: {
        // Until its turn comes, there may be another parent.
        const isFromParent = peer === this.#options.routes.parent;
        return this.#enqueue(() => (isFromParent ? this.#distribute(message) : this.publish(message)));
      }
      case MessageType.Control:
        return;
    }
  }

  /** Publishes an event: the leader numbers and distributes it, others pass it up. Returns the number at the leader. */
  publish(event: EventMessage): number {
    const parent = this.#options.routes.parent;
    if (this.rank !== 0) {
      if (parent !== null) this.linkTap?.("tx", event, parent.rank);
      parent?.send(event);
      return 0;
    }
    this.#distribute({ ...event, sequence: this.#sequence + 1 });
    return this.#sequence;
  }

  #distribute(event: EventMessage): void {
    // What came again after a link was made anew is dropped: every broker sees every number once, in order.
    if (event.sequence <= this.#sequence) return;
    this.#sequence = event.sequence;
    if (this.#options.keepsEvents === true) this.#recent.add(event);
    const children = [...this.#options.routes.children];
    if (children.length > 0) this.linkTap?.("tx", event, undefined);
    for (const child of children) child.send(event);
    for (const port of this.#ports.values())
      if (port.subscriptions.matches(event.topic) && this.#mayReceive(port, event)) port.receive?.(event);
  }

  #mayReceive(port: Port, event: EventMessage): boolean {
    if (!hasFlag(event, MessageFlag.Private)) return true;
    return (port.credentials.rolemask & Role.Owner) !== 0 || port.credentials.userid === event.userid;
  }

  #ownCredentials(): Credentials {
    return { userid: this.#options.ownerUserid, rolemask: (Role.Owner | Role.Local) >>> 0 };
  }

  #requestFromPort(port: Port, message: RequestMessage): void {
    if (this.#handlePortMethod(port, message)) return;
    const { userid, rolemask } = speakerOf(port, message);
    // A client that serves sends on requests with their route kept; its own begin with an empty stack.
    const route = message.route.length === 0 ? [port.uuid] : [port.uuid, ...message.route];
    const request: RequestMessage = { ...message, userid, rolemask, route };
    if (expectsResponse(request)) port.calls.note(request);
    this.#routeRequest(request);
  }

  /** `event.subscribe`, `event.unsubscribe`, `service.add`, `service.remove`: about the port itself. */
  #handlePortMethod(port: Port, message: RequestMessage): boolean {
    if (!message.topic.startsWith("event.") && !message.topic.startsWith("service.")) return false;
    const methods: Record<string, (body: JsonObject) => void> = {
      "event.subscribe": (body) => port.subscriptions.add(requireString(body, "topic")),
      "event.unsubscribe": (body) => port.subscriptions.remove(requireString(body, "topic")),
      "service.add": (body) => this.#addServiceFor(port, speakerOf(port, message), requireString(body, "service")),
      "service.remove": (body) => this.removeService(port, requireString(body, "service")),
    };
    const method = methods[message.topic];
    if (method === undefined) return false;
    settleTransit(message);
    let response: ResponseMessage;
    try {
      method(message.payload === null ? {} : message.payload.value);
      response = responseTo(message, 0, null);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      response = errorResponseTo(message, error);
    }
    if (expectsResponse(message)) port.receive?.({ ...response, rolemask: Role.Owner, route: message.route });
    return true;
  }

  #addServiceFor(port: Port, speaker: Credentials, name: string): void {
    const isGuest = (speaker.rolemask & Role.Owner) === 0;
    if (isGuest && !name.startsWith(`${speaker.userid}-`)) throw new FluxError("EPERM");
    // A topic is a service and a method with a dot between them.
    if (name === "" || name.includes(".")) throw new FluxError("EINVAL");
    this.addService(port, name);
  }

  #routeRequest(request: RequestMessage): void {
    const { nodeid } = request;
    const upstream = hasFlag(request, MessageFlag.Upstream);
    if (nodeid === NODEID_ANY || (upstream && nodeid !== this.rank)) {
      if (this.#deliverToService(request)) return;
      return this.#forwardUp(request);
    }
    // What is asked of those above this broker has nobody to answer it at the root.
    if (upstream && this.rank === 0) return this.#refuse(request, new FluxError("EHOSTUNREACH"));
    if (upstream) return this.#forwardUp(request);
    if (nodeid === this.rank) {
      if (this.#deliverToService(request) || this.#awaitServices(request)) return;
      return this.#refuse(request, noService(request));
    }
    const hop = nodeid < this.size ? this.#options.routes.nextHop(nodeid) : null;
    // Who sent it here knows no better way, and where it came from it must not go.
    if (hop === null && this.#hold(request)) return;
    if (hop === null || hop.uuid === request.route[0]) this.#refuse(request, new FluxError("EHOSTUNREACH"));
    else this.#forward(hop, request);
  }

  #forwardUp(request: RequestMessage): void {
    const parent = this.#options.routes.parent;
    if (parent !== null) this.#forward(parent, request);
    else if (this.#hold(request) || this.#awaitServices(request)) return;
    else if (this.rank === 0) this.#refuse(request, noService(request));
    else this.#refuse(request, new FluxError("EHOSTUNREACH"));
  }

  /** What is for those above waits while there is nobody, but may be soon. */
  #hold(request: RequestMessage): boolean {
    if (this.#options.routes.isLooking !== true || this.#held.length >= HELD_MAX) return false;
    this.#held.push(request);
    return true;
  }

  /** A leader that comes back is asked by those that rejoin before its services are there. */
  #awaitServices(request: RequestMessage): boolean {
    const isFromPeer = this.#peers.has(request.route[0] ?? "");
    if (this.#options.routes.isStarting !== true || !isFromPeer || this.#held.length >= HELD_MAX) return false;
    this.#held.push(request);
    return true;
  }

  /** There is somebody above again, or will not be any more: what waited for that goes on its way, or is refused. */
  release(): void {
    for (const request of this.#held.splice(0)) this.#enqueue(() => this.#routeRequest(request));
  }

  #forward(peer: Peer, request: RequestMessage): void {
    const entry = this.#peers.get(peer.uuid);
    if (entry === undefined) return this.#refuse(request, new FluxError("EHOSTUNREACH"));
    remember(entry.outstanding, request);
    this.linkTap?.("tx", request, peer.rank);
    peer.send(request);
  }

  /** Tries the service names that the topic may begin with, the longest first. */
  #deliverToService(request: RequestMessage): boolean {
    const { topic } = request;
    for (let dot = topic.length; dot > 0; dot = topic.lastIndexOf(".", dot - 1)) {
      const port = this.#services.get(topic.slice(0, dot));
      if (port === undefined) continue;
      port.take(request);
      return true;
    }
    for (const [prefix, port] of this.#families) {
      if (!topic.startsWith(prefix)) continue;
      port.take(request);
      return true;
    }
    return false;
  }

  #routeResponse(response: ResponseMessage): void {
    const hop = response.route[0];
    if (hop === undefined) return settleTransit(response);
    const rest = response.route.length === 1 ? NO_ROUTE : response.route.slice(1);
    const port = this.#ports.get(hop);
    if (port !== undefined) return port.take({ ...response, route: rest });
    const peer = this.#peers.get(hop)?.peer;
    // A peer or client that has gone in the meantime: nobody is left to tell.
    if (peer === undefined) return settleTransit(response);
    this.linkTap?.("tx", response, peer.rank);
    peer.send({ ...response, route: rest });
  }

  /** Refuses a request that cannot be passed on. */
  #refuse(request: RequestMessage, error: FluxError): void {
    settleTransit(request);
    if (!expectsResponse(request)) return;
    this.#routeResponse({ ...errorResponseTo(request, error), ...this.#ownCredentials() });
  }

  #enqueue(deliver: () => void): void {
    this.#queue.push(deliver);
    if (this.#pumping) return;
    this.#pumping = true;
    void Promise.resolve().then(() => this.#pump());
  }

  #pump(): void {
    let delivered = 0;
    while (delivered < this.#queue.length && delivered < PUMP_BATCH_MAX) {
      try {
        this.#queue[delivered++]!();
      } catch (error) {
        if (this.#options.failed === undefined) throw error;
        this.#options.failed(error);
      }
    }
    this.#queue.splice(0, delivered);
    this.#pumping = this.#queue.length > 0;
    if (this.#pumping) this.#options.defer(() => this.#pump());
  }
}

function noService(request: RequestMessage): FluxError {
  return new FluxError("ENOSYS", `No service matching ${request.topic} is registered`);
}
