/** A huge object comes back with members added, its text unread. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Payload, type PieceSource } from "../protocol/message.ts";
import { echoWith } from "./echo.ts";

function cut(text: string, length: number): PieceSource {
  const bytes = Buffer.from(text);
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < bytes.byteLength; start += length) pieces.push(bytes.subarray(start, start + length));
  return { byteLength: bytes.byteLength, pieces: () => pieces.values() };
}

test("members are added at the end, wherever the text is cut; what was there before does not count twice", () => {
  const text = `${JSON.stringify({ seq: 1, pad: "é".repeat(50), rank: 7 })}\0`;
  for (let length = 1; length < 40; length++) {
    const echo = echoWith(cut(text, length), { rank: 0, route: "a!b" })!;
    const payload = Payload.pieces(echo);
    assert.equal(payload.bytes.byteLength, echo.byteLength);
    assert.deepEqual(payload.value, { seq: 1, pad: "é".repeat(50), rank: 0, route: "a!b" });
  }
});

test("what does not end as an object does is left to others", () => {
  for (const text of ["", "\0", "{}\0", "{", '{"a":1}', '{"a":[1]\0', "3\0"])
    assert.equal(echoWith(cut(text, 2), { rank: 0 }), null);
});
