/**
 * Values that are answered whole although they are huge: their base64 is made a piece at a time, while it is sent.
 *
 * In this process such a value is a tree object like any other, whose text is made when somebody reads it.
 */
import { base64Encode, concatBytes, EMPTY_BYTES, latin1Encode } from "../base/bytes.ts";
import type { JsonObject } from "../base/json.ts";
import { makeVal, type Treeobj, type Val } from "../formats/treeobj.ts";
import { Payload, type PieceSource } from "../protocol/message.ts";

/** A shorter value is encoded at once, in bytes. */
const HUGE_VALUE_BYTES: number = 128 * 1024;
/** How much of a value is encoded at a time, in bytes: a multiple of three. */
const STEP_BYTES: number = 96 * 1024;

/** A value in pieces. Its members are those of a plain one, but for the pieces, which do not travel. */
class HugeVal {
  readonly ver = 1 as const;
  readonly type = "val" as const;
  declare readonly data: string;
  readonly #pieces: readonly Uint8Array[];

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
    Object.defineProperty(this, "data", { enumerable: true, get: () => base64Encode(concatBytes(pieces)) });
  }

  get pieces(): readonly Uint8Array[] {
    return this.#pieces;
  }
}

/** The tree object of a value. */
export function valOfPieces(pieces: readonly Uint8Array[]): Val {
  return lengthOf(pieces) <= HUGE_VALUE_BYTES ? makeVal(concatBytes(pieces)) : new HugeVal(pieces);
}

/** The answer `{val}` to a lookup, with other members. */
export function lookupAnswer(value: Treeobj, others: JsonObject = {}): object | Payload {
  const answer = { ...others, val: value };
  if (!(value instanceof HugeVal)) return answer;
  const before = `{${Object.entries(others)
    .map(([name, other]) => `${JSON.stringify(name)}:${JSON.stringify(other)},`)
    .join("")}"val":{"ver":1,"type":"val","data":"`;
  return Payload.pieces(encodedValue(latin1Encode(before), value.pieces, latin1Encode('"}}\0')), answer as JsonObject);
}

function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of pieces) length += piece.byteLength;
  return length;
}

/** JSON around the base64 of some pieces. */
function encodedValue(before: Uint8Array, pieces: readonly Uint8Array[], after: Uint8Array): PieceSource {
  const byteLength = before.byteLength + Math.ceil(lengthOf(pieces) / 3) * 4 + after.byteLength;
  return { byteLength, isLazy: true, pieces: () => encodedPieces(before, pieces, after) };
}

function* encodedPieces(
  before: Uint8Array,
  pieces: readonly Uint8Array[],
  after: Uint8Array,
): Generator<Uint8Array, void> {
  yield before;
  // What is left of a piece whose length is no multiple of three begins the next one's text.
  let rest: Uint8Array = EMPTY_BYTES;
  for (const piece of pieces)
    for (let start = 0; start < piece.byteLength; start += STEP_BYTES) {
      const step = piece.subarray(start, start + STEP_BYTES);
      const bytes = rest.byteLength === 0 ? step : concatBytes([rest, step]);
      const length = bytes.byteLength - (bytes.byteLength % 3);
      rest = bytes.subarray(length);
      if (length > 0) yield latin1Encode(base64Encode(bytes.subarray(0, length)));
    }
  if (rest.byteLength > 0) yield latin1Encode(base64Encode(rest));
  yield after;
}
