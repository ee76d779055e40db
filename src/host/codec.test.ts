import assert from "node:assert/strict";
import { test } from "node:test";
import { hexEncode, utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import { nodeCodec } from "./codec.ts";
import { nodeRandom } from "./random.ts";

const codec = nodeCodec();
const random = nodeRandom();
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

test("digests are those of the standards", () => {
  assert.equal(hexEncode(codec.digest("sha1", utf8Encode("abc"))), "a9993e364706816aba3e25717850c26c9cd0d89d");
  assert.equal(
    hexEncode(codec.digest("sha256", new Uint8Array(0))),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
});

test("what is compressed comes back, and is a zstd frame", () => {
  for (const length of [0, 1, 1000, 300_000]) {
    const data = new Uint8Array(length).map((_, index) => (index >> 4) & 0xff);
    const compressed = codec.compress(data);
    assert.equal(hexEncode(compressed.subarray(0, 4)), "28b52ffd");
    assert.deepEqual(new Uint8Array(codec.decompress(compressed)), data);
  }
  assert.throws(
    () => codec.decompress(utf8Encode("not compressed")),
    (error) => isFluxError(error, "EPROTO"),
  );
});

test("X25519 gives the secret of the example in RFC 7748 section 6.1", () => {
  const secret = codec.sharedSecret(
    fromHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
    fromHex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
  );
  assert.equal(hexEncode(secret), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
});

test("both owners of key pairs reach the same secret; another pair reaches another", () => {
  const [one, two, three] = [codec.generateKeyPair(), codec.generateKeyPair(), codec.generateKeyPair()];
  assert.deepEqual([one.publicKey.byteLength, one.privateKey.byteLength], [32, 32]);
  const secret = codec.sharedSecret(one.privateKey, two.publicKey);
  assert.deepEqual(codec.sharedSecret(two.privateKey, one.publicKey), secret);
  assert.notDeepEqual(codec.sharedSecret(three.privateKey, one.publicKey), secret);
});

test("keys that are no keys are refused", () => {
  const { privateKey } = codec.generateKeyPair();
  assert.throws(
    () => codec.sharedSecret(privateKey, new Uint8Array(31)),
    (error) => isFluxError(error, "EINVAL"),
  );
  assert.throws(
    () => codec.sharedSecret(privateKey, new Uint8Array(32)),
    (error) => isFluxError(error, "EPROTO"),
  );
});

test("random bytes have the length asked for and differ; a UUID is one of version 4", () => {
  assert.deepEqual(
    [0, 1, 16, 5000, 70_000].map((length) => random.bytes(length).byteLength),
    [0, 1, 16, 5000, 70_000],
  );
  const seen = new Set(Array.from({ length: 1000 }, () => hexEncode(random.bytes(16))));
  assert.equal(seen.size, 1000);
  assert.match(random.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
