/**
 * What a Handle talks through: whole messages in both directions, in order. Inside a broker a channel is an endpoint of
 * the router and carries objects; in another process it is the local connector's socket and carries RFC 3 frames.
 */
import type { Message } from "../protocol/message.ts";

export interface MessageChannel {
  /**
   * Begins delivery. `closed` is called once when the other side is gone (not after `close`). A message for which `receive`
   * gives a promise has not been taken until that resolves: who sends no faster than it is taken (`Transit`) waits so long.
   */
  start(receive: (message: Message) => unknown, closed: (error: Error | null) => void): void;
  send(message: Message): void;
  close(): void;
}
