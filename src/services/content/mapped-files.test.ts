/** Files as blobs, without storing them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blobrefDigest } from "../../formats/blobref.ts";
import { FluxError } from "../../base/errors.ts";
import { nodeClock } from "../../host/clock.ts";
import { nodeCodec } from "../../host/codec.ts";
import { SimulatedFileTree } from "../../testkit/file-tree.ts";
import { MappedFiles } from "./mapped-files.ts";

async function mapped(action: (map: MappedFiles, files: SimulatedFileTree) => Promise<void>): Promise<void> {
  const files = new SimulatedFileTree();
  await action(new MappedFiles({ files, codec: nodeCodec(), clock: nodeClock() }, "sha1"), files);
}

const digestOf = (data: Uint8Array): Uint8Array => nodeCodec().digest("sha1", data);

test("the data of a file is found by digest, piece by piece, until its tag is let go", () =>
  mapped(async (map, files) => {
    const file = files.create("/image", 0o600);
    const data = Uint8Array.from({ length: 10_000 }, (_, index) => (index * 7 + 1) % 251);
    file.write(0, data);
    await map.add("/image", 4096, "vm");
    assert.deepEqual(map.statistics, { tags: { vm: ["/image"] }, blobs: 3 });
    assert.deepEqual(map.load(digestOf(data.slice(4096, 8192))), data.slice(4096, 8192));
    assert.deepEqual(map.load(digestOf(data.slice(8192))), data.slice(8192));
    assert.equal(map.load(blobrefDigest(`sha1-${"00".repeat(20)}`)), null);
    map.remove("vm");
    assert.equal(map.load(digestOf(data.slice(8192))), null);
    assert.deepEqual(map.statistics, { tags: {}, blobs: 0 });
  }));

test("a file that has changed, or is gone, gives an error and never other data", () =>
  mapped(async (map, files) => {
    const file = files.create("/image", 0o600);
    file.write(0, Uint8Array.of(1, 2, 3));
    await map.add("/image", 0, "vm");
    const digest = digestOf(Uint8Array.of(1, 2, 3));
    file.write(1, Uint8Array.of(9));
    const changed = map.load(digest);
    assert.ok(changed instanceof FluxError && changed.message === "mapped file content has changed");
    files.removeFile("/image");
    const gone = map.load(digest);
    assert.ok(gone instanceof FluxError && gone.is("ENOENT") && gone.message.startsWith("mapped file /image: "));
  }));

test("only regular files, by absolute paths, are mapped", () =>
  mapped(async (map, files) => {
    files.makeDirectory("/directory");
    const refused = { "/directory": "EINVAL", "/absent": "ENOENT", relative: "EINVAL" } as const;
    for (const [path, errno] of Object.entries(refused))
      await assert.rejects(map.add(path, 0, "x"), (error: unknown) => error instanceof FluxError && error.is(errno));
  }));
