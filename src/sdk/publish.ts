/** The payload of `event.publish`: the event's own payload travels in base64. */
import { base64Encode } from "../base/bytes.ts";
import type { Payload } from "../protocol/message.ts";

export function publishPayload(topic: string, flags: number, payload: Payload | null): object {
  return payload === null ? { topic, flags } : { topic, flags, payload: base64Encode(payload.bytes) };
}
