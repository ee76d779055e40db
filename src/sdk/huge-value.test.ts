/** Answers that are made while they are sent: the same bytes as at once, in small pieces. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { base64Decode } from "../base/bytes.ts";
import { Payload } from "../protocol/message.ts";
import { lookupAnswer, valOfPieces } from "./huge-value.ts";

function pieces(lengths: readonly number[]): Uint8Array[] {
  return lengths.map((length, index) => Uint8Array.from({ length }, (_, at) => (at * 7 + index) & 0xff));
}

test("any pieces give the base64 of the whole, in short steps and of the length announced", () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 300_000 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(lengths, (each) => {
      const parts = pieces([...each, 140_000]);
      const value = valOfPieces(parts);
      const whole = Buffer.concat(parts);
      const answer = lookupAnswer(value, { rootseq: 3 });
      assert.ok(answer instanceof Payload);
      const made: Uint8Array[] = [];
      const iterator = answer.source!.pieces();
      for (let next = iterator.next(); next.done !== true; next = iterator.next()) made.push(next.value);
      assert.ok(made.every((piece) => piece.byteLength <= 150_000));
      const bytes = Buffer.concat(made);
      assert.equal(bytes.byteLength, answer.byteLength);
      assert.equal(bytes.at(-1), 0);
      const { val, rootseq } = JSON.parse(bytes.subarray(0, -1).toString()) as {
        val: { data: string };
        rootseq: number;
      };
      assert.equal(rootseq, 3);
      assert.equal(whole.compare(base64Decode(val.data)!), 0);
    }),
    { numRuns: 30 },
  );
});

test("in the same process it is a tree object like any other", () => {
  const value = valOfPieces(pieces([200_000]));
  const answer = lookupAnswer(value) as Payload;
  const { data } = (answer.value as unknown as { val: { data: string } }).val;
  assert.equal(Buffer.from(data, "base64").compare(pieces([200_000])[0]!), 0);
  assert.deepEqual(Object.keys(value).sort(), ["data", "type", "ver"]);
});

test("a short value is answered at once", () => {
  assert.deepEqual(lookupAnswer(valOfPieces(pieces([0, 2, 1]))), {
    val: { ver: 1, type: "val", data: Buffer.concat(pieces([0, 2, 1])).toString("base64") },
  });
});
