/**
 * Requests that went to a party of its own (over a link, to a client that serves, to a module's process) and are not
 * answered, by sender and matchtag: whom to tell when that party is lost.
 */
import {
  disconnectTopic,
  expectsResponse,
  hasFlag,
  MATCHTAG_NONE,
  MessageFlag,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/message.ts";

/** By sender, by matchtag. */
export type Outstanding = Map<string, Map<number, RequestMessage>>;

function senderOf(message: { readonly route: readonly string[] }): string {
  return message.route.at(-1) ?? "";
}

/** Notes a request that is sent on. */
export function remember(outstanding: Outstanding, request: RequestMessage): void {
  const sender = senderOf(request);
  if (!expectsResponse(request)) {
    // The sender is gone: its open streams will never be answered.
    if (request.topic.endsWith("disconnect")) forget(outstanding, sender, request.topic);
    return;
  }
  if (request.matchtag === MATCHTAG_NONE) return;
  let requests = outstanding.get(sender);
  if (requests === undefined) outstanding.set(sender, (requests = new Map()));
  // What it says is not needed to refuse it, and may be huge.
  requests.set(request.matchtag, { ...request, payload: null, transit: undefined });
}

/** Takes note of an answer. */
export function settle(outstanding: Outstanding, response: ResponseMessage): void {
  if (hasFlag(response, MessageFlag.Streaming) && response.errnum === 0) return;
  const sender = senderOf(response);
  const requests = outstanding.get(sender);
  if (requests === undefined) return;
  requests.delete(response.matchtag);
  if (requests.size === 0) outstanding.delete(sender);
}

function forget(outstanding: Outstanding, sender: string, topic: string): void {
  const requests = outstanding.get(sender);
  if (requests === undefined) return;
  for (const [matchtag, request] of requests) if (disconnectTopic(request.topic) === topic) requests.delete(matchtag);
  if (requests.size === 0) outstanding.delete(sender);
}

/** What will not be answered any more. */
export function* unanswered(outstanding: Outstanding): Generator<RequestMessage> {
  for (const requests of outstanding.values()) yield* requests.values();
}
