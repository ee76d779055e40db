/**
 * What a Handle talks through: whole messages in both directions, in order. Inside a broker a channel is an endpoint of
 * the router and carries objects; in another process it is the local connector's socket and carries RFC 3 frames.
 */
import type { Message } from "../protocol/message.ts";

export interface MessageChannel {
  /**
   * Begins delivery. `closed` is called once when the other side is gone (not after `close`). If `receive` returns a
   * promise, the message counts as taken when that resolves: a sender that goes by that (`Transit`) waits until then.
   */
  start(receive: (message: Message) => unknown, closed: (error: Error | null) => void): void;
  send(message: Message): void;
  close(): void;
}
