import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { concatBytes, hexEncode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { decodeMessage, encodeFrame, encodeMessage } from "./codec.ts";
import { FrameReader } from "./frame-reader.ts";
import { MessageFlag, MessageType, NODEID_ANY, Payload, Role, USERID_UNKNOWN, type Message } from "./message.ts";

const LIMIT_BYTES = 1 << 20;

const attrGet: Message = {
  type: MessageType.Request,
  topic: "attr.get",
  payload: Payload.json({ name: "size" }),
  flags: 0,
  userid: USERID_UNKNOWN,
  rolemask: Role.None,
  route: [],
  nodeid: NODEID_ANY,
  matchtag: 7,
};

/** The bytes that the reference's client library sends and its broker answers. */
const ATTR_GET_HEX =
  "1200eeff00000030" +
  "00" +
  "08617474722e676574" +
  "107b226e616d65223a2273697a65227d00" +
  "148e01010bffffffff00000000ffffffff00000007";
const RESPONSE_HEX =
  "1200eeff00000038" +
  "00" +
  "08617474722e676574" +
  "187b2276616c7565223a2232222c22666c616773223a317d00" +
  "148e01020b00000000000000050000000000000007";

/** A view of a message in which payloads compare by their bytes. */
function comparable(message: Message): unknown {
  return { ...message, payload: message.payload === null ? null : hexEncode(message.payload.bytes) };
}

function readAll(chunks: Iterable<Uint8Array>, limitBytes = LIMIT_BYTES): Message[] {
  const reader = new FrameReader(limitBytes);
  const messages: Message[] = [];
  for (const chunk of chunks) reader.feed(chunk, (message) => messages.push(message));
  return messages;
}

function oneByOne(bytes: Uint8Array): Uint8Array[] {
  return [...bytes].map((byte) => new Uint8Array([byte]));
}

test("a request has the bytes that the reference's client sends", () => {
  assert.equal(hexEncode(encodeFrame(attrGet)), ATTR_GET_HEX);
});

test("the answer of the reference's broker decodes", () => {
  const [response] = readAll(oneByOne(Buffer.from(RESPONSE_HEX, "hex")));
  assert.deepEqual(comparable(response!), {
    type: MessageType.Response,
    topic: "attr.get",
    payload: Buffer.from('{"value":"2","flags":1}\0').toString("hex"),
    flags: 0,
    userid: 0,
    rolemask: Role.Owner | Role.Local,
    route: [],
    errnum: 0,
    matchtag: 7,
  });
  assert.deepEqual(response!.payload!.value, { value: "2", flags: 1 });
});

const word = fc.string({ unit: fc.constantFrom(..."abcxyz.-0"), minLength: 1, maxLength: 300 });
const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const flagSets = fc.constantFrom(
  0,
  MessageFlag.NoResponse,
  MessageFlag.Streaming,
  MessageFlag.Private,
  MessageFlag.Upstream,
  MessageFlag.User1,
  MessageFlag.Streaming | MessageFlag.Upstream,
);
const payloads = fc.option(fc.uint8Array({ maxLength: 600 }).map((bytes) => Payload.raw(bytes)));
const routes = fc.array(fc.string({ unit: fc.constantFrom(..."abcdef0123456789-"), minLength: 1, maxLength: 40 }), {
  maxLength: 5,
});
const messages: fc.Arbitrary<Message> = fc
  .record({
    topic: word,
    payload: payloads,
    flags: flagSets,
    userid: uint32,
    rolemask: uint32,
    route: routes,
    first: uint32,
    second: uint32,
    kind: fc.constantFrom("request", "response", "event", "control"),
  })
  .map(({ kind, first, second, ...common }): Message => {
    if (kind === "request") return { type: MessageType.Request, ...common, nodeid: first, matchtag: second };
    if (kind === "response") return { type: MessageType.Response, ...common, errnum: first, matchtag: second };
    if (kind === "event") return { type: MessageType.Event, ...common, sequence: first };
    const bare = { ...common, topic: "", route: [], payload: null };
    return { type: MessageType.Control, ...bare, controlType: first, status: second };
  });

test("any message makes a round trip, however its bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(messages, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 700 }), (sent, size) => {
      const bytes = concatBytes(sent.map(encodeFrame));
      const chunks: Uint8Array[] = [];
      for (let offset = 0; offset < bytes.length; offset += size) chunks.push(bytes.slice(offset, offset + size));
      for (const received of [readAll(chunks), readAll(oneByOne(bytes))])
        assert.deepEqual(received.map(comparable), sent.map(comparable));
    }),
    { numRuns: 300 },
  );
});

test("a million random frames are decoded or refused with EPROTO, never anything else", { timeout: 60_000 }, () => {
  let seed = 1;
  const next = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
  const base = encodeMessage(attrGet);
  let refused = 0;
  let accepted = 0;
  for (let round = 0; round < 1_000_000; round++) {
    // Half mutations of a good message, half noise behind a good PROTO part.
    const bytes = base.slice();
    for (let change = (next() >>> 16) % 4; change >= 0; change--) bytes[(next() >>> 8) % bytes.length] = next() >>> 24;
    const cut = (next() >>> 16) % 8 === 0 ? bytes.subarray((next() >>> 8) % bytes.length) : bytes;
    try {
      decodeMessage(cut);
      accepted++;
    } catch (error) {
      if (!(error instanceof FluxError) || !error.is("EPROTO")) throw error;
      refused++;
    }
  }
  assert.ok(accepted > 10_000 && refused > 10_000, `${accepted} accepted, ${refused} refused`);
});

test("wrong magic is refused at the first wrong byte", () => {
  const reader = new FrameReader(LIMIT_BYTES);
  reader.feed(new Uint8Array([0x12, 0x00]), () => assert.fail());
  assert.throws(() => reader.feed(new Uint8Array([0x01]), () => assert.fail()), /wrong magic/);
});

test("a frame beyond the limit is refused before it is gathered", () => {
  const header = Buffer.from("1200eeff7fffffff", "hex");
  assert.throws(
    () => readAll([header]),
    (error) => error instanceof FluxError && error.is("EMSGSIZE"),
  );
});

test("a JSON payload without its NUL, or that is no object, is EPROTO when it is read", () => {
  for (const text of ['{"a":1}', "[1]\0", "x\0", ""])
    assert.throws(
      () => Payload.raw(Buffer.from(text)).value,
      (error) => error instanceof FluxError && error.is("EPROTO"),
      text,
    );
});
