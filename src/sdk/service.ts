/**
 * Serving: a table of methods under a service name, with the roles that may call each (RFC 12), and the methods that
 * every service has (ping, stats-get, debug, rusage …).
 *
 * A handler answers by returning: an object or bytes (the payload), null (an empty answer), or undefined when it answers
 * later itself through the request. What it throws becomes the error response, whatever it is, except for a broken
 * invariant, which is passed on to end the broker.
 */
import { isBrokenInvariant } from "../base/assert.ts";
import { errorText, FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { expectsResponse, MessageType, Payload, Role, type Message } from "../protocol/message.ts";
import { echoWith } from "./echo.ts";
import type { Handle } from "./handle.ts";
import type { IncomingRequest } from "./request.ts";

export type Answer = object | Uint8Array | null | undefined;

export interface Method {
  /** Roles that may call: default the owner only. */
  readonly roles?: number;
  /** Streaming requests only: a plain one is refused with EPROTO. */
  readonly streaming?: boolean;
  readonly handler: (request: IncomingRequest) => Answer | Promise<Answer>;
}

export type Methods = Readonly<Record<string, Method | ((request: IncomingRequest) => Answer | Promise<Answer>)>>;

/** A longer ping is answered with its text as it came, in bytes. */
const HUGE_PING_BYTES: number = 128 * 1024;

/** Any user of the instance may call; the method makes its own checks. */
export const ANY_USER: number = Role.Owner | Role.User;
/** Whoever can connect may call. */
export const ANYONE: number = Role.All;

/** Numbers of messages by type. */
export interface MessageCounts {
  request: number;
  response: number;
  event: number;
  control: number;
}

/** Under what each type of message is counted. */
export const COUNTED: Readonly<Record<Message["type"], keyof MessageCounts>> = {
  [MessageType.Request]: "request",
  [MessageType.Response]: "response",
  [MessageType.Event]: "event",
  [MessageType.Control]: "control",
};

export interface Traffic {
  readonly tx: MessageCounts;
  readonly rx: MessageCounts;
}

export function noMessages(): MessageCounts {
  return { request: 0, response: 0, event: 0, control: 0 };
}

/** What a server needs to know of its surroundings for the default methods. */
export interface ServerIdentity {
  readonly rank: number;
  /** Resource usage of the process as getrusage(2) has it, for `SERVICE.rusage`. */
  readonly rusage?: () => JsonObject;
  /** Messages sent and received so far, for `SERVICE.stats-get`. */
  readonly traffic?: Traffic;
  /** Called with a broken invariant, and where `bug` is not given with every error that is not a FluxError. */
  readonly fatal: (error: unknown) => void;
  /** Called with an error of a handler that nobody foresaw. The request it came of has failed, and nothing else. */
  readonly bug?: (where: string, error: unknown) => void;
}

/** Answers the requests of one Handle for any number of service names. */
export class Server {
  readonly #services = new Map<string, Map<string, Method>>();
  readonly #identity: ServerIdentity;
  /** Requests whose handlers have not come back yet. */
  readonly #underWay = new Set<IncomingRequest>();
  /** Bits set through `SERVICE.debug`; tests of the reference use them to make faults. */
  readonly debugFlags: Map<string, number> = new Map();

  constructor(handle: Handle, identity: ServerIdentity) {
    this.#identity = identity;
    handle.serveRequests((request) => this.#dispatch(request));
  }

  /** Adds (or replaces) methods of a service. Registering the name with the broker is the caller's business. */
  add(service: string, methods: Methods): void {
    let table = this.#services.get(service);
    if (table === undefined) this.#services.set(service, (table = new Map(this.#defaults(service))));
    for (const [name, method] of Object.entries(methods))
      table.set(name, typeof method === "function" ? { handler: method } : method);
  }

  remove(service: string): void {
    this.#services.delete(service);
  }

  #dispatch(request: IncomingRequest): void {
    const found = this.#find(request.topic);
    if (found === null) {
      const word = request.topic.slice(request.topic.lastIndexOf(".") + 1);
      if (word !== "disconnect") request.respondError(new FluxError("ENOSYS", this.#unknownText(request.topic)));
      return;
    }
    try {
      this.#check(found, request);
      if (this.#underWay.size > 0 && request.topic.endsWith(".disconnect")) this.#abandon(request.sender);
      const answer = found.handler(request);
      if (answer instanceof Promise) void this.#await(request, answer);
      else finish(request, answer);
    } catch (error) {
      this.#fail(request, error);
    }
  }

  async #await(request: IncomingRequest, answer: Promise<Answer>): Promise<void> {
    this.#underWay.add(request);
    try {
      finish(request, await answer);
    } catch (error) {
      this.#fail(request, error);
    } finally {
      this.#underWay.delete(request);
    }
  }

  /** A sender is gone: what is looked into for it comes to nothing. */
  #abandon(sender: string): void {
    for (const request of this.#underWay) if (request.sender === sender) request.abandon();
  }

  /** Of a family of names (`x-*`) not every name is a service. */
  #unknownText(topic: string): string {
    const isService = [...this.#services.keys()].some((name) => topic.startsWith(`${name}.`));
    return isService ? `Unknown service method '${topic}'` : `No service matching ${topic} is registered`;
  }

  #find(topic: string): Method | null {
    for (let dot = topic.lastIndexOf("."); dot > 0; dot = topic.lastIndexOf(".", dot - 1)) {
      const table = this.#services.get(topic.slice(0, dot));
      if (table !== undefined) return table.get(topic.slice(dot + 1)) ?? null;
    }
    return null;
  }

  #check(method: Method, request: IncomingRequest): void {
    if ((request.rolemask & (method.roles ?? Role.Owner)) === 0)
      throw new FluxError("EPERM", "Request requires owner credentials");
    if (method.streaming === true && !request.isStreaming) throw new FluxError("EPROTO");
  }

  #fail(request: IncomingRequest, error: unknown): void {
    if (!(error instanceof FluxError)) {
      const { bug, fatal } = this.#identity;
      if (bug === undefined || isBrokenInvariant(error)) return fatal(error);
      bug(request.topic, error);
    }
    if (expectsResponse(request.message) && !request.isFinished) request.respondError(unforeseen(request, error));
  }

  #defaults(service: string): [string, Method][] {
    return [
      ["ping", { roles: ANYONE, handler: (request) => this.#ping(request) }],
      ["stats-get", { roles: ANYONE, handler: () => this.#traffic() }],
      ["stats-clear", { handler: () => this.clearStats() }],
      ["rusage", { roles: ANY_USER, handler: (request) => this.#rusage(request) }],
      ["debug", { handler: (request) => this.#debug(service, request) }],
      ["disconnect", { roles: ANYONE, handler: () => undefined }],
      ["config-reload", { handler: () => null }],
      ["config-sync", { handler: () => null }],
    ];
  }

  #traffic(): object {
    const { tx = noMessages(), rx = noMessages() } = this.#identity.traffic ?? {};
    return { tx: { ...tx }, rx: { ...rx } };
  }

  /** Counts from 0 again. */
  clearStats(): null {
    const { traffic } = this.#identity;
    if (traffic !== undefined) {
      Object.assign(traffic.tx, noMessages());
      Object.assign(traffic.rx, noMessages());
    }
    return null;
  }

  #ping(request: IncomingRequest): JsonObject | Payload {
    const { payload } = request.message;
    const added = {
      route: request.message.route
        .map((hop) => hop.slice(0, 8))
        .toReversed()
        .join("!"),
      userid: request.userid,
      rolemask: request.rolemask,
      rank: this.#identity.rank,
    };
    const source = payload?.source ?? null;
    const echo = source === null || source.byteLength < HUGE_PING_BYTES ? null : echoWith(source, added);
    return echo === null ? { ...request.json, ...added } : Payload.pieces(echo);
  }

  #rusage(request: IncomingRequest): JsonObject {
    const { who = "self" } = request.json;
    // Modules have no threads of their own: their resources are counted with the process.
    if (typeof who === "string" && !["self", "children", "thread"].includes(who))
      throw new FluxError("EINVAL", `${who} is unsupported`);
    if (this.#identity.rusage === undefined) throw new FluxError("ENOSYS");
    return this.#identity.rusage();
  }

  #debug(service: string, request: IncomingRequest): JsonObject {
    const { op, flags } = request.json;
    if (typeof op !== "string" || typeof flags !== "number") throw new FluxError("EPROTO");
    const before = this.debugFlags.get(service) ?? 0;
    const operations: Record<string, number> = {
      setbit: before | flags,
      clrbit: before & ~flags,
      set: flags,
      clr: 0,
    };
    const after = Object.hasOwn(operations, op) ? operations[op] : undefined;
    if (after === undefined) throw new FluxError("EPROTO");
    this.debugFlags.set(service, after);
    return { flags: after };
  }
}

/** What the sender of a request is told of an error that nobody foresaw. */
function unforeseen(request: IncomingRequest, error: unknown): FluxError {
  if (error instanceof FluxError) return error;
  return new FluxError("EINVAL", `internal error in ${request.topic}: ${errorText(error)}`);
}

function finish(request: IncomingRequest, answer: Answer): void {
  if (answer === undefined) return;
  if (request.isStreaming) {
    if (answer !== null) request.respond(answer);
    request.end();
  } else request.respond(answer);
}

/** The error of a request whose member is not there, or not what it must be. */
export function invalidMember(key: string): FluxError {
  return new FluxError("EPROTO", `Protocol error: missing or invalid '${key}'`);
}

/** Reads a member of a request that must be a string. Throws EPROTO. */
export function requireString(object: JsonObject, key: string): string {
  const value = object[key];
  if (typeof value !== "string") throw invalidMember(key);
  return value;
}

/** Reads a member of a request that must be an integer that fits a number. Throws EPROTO. */
export function requireInteger(object: JsonObject, key: string): number {
  const value = object[key];
  if (typeof value !== "number" || !Number.isInteger(value)) throw invalidMember(key);
  return value;
}

/** Reads a member of a request that must be a finite number, whole or not. Throws EPROTO. */
export function requireNumber(object: JsonObject, key: string): number {
  const value = object[key];
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || !Number.isFinite(value)) throw invalidMember(key);
  return value;
}

/** Reads a member that must be a job id or another 64-bit integer. Throws EPROTO. */
export function requireJobId(object: JsonObject, key: string): number | bigint {
  const value = object[key];
  if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value))) return value;
  throw invalidMember(key);
}

/** Reads a member that must be an object. Throws EPROTO. */
export function requireObject(object: JsonObject, key: string): JsonObject {
  const value: JsonValue | undefined = object[key];
  if (!isJsonObject(value)) throw invalidMember(key);
  return value;
}
