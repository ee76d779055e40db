/** Reading past the caches: what only the key-value store has yet is given too, directories in pieces as one. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hexEncode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { directoryTextOf, pieceText, wideDirectoryText } from "../../formats/wide-directory.ts";
import { Payload } from "../../protocol/message.ts";
import type { Handle } from "../../sdk/handle.ts";
import { loadUnsaved } from "./unsaved.ts";

const digest = (text: string): Uint8Array => new Uint8Array(createHash("sha1").update(text).digest());

/** A handle on whose other side a key-value store has these blobs. */
function handleTo(texts: readonly string[]): Handle {
  const blobs = new Map(texts.map((text) => [hexEncode(digest(text)), utf8Encode(text)]));
  const call = async (topic: string, wanted: Uint8Array): Promise<Payload> => {
    assert.equal(topic, "kvs.load-blob");
    const blob = blobs.get(hexEncode(wanted));
    if (blob === undefined) throw new FluxError("ENOENT");
    return Payload.raw(blob);
  };
  return { call } as unknown as Handle;
}

test("a blob that is only in the log, and one that is nowhere", async () => {
  const handle = handleTo(["value"]);
  const loaded = await loadUnsaved(handle, digest("value"), async () => null);
  assert.equal(utf8Decode(loaded!), "value");
  assert.equal(await loadUnsaved(handle, digest("other"), async () => null), null);
});

test("a directory in pieces, one of them stored, one not, or neither", async () => {
  const pieces = ['"a":1', '"b":2'].map((member) => directoryTextOf([member]));
  const members = pieces.map((piece, index) => ({ first: "ab"[index]!, ref: `sha1-${hexEncode(digest(piece))}` }));
  const wide = wideDirectoryText(members.map(pieceText), 2);
  const stored = async (wanted: Uint8Array): Promise<Uint8Array | null> =>
    hexEncode(wanted) === hexEncode(digest(pieces[0]!)) ? utf8Encode(pieces[0]!) : null;
  const loaded = await loadUnsaved(handleTo([wide, pieces[1]!]), digest(wide), stored);
  assert.equal(utf8Decode(loaded!), directoryTextOf(['"a":1', '"b":2']));
  await assert.rejects(loadUnsaved(handleTo([wide]), digest(wide), stored), /a piece of a directory is missing/);
});
