/** Long values in pieces: a bounded number under way, in order, whatever the chunks; errors of either side are told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError } from "../base/errors.ts";
import { MessageType, responseTo, errorResponseTo, Payload, type Message } from "../protocol/message.ts";
import type { MessageChannel } from "./channel.ts";
import { Handle } from "./handle.ts";
import { loadBlobs, storeValue, VALUE_PIECE_BYTES } from "./value-stream.ts";

/** A content service in the hand of the test: stores by number, answers when it is told to. */
class Content {
  readonly blobs: Uint8Array[] = [];
  underWay = 0;
  mostUnderWay = 0;
  readonly handle: Handle;
  #receive: (message: Message) => void = () => {};
  /** An error for a request, by its number, instead of the answer. */
  refuse: (count: number) => FluxError | null = () => null;
  #count = 0;

  constructor() {
    const channel: MessageChannel = {
      start: (receive) => (this.#receive = receive),
      send: (message) => this.#take(message),
      close: () => {},
    };
    this.handle = new Handle(channel);
  }

  #take(message: Message): void {
    if (message.type !== MessageType.Request) return;
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    const error = this.refuse(this.#count++);
    setImmediate(() => {
      this.underWay--;
      this.#receive(error === null ? responseTo(message, 0, this.#answer(message)) : errorResponseTo(message, error));
    });
  }

  #answer({ topic, payload }: Message): Payload {
    if (topic === "content.load")
      return Payload.raw(this.blobs[new DataView(payload!.bytes.slice().buffer).getUint32(0)]!);
    const digest = new Uint8Array(20);
    new DataView(digest.buffer).setUint32(0, this.blobs.push(payload!.bytes.slice()) - 1);
    return Payload.raw(digest);
  }
}

function* chunks(lengths: readonly number[]): Generator<Uint8Array> {
  let fill = 0;
  for (const length of lengths) yield new Uint8Array(length).fill(++fill);
}

async function roundTrip(lengths: readonly number[]): Promise<Content> {
  const content = new Content();
  const object = await storeValue(content.handle, chunks(lengths));
  const wanted = Buffer.concat([...chunks(lengths)]);
  assert.equal(object.type, "valref");
  const got: Uint8Array[] = [];
  for await (const piece of loadBlobs(content.handle, object.data as readonly string[])) got.push(piece);
  assert.equal(Buffer.concat(got).compare(wanted), 0);
  return content;
}

test("a value comes back whole, however it was cut, from blobs of one length and a rest", async () => {
  for (const lengths of [
    [VALUE_PIECE_BYTES],
    [VALUE_PIECE_BYTES + 1],
    [10, VALUE_PIECE_BYTES, 5],
    [3 * VALUE_PIECE_BYTES, 0, 7],
    Array.from({ length: 100 }, () => 65_537),
  ]) {
    const { blobs } = await roundTrip(lengths);
    assert.ok(blobs.slice(0, -1).every((blob) => blob.byteLength === VALUE_PIECE_BYTES));
  }
});

test("however long the value is, few pieces are under way", async () => {
  const content = await roundTrip(Array.from({ length: 40 }, () => VALUE_PIECE_BYTES));
  assert.ok(content.mostUnderWay > 1 && content.mostUnderWay <= 8, String(content.mostUnderWay));
});

test("the source is not asked for more than fits the window", async () => {
  const content = new Content();
  let asked = 0;
  function* endless(): Generator<Uint8Array> {
    for (; asked < 30; asked++) {
      assert.ok(asked - content.blobs.length <= 8, `${asked} asked for, ${content.blobs.length} stored`);
      yield new Uint8Array(VALUE_PIECE_BYTES);
    }
  }
  await storeValue(content.handle, endless());
  assert.equal(asked, 30);
});

test("a short value, an empty one too, needs no blob", async () => {
  const content = new Content();
  assert.deepEqual(await storeValue(content.handle, []), { ver: 1, type: "val", data: "" });
  assert.deepEqual(await storeValue(content.handle, [Buffer.from("ab"), Buffer.from("c")]), {
    ver: 1,
    type: "val",
    data: "YWJj",
  });
  assert.equal(content.blobs.length, 0);
});

test("who may not store blobs sends the value whole", async () => {
  const content = new Content();
  content.refuse = () => new FluxError("EPERM");
  const object = await storeValue(content.handle, chunks([VALUE_PIECE_BYTES, 100_000]));
  assert.ok(object.type === "val");
  assert.equal(Buffer.from(object.data, "base64").compare(Buffer.concat([...chunks([VALUE_PIECE_BYTES, 100_000])])), 0);
});

test("a store that refuses in the middle, and a source that fails, are the error of the whole", async () => {
  const content = new Content();
  content.refuse = (count) => (count === 3 ? new FluxError("ENOSPC") : null);
  const many = Array.from({ length: 20 }, () => VALUE_PIECE_BYTES);
  await assert.rejects(storeValue(content.handle, chunks(many)), (error) => isFluxError(error, "ENOSPC"));
  function* broken(): Generator<Uint8Array> {
    yield new Uint8Array(VALUE_PIECE_BYTES);
    throw new FluxError("EIO", "the source broke");
  }
  await assert.rejects(storeValue(new Content().handle, broken()), /the source broke/);
});

test("a missing blob is named", async () => {
  const content = new Content();
  content.refuse = () => new FluxError("ENOENT");
  const ref = `sha1-${"0".repeat(40)}`;
  await assert.rejects(loadBlobs(content.handle, [ref]).next(), (error) => {
    return isFluxError(error, "EIO") && (error as Error).message.includes(ref);
  });
});
