import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Payload } from "../protocol/message.ts";
import { decodeBlobs, encodeBlobs, encodePayloads } from "./blob-batch.ts";

test("blobs come out of a batch as they went in, empty ones too", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), (blobs) => {
      assert.deepEqual(
        decodeBlobs(encodeBlobs(blobs)).map((blob) => [...blob]),
        blobs.map((blob) => [...blob]),
      );
    }),
  );
});

test("a batch that is cut short is refused", () => {
  const bytes = encodeBlobs([Uint8Array.of(1, 2, 3)]);
  for (let length = 1; length < bytes.byteLength; length++)
    assert.throws(() => decodeBlobs(bytes.subarray(0, length)), /a batch of blobs is cut short/);
});

test("blobs that came in pieces, or not at all, make the same batch", () => {
  const blobs = [Buffer.from("abc"), Buffer.from(""), Buffer.from("defgh")];
  const inPieces = Payload.pieces({ byteLength: 5, pieces: () => [Buffer.from("de"), Buffer.from("fgh")].values() });
  assert.deepEqual(encodePayloads([Payload.raw(blobs[0]!), null, inPieces]), encodeBlobs(blobs));
});
