/** Links between brokers: large messages do not delay small ones, and nothing is lost or reordered where order counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { PIECE_BYTES_MAX, PieceReader, PieceSender, WINDOW_BYTES } from "./pieces.ts";

const LIMIT = 2 ** 30;

function message(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

/** The next piece, in one. */
function nextOf(sender: PieceSender): Uint8Array | null {
  const piece = sender.next();
  return piece === null ? null : Buffer.concat(piece);
}

function drain(sender: PieceSender): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = nextOf(sender);
    if (piece !== null) pieces.push(piece);
    else if (sender.queuedBytes === 0) return pieces;
    else sender.acknowledged(WINDOW_BYTES);
  }
}

function receive(pieces: readonly Uint8Array[], limit = LIMIT): Uint8Array[] {
  const reader = new PieceReader(limit);
  const messages: Uint8Array[] = [];
  const events = {
    message: (chunks: readonly Uint8Array[]) => void messages.push(new Uint8Array(Buffer.concat(chunks))),
    acknowledged: () => {},
  };
  for (const piece of pieces) reader.feed(piece, events);
  return messages;
}

test("a small message overtakes a large one of another flow after one piece", () => {
  const sender = new PieceSender();
  sender.add("large", message(10 * PIECE_BYTES_MAX, 1));
  const first = nextOf(sender)!;
  sender.add("small", message(10, 2));
  const second = nextOf(sender)!;
  assert.ok(first.byteLength <= PIECE_BYTES_MAX + 16);
  assert.deepEqual(receive([second]), [message(10, 2)]);
});

test("a control message goes before everything that waits", () => {
  const sender = new PieceSender();
  for (let index = 0; index < 5; index++) sender.add(`r${index}`, message(10, index));
  sender.addControl(message(4, 99));
  assert.deepEqual(receive(drain(sender))[0], message(4, 99));
});

test("messages of one flow keep their order, whatever their size", () => {
  const sender = new PieceSender();
  const sizes = [10, 3 * PIECE_BYTES_MAX, 10, 2 * PIECE_BYTES_MAX + 1, 5];
  sizes.forEach((size, index) => sender.add("flow", message(size, index)));
  sender.add("other", message(7, 50));
  const fills = receive(drain(sender))
    .map((bytes) => bytes[0]!)
    .filter((fill) => fill < 50);
  assert.deepEqual(fills, [0, 1, 2, 3, 4]);
});

test("small messages cannot starve a large one", () => {
  const sender = new PieceSender();
  sender.add("large", message(2 * PIECE_BYTES_MAX, 1));
  for (let index = 0; index < 1000; index++) sender.add(`s${index}`, message(10, 2));
  const messages = receive(drain(sender));
  assert.ok(messages.findIndex((bytes) => bytes[0] === 1) < 100);
});

test("any messages come through any cutting of the stream, whole", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 0, max: 200_000 })), { maxLength: 8 }),
      fc.integer({ min: 1, max: 5000 }),
      (specs, step) => {
        const sender = new PieceSender();
        specs.forEach(([flow, size], index) => sender.add(`f${flow}`, message(size, index)));
        const stream = Buffer.concat(drain(sender));
        assert.equal(sender.queuedBytes, 0);
        const chunks: Uint8Array[] = [];
        for (let offset = 0; offset < stream.length; offset += step)
          chunks.push(stream.subarray(offset, offset + step));
        const got = receive(chunks);
        assert.equal(got.length, specs.length);
        const key = (bytes: Uint8Array): string => `${bytes.length}:${bytes[0] ?? "-"}`;
        const wanted = specs.map(([, size], index) => key(message(size, index)));
        assert.deepEqual(got.map(key).sort(), wanted.sort());
      },
    ),
    { numRuns: 60 },
  );
});

test("bytes one at a time", () => {
  const sender = new PieceSender();
  sender.add("a", message(300, 7));
  sender.add("b", message(PIECE_BYTES_MAX + 5, 8));
  const stream = Buffer.concat(drain(sender));
  const got = receive(Array.from(stream, (byte) => Uint8Array.of(byte)));
  assert.deepEqual(
    got.map((bytes) => bytes.length),
    [300, PIECE_BYTES_MAX + 5],
  );
});

test("garbage and messages beyond the limit are refused", () => {
  assert.throws(
    () => receive([new Uint8Array(64).fill(0xff)]),
    (error) => isFluxError(error, "EPROTO"),
  );
  const sender = new PieceSender();
  sender.add("a", message(PIECE_BYTES_MAX * 3, 1));
  assert.throws(
    () => receive(drain(sender), PIECE_BYTES_MAX),
    (error) => isFluxError(error, "EMSGSIZE"),
  );
});

test("of large messages no more than a window is under way; small ones go by, and acknowledgements let more go", () => {
  const sender = new PieceSender();
  sender.add("large", message(4 * WINDOW_BYTES, 1));
  let sent = 0;
  for (let piece = nextOf(sender); piece !== null; piece = nextOf(sender)) sent += piece.byteLength;
  assert.ok(sent >= WINDOW_BYTES && sent < WINDOW_BYTES + 2 * PIECE_BYTES_MAX, String(sent));
  sender.add("small", message(10, 2));
  assert.deepEqual(receive([nextOf(sender)!]), [message(10, 2)]);
  assert.equal(nextOf(sender), null);
  sender.acknowledged(PIECE_BYTES_MAX);
  assert.notEqual(nextOf(sender), null);
  assert.equal(nextOf(sender), null);
});

test("an acknowledgement goes before all else, and is told to the other side", () => {
  const sender = new PieceSender();
  sender.addControl(message(4, 99));
  sender.acknowledge(100);
  sender.acknowledge(23);
  const told: number[] = [];
  new PieceReader(LIMIT).feed(nextOf(sender)!, {
    message: () => assert.fail(),
    acknowledged: (byteLength) => told.push(byteLength),
  });
  assert.deepEqual(told, [123]);
});

test("who sends is told when the last byte of a message is taken, or all is dropped", () => {
  const sender = new PieceSender();
  const gone: string[] = [];
  sender.add("a", message(PIECE_BYTES_MAX + 1, 1), () => gone.push("large"));
  sender.add("a", message(1, 1), () => gone.push("behind"));
  sender.add("b", message(1, 1), () => gone.push("small"));
  nextOf(sender);
  assert.deepEqual(gone, ["small"]);
  nextOf(sender);
  assert.deepEqual(gone, ["small"]);
  nextOf(sender);
  assert.deepEqual(gone, ["small", "large"]);
  sender.clear();
  sender.clear();
  assert.deepEqual(gone, ["small", "large", "behind"]);
});
