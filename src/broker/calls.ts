/**
 * Whom a party has called, so that every service it called can be told when it is gone: a client of this broker, or one
 * behind a link that broke.
 */
import {
  disconnectTopic,
  hasFlag,
  MATCHTAG_NONE,
  MessageFlag,
  NODEID_ANY,
  type RequestMessage,
} from "../protocol/message.ts";

/**
 * The most services that are remembered of one party; beyond, the one called first is not told of its end. A client that
 * talks to the shells of ever new jobs must not make this grow for ever.
 */
export const CALLED_MAX = 1024;

/** The calls of one party: a disconnect notice for each service and way to it. */
export class Calls {
  readonly #notices = new Map<string, RequestMessage>();
  /** Topics whose service is noted, without a rank: the quick way to know it. */
  readonly #plainTopics = new Set<string>();

  get isEmpty(): boolean {
    return this.#notices.size === 0;
  }

  note(request: RequestMessage): void {
    const isPlain = request.nodeid === NODEID_ANY && !hasFlag(request, MessageFlag.Upstream);
    if (isPlain && this.#plainTopics.has(request.topic)) return;
    if (this.#plainTopics.size >= CALLED_MAX) this.#plainTopics.clear();
    if (isPlain) this.#plainTopics.add(request.topic);
    const topic = disconnectTopic(request.topic);
    const key = keyOf(topic, request);
    if (this.#notices.has(key)) return;
    if (this.#notices.size >= CALLED_MAX) this.#notices.delete(this.#notices.keys().next().value!);
    const flags = (request.flags & MessageFlag.Upstream) | MessageFlag.NoResponse;
    this.#notices.set(key, { ...request, topic, flags, payload: null, matchtag: MATCHTAG_NONE, transit: undefined });
  }

  /** Somebody else tells the service: a notice has passed. */
  forget(notice: RequestMessage): void {
    this.#notices.delete(keyOf(notice.topic, notice));
  }

  /** Takes the notices out, to be sent. */
  take(): RequestMessage[] {
    const notices = [...this.#notices.values()];
    this.#notices.clear();
    this.#plainTopics.clear();
    return notices;
  }
}

/** The calls of everyone behind a link, by sender. */
export class CallsBehind {
  readonly #bySender = new Map<string, Calls>();

  /** Takes note of a request that came over the link. */
  note(request: RequestMessage): void {
    const sender = request.route.at(-1) ?? "";
    let calls = this.#bySender.get(sender);
    if (hasFlag(request, MessageFlag.NoResponse)) {
      if (calls === undefined || request.topic !== disconnectTopic(request.topic)) return;
      calls.forget(request);
      if (calls.isEmpty) this.#bySender.delete(sender);
      return;
    }
    if (calls === undefined) this.#bySender.set(sender, (calls = new Calls()));
    calls.note(request);
  }

  /** The link broke: takes all notices out, to be sent. */
  take(): RequestMessage[] {
    const notices = [...this.#bySender.values()].flatMap((calls) => calls.take());
    this.#bySender.clear();
    return notices;
  }
}

function keyOf(topic: string, { nodeid, flags }: RequestMessage): string {
  return `${topic} ${nodeid} ${flags & MessageFlag.Upstream}`;
}
