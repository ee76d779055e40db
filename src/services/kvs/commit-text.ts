/**
 * Reads the JSON text of a commit some operations at a time: JSON.parse of very many of them at once would hold up everybody
 * else.
 *
 * Pure. What it answers is what the parser says of the whole text; a text that is no commit is parsed as a whole.
 */
import { concatBytes, utf8Decode, utf8DecodeStrict } from "../../base/bytes.ts";
import { parseJson, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Payload } from "../../protocol/message.ts";

/** How much text is looked at, or parsed, between two rests, in bytes. */
export const TEXT_SLICE_BYTES: number = 64 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** The name before the array of operations, as writers of JSON write it. */
const NAME = '"ops"';
const END_OF_TEXT: Uint8Array = Uint8Array.of(0);

/** Rests where it yields. Throws EPROTO, EINVAL where the text is no JSON object. */
export function* readCommitText(payload: Uint8Array): Generator<void, JsonObject> {
  const whole = Payload.raw(payload);
  const end = payload.byteLength - 1;
  if (payload[end] !== 0) return whole.value;
  const bytes = payload.subarray(0, end);
  const array = yield* findOperations(bytes);
  if (array === null) return whole.value;
  const operations: JsonValue[] = [];
  for (let part = 1; part < array.length; part++) {
    const text = utf8DecodeStrict(bytes.subarray(array[part - 1]! + 1, array[part]));
    if (text === null) return whole.value;
    // An empty array has no item before its end.
    if (array.length === 2 && text.trim() === "") break;
    for (const operation of parseJson(`[${text}]`) as JsonValue[]) operations.push(operation);
    yield;
  }
  const frame = concatBytes([bytes.subarray(0, array[0]! + 1), bytes.subarray(array.at(-1)), END_OF_TEXT]);
  return { ...Payload.raw(frame).value, ops: operations };
}

/**
 * Where the array of operations begins, where it may be cut (at commas between its items), and where it ends. Null where
 * there is no such array, or more than one.
 */
function* findOperations(bytes: Uint8Array): Generator<void, number[] | null> {
  let found: number[] | null = null;
  let depth = 0;
  let isInside = false;
  let lastName = "";
  let rest = TEXT_SLICE_BYTES;
  for (let position = 0; position < bytes.byteLength; position++) {
    if (position >= rest) {
      rest = position + TEXT_SLICE_BYTES;
      yield;
    }
    const byte = bytes[position]!;
    if (byte === QUOTE) {
      const end = endOfString(bytes, position + 1);
      // Names are short; a longer string is none that matters.
      if (depth === 1) lastName = end - position < NAME.length ? utf8Decode(bytes.subarray(position, end + 1)) : "";
      position = end;
    } else if (byte === OPEN_BRACKET || byte === OPEN_BRACE) {
      depth += 1;
      if (depth === 2 && byte === OPEN_BRACKET && lastName === NAME) {
        if (found !== null) return null;
        found = [position];
        isInside = true;
      }
    } else if (byte === CLOSE_BRACKET || byte === CLOSE_BRACE) {
      if (depth === 2 && isInside) {
        isInside = false;
        found!.push(position);
      }
      depth -= 1;
    } else if (byte === COMMA) {
      if (depth === 1) lastName = "";
      if (depth === 2 && isInside && position - found!.at(-1)! >= TEXT_SLICE_BYTES) found!.push(position);
    }
  }
  return isInside ? null : found;
}

/** The place of the quote that ends a string, or the length where nothing does. */
function endOfString(bytes: Uint8Array, from: number): number {
  let position = from;
  while (position < bytes.byteLength && bytes[position] !== QUOTE) position += bytes[position] === BACKSLASH ? 2 : 1;
  return Math.min(position, bytes.byteLength);
}
