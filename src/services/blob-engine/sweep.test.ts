/** Sweeping from outside, as flux-gc(1) does: what checkpoints reach besides their root stays, though nobody marked it. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hexDecode, hexEncode, utf8Encode } from "../../base/bytes.ts";
import { encodeBlobs } from "../../sdk/blob-batch.ts";
import { MemoryBlobFile } from "../../testkit/blob-file.ts";
import { BlobTables } from "../../testkit/blob-tables.ts";
import { BlobEngine } from "./engine.ts";

const digest = (data: Uint8Array): Uint8Array => new Uint8Array(createHash("sha1").update(data).digest());

function blobrefOf(text: string): string {
  return `sha1-${hexEncode(digest(utf8Encode(text)))}`;
}

function directory(entries: Readonly<Record<string, string>>): string {
  const data: Record<string, object> = {};
  for (const [name, text] of Object.entries(entries))
    data[name] = { ver: 1, type: text.startsWith("{") ? "dirref" : "valref", data: [blobrefOf(text)] };
  return JSON.stringify({ data, type: "dir", ver: 1 });
}

function emptyEngine(): BlobEngine {
  const options = { digest, digestLength: 20, nowMs: () => 0, checkpointsKept: 3, sizeLimitBytes: null };
  return new BlobEngine(new MemoryBlobFile(new BlobTables(), { begin: () => {} }), options, {
    forget: () => assert.fail("the collector has no reason to work"),
    checkpointWanted: () => assert.fail("nothing is adopted"),
    trouble: (error) => assert.fail(error),
  });
}

const ALL = { after: 0, deleteMax: 1000, window: 1000 };

test("what clients stored lately is swept by its epoch, unless it is to be spared", () => {
  const engine = emptyEngine();
  engine.store(encodeBlobs([utf8Encode("of a client")]), true);
  engine.putCheckpoint("{}");
  const { epoch, lastRowid } = engine.epochInfo(null);
  const sweep = (spareLeased: boolean): number =>
    engine.sweep({ ...ALL, epoch, through: lastRowid, spareLeased }).digests.byteLength / 20;
  assert.equal(sweep(true), 0);
  assert.equal(sweep(false), 1);
});

test("a sweep spares the namespaces of kept checkpoints and the versions that are held", () => {
  const engine = emptyEngine();
  const guest = directory({ key: "in a namespace" });
  const namespaces = directory({ roots: directory({ guest }), meta: directory({ guest: "meta" }) });
  const held = directory({ key: "in a held version" });
  const root = directory({ key: "in the primary namespace" });
  const namespaceBlobs = [
    "in a namespace",
    guest,
    directory({ guest }),
    "meta",
    directory({ guest: "meta" }),
    namespaces,
  ];
  const kept = [...namespaceBlobs, "in a held version", held, "in the primary namespace", root];
  engine.store(encodeBlobs([...kept, "garbage"].map(utf8Encode)), false);
  const log = { number: 1, namespaces: blobrefOf(namespaces), held: [blobrefOf(held)] };
  engine.putCheckpoint(JSON.stringify({ version: 1, rootref: blobrefOf(root), sequence: 1, timestamp: 1, log }));
  const { epoch, lastRowid } = engine.epochInfo(null);
  for (const marked of [root, "in the primary namespace"]) engine.mark(epoch, digest(utf8Encode(marked)));
  const { digests } = engine.sweep({ ...ALL, epoch, through: lastRowid, spareLeased: true });
  assert.deepEqual(hexEncode(digests), hexEncode(digest(utf8Encode("garbage"))));
  for (const text of kept) assert.ok(engine.has(hexDecode(blobrefOf(text).slice(5))!), text);
});
