/**
 * The switchboard of `flux proxy`: any number of clients of a socket of its own share one connection to a broker
 * (flux-proxy(1)).
 *
 * Invariants: a client sees what it would see at the broker: its subscriptions and services are its own, its open requests
 * end with ECONNRESET when the connection breaks, and the services that it called are told of its end. After `attachTo` with
 * another connection, subscriptions and services are there again.
 */
import { FluxError } from "../../base/errors.ts";
import type { Clock } from "../../base/ports.ts";
import { Port, type Credentials, type PortOwner } from "../../broker/port.ts";
import { remember, settle, type Outstanding } from "../../broker/outstanding.ts";
import {
  errorResponseTo,
  expectsResponse,
  MessageType,
  responseTo,
  settleTransit,
  type EventMessage,
  type Message,
  type RequestMessage,
  type ResponseMessage,
} from "../../protocol/message.ts";
import { Handle } from "../../sdk/handle.ts";
import type { MessageChannel } from "../../sdk/channel.ts";

type OwnMethod = (port: Port, request: RequestMessage) => Promise<void>;

export class ProxyRouter implements PortOwner {
  readonly #newUuid: () => string;
  readonly #clock: Clock;
  readonly #ports = new Map<string, Port>();
  readonly #services = new Map<string, Port>();
  /** How many clients hear events of a prefix. */
  readonly #prefixes = new Map<string, number>();
  #outstanding: Outstanding = new Map();
  #channel: MessageChannel | null = null;
  /** Speaks for the proxy itself on the same connection. */
  #own: Handle | null = null;
  #toOwn: (message: Message) => void = () => {};

  constructor(ports: { readonly clock: Clock; newUuid(): string }) {
    this.#clock = ports.clock;
    this.#newUuid = () => ports.newUuid();
  }

  attach(credentials: Credentials): Port {
    const port = new Port(this, this.#newUuid(), credentials);
    this.#ports.set(port.uuid, port);
    return port;
  }

  detach(port: Port): void {
    if (!this.#ports.delete(port.uuid)) return;
    for (const notice of port.calls.take()) this.#channel?.send(notice);
    for (const service of port.services) {
      this.#services.delete(service);
      this.#own?.send("service.remove", { service });
    }
    for (const prefix of port.subscriptions.prefixes()) this.#unsubscribe(prefix);
    this.#clock.defer(() => port.closed?.(null));
  }

  /** Uses a connection from now on. Resolves when subscriptions and services are there. */
  async attachTo(channel: MessageChannel, lost: (error: Error | null) => void): Promise<Handle> {
    this.#channel = channel;
    const own = new Handle({
      start: (receive) => (this.#toOwn = receive),
      send: (message) => channel.send(message),
      close: () => {},
    });
    this.#own = own;
    channel.start(
      (message) => this.#receive(message),
      (error) => {
        if (this.#channel !== channel) return;
        this.#channel = this.#own = null;
        this.#breakOff();
        lost(error);
      },
    );
    for (const topic of this.#prefixes.keys()) await own.rpc("event.subscribe", { topic });
    for (const service of this.#services.keys()) await own.rpc("service.add", { service });
    return own;
  }

  sendFrom(port: Port, message: Message): void {
    if (!this.#ports.has(port.uuid) || message.type === MessageType.Control) return settleTransit(message);
    if (message.type !== MessageType.Request) return this.#transmit(message);
    const own = this.#ownMethod(message.topic);
    if (own !== null) {
      settleTransit(message);
      void own(port, message).then(
        () => this.#answer(port, message, null),
        (error: FluxError) => this.#answer(port, message, error),
      );
      return;
    }
    const request = { ...message, route: [port.uuid, ...message.route] };
    if (this.#channel === null) return this.#fail(request);
    if (expectsResponse(request)) port.calls.note(request);
    remember(this.#outstanding, request);
    this.#transmit(request);
  }

  /** What is about the connection itself is asked for once, and told apart by client here. */
  #ownMethod(topic: string): OwnMethod | null {
    switch (topic) {
      case "event.subscribe":
        return async (port, request) => {
          const prefix = textOf(request, "topic");
          const count = this.#prefixes.get(prefix) ?? 0;
          this.#prefixes.set(prefix, count + 1);
          if (count === 0) await this.#ask("event.subscribe", { topic: prefix });
          port.subscriptions.add(prefix);
        };
      case "event.unsubscribe":
        return async (port, request) => {
          const prefix = textOf(request, "topic");
          port.subscriptions.remove(prefix);
          this.#unsubscribe(prefix);
        };
      case "service.add":
        return async (port, request) => {
          const service = textOf(request, "service");
          if (service.includes(".")) throw new FluxError("EINVAL");
          if (this.#services.has(service)) throw new FluxError("EEXIST");
          await this.#ask("service.add", { service });
          this.#services.set(service, port);
          port.services.add(service);
        };
      case "service.remove":
        return async (port, request) => {
          const service = textOf(request, "service");
          if (this.#services.get(service) !== port) throw new FluxError("ENOENT");
          this.#services.delete(service);
          port.services.delete(service);
          await this.#ask("service.remove", { service });
        };
      default:
        return null;
    }
  }

  async #ask(topic: string, payload: object): Promise<void> {
    if (this.#own === null) throw new FluxError("ECONNRESET");
    await this.#own.rpc(topic, payload);
  }

  #unsubscribe(prefix: string): void {
    const left = (this.#prefixes.get(prefix) ?? 0) - 1;
    if (left > 0) this.#prefixes.set(prefix, left);
    else if (this.#prefixes.delete(prefix)) this.#own?.send("event.unsubscribe", { topic: prefix });
  }

  #transmit(message: Message): void {
    if (this.#channel === null) settleTransit(message);
    else this.#channel.send(message);
  }

  #answer(port: Port, request: RequestMessage, error: FluxError | null): void {
    if (!expectsResponse(request) || !this.#ports.has(port.uuid)) return;
    const response = error === null ? responseTo(request, 0, null) : errorResponseTo(request, error);
    // Clients drop a response that nobody vouches for.
    port.take({ ...response, ...port.credentials, route: request.route });
  }

  #receive(message: Message): void {
    switch (message.type) {
      case MessageType.Response:
        if (message.route.length === 0) return this.#toOwn(message);
        settle(this.#outstanding, message);
        return this.#toClient(message);
      case MessageType.Event:
        return this.#distribute(message);
      case MessageType.Request: {
        const service = [...this.#services].find(([name]) => message.topic.startsWith(`${name}.`))?.[1];
        return service === undefined ? settleTransit(message) : service.take(message);
      }
      case MessageType.Control:
    }
  }

  #toClient(response: ResponseMessage): void {
    const port = this.#ports.get(response.route[0]!);
    if (port === undefined) settleTransit(response);
    else port.take({ ...response, route: response.route.slice(1) });
  }

  #distribute(event: EventMessage): void {
    for (const port of this.#ports.values()) if (port.subscriptions.matches(event.topic)) port.receive?.(event);
  }

  /** The connection is gone: no answer will come. */
  #breakOff(): void {
    const requests = [...this.#outstanding.values()].flatMap((each) => [...each.values()]);
    this.#outstanding = new Map();
    for (const request of requests) this.#fail(request);
    for (const port of this.#ports.values()) port.calls.take();
  }

  #fail(request: RequestMessage): void {
    settleTransit(request);
    if (!expectsResponse(request)) return;
    const credentials = this.#ports.get(request.route[0]!)?.credentials;
    this.#toClient({ ...errorResponseTo(request, new FluxError("ECONNRESET")), ...credentials });
  }
}

function textOf(request: RequestMessage, key: string): string {
  const value = request.payload?.value[key];
  if (typeof value !== "string") throw new FluxError("EPROTO", `missing or invalid '${key}'`);
  return value;
}
