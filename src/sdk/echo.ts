/** Sends a huge JSON object back with some members added: its text goes back as it came, unparsed. */
import { latin1Encode } from "../base/bytes.ts";
import { stringifyJson, type JsonObject } from "../base/json.ts";
import type { PieceSource } from "../protocol/message.ts";

/** What an object ends with, and the NUL after its text. */
const END: readonly number[] = [0x7d, 0];

const OPEN_BRACE = 0x7b;

/** The same with members added at its end; null where the text does not end as an object with members does. */
export function echoWith(source: PieceSource, added: JsonObject): PieceSource | null {
  const pieces: Uint8Array[] = [];
  const reading = source.pieces();
  for (let next = reading.next(); next.done !== true; next = reading.next()) pieces.push(next.value);
  for (const byte of END.toReversed()) {
    while (pieces.at(-1)?.byteLength === 0) pieces.pop();
    const last = pieces.pop();
    if (last === undefined || last.at(-1) !== byte) return null;
    pieces.push(last.subarray(0, last.byteLength - 1));
  }
  if (pieces.findLast((piece) => piece.byteLength > 0)?.at(-1) === OPEN_BRACE) return null;
  const tail = latin1Encode(`,${stringifyJson(added).slice(1)}\0`);
  const byteLength = source.byteLength - END.length + tail.byteLength;
  return { byteLength, pieces: () => [...pieces, tail].values() };
}
