/**
 * What a client can do at most: a server on the socket of a broker that answers each request at once from constants, with
 * our sockets and our message encoding and nothing behind them. Prints its URI; ends with its standard input.
 *
 *     constant-server.ts PATH [VALUE_BYTES]
 */
import { randomBytes } from "node:crypto";
import type { ByteStream } from "../src/base/ports.ts";
import { nodeNet } from "../src/host/net.ts";
import { encodeFrame } from "../src/protocol/codec.ts";
import { FrameReader } from "../src/protocol/frame-reader.ts";
import { MessageType, Payload, responseTo, Role, type Message } from "../src/protocol/message.ts";

const FRAME_BYTES_MAX = 2 ** 31 - 1;
const WELCOME = Uint8Array.of(0);

const path = process.argv[2]!;
const rootref = `sha1-${"0".repeat(40)}`;
const userid = process.getuid!();
const smallValue = lookupAnswer(Buffer.from("1"));
const bigValue = lookupAnswer(randomBytes(Number(process.argv[3] ?? 8 * 1024 * 1024)));
const ownRank = Payload.json({ value: "0", flags: 0 });
let version = 0;

function lookupAnswer(value: Buffer): Payload {
  const val = { type: "val", data: value.toString("base64"), ver: 1 };
  const payload = Payload.json({ flags: 0, rootseq: 1, rootref, val });
  // Encoded once, and kept.
  return Payload.raw(payload.bytes);
}

function answerTo({ topic, payload }: Message): Payload {
  if (topic.endsWith(".commit")) return Payload.json({ rootref, rootseq: ++version });
  if (topic.includes(".lookup")) return payload?.toString().includes("bench.big") === true ? bigValue : smallValue;
  return topic === "attr.get" ? ownRank : (payload ?? Payload.json({}));
}

function serve(stream: ByteStream): void {
  const reader = new FrameReader(FRAME_BYTES_MAX);
  const receive = (message: Message): void => {
    if (message.type !== MessageType.Request) return;
    const response = { ...responseTo(message, 0, answerTo(message)), userid, rolemask: Role.Owner | Role.Local };
    stream.write(encodeFrame(response));
  };
  stream.write(WELCOME);
  stream.start({ data: (chunk) => reader.feed(chunk, receive), close: () => {} });
}

const listener = await nodeNet().listen({ kind: "unix", path }, serve, { mode: 0o700 });
console.log(`local://${path}`);
process.stdin.resume().once("end", () => {
  void listener.close();
  process.exit(0);
});
