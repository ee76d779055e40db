/** Archives of files: what goes in on one rank comes out on another, and nowhere else than it should. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { decodeArchive } from "../formats/archive.ts";
import { nodeCodec } from "../host/codec.ts";
import { SimulatedFileTree } from "../testkit/file-tree.ts";
import { SimulatedInstance } from "../testkit/instance.ts";
import { World } from "../testkit/world.ts";
import { createArchive, type ArchiveCreation } from "./archive-create.ts";
import { extractArchive, type Extraction } from "./archive-extract.ts";
import { archiveBlobsKey, matchingEntries, readArchive, readArchiveList, removeArchive } from "./archive.ts";
import type { Handle } from "./handle.ts";
import { Kvs } from "./kvs.ts";

async function play(seed: string, scene: (near: Kvs, far: Kvs) => Promise<void>): Promise<void> {
  const world = new World(seed);
  const instance = new SimulatedInstance(world, {
    size: 3,
    workload: async ({ handle, connect }) => {
      await scene(new Kvs(handle), new Kvs(await connect(2)));
      return 0;
    },
  });
  assert.ok(await instance.runToEnd(600_000), instance.stderr.join(""));
  assert.deepEqual(instance.exitCodes, [0, 0, 0], instance.stderr.join(""));
}

function file(tree: SimulatedFileTree, path: string, content: string | Uint8Array, permissions = 0o644): void {
  const opened = tree.create(path, permissions);
  opened.write(0, typeof content === "string" ? utf8Encode(content) : content);
}

function directories(tree: SimulatedFileTree, ...paths: readonly string[]): void {
  for (const path of paths) tree.makeDirectory(path);
}

function sample(): SimulatedFileTree {
  const tree = new SimulatedFileTree();
  directories(tree, "/home", "/home/data", "/home/data/empty dir", "/home/data/ünï");
  file(tree, "/home/data/small", "few bytes\n", 0o755);
  file(tree, "/home/data/none", "");
  file(tree, "/home/data/large", "x".repeat(5000), 0o600);
  file(tree, "/home/data/ünï/bytes", Uint8Array.of(0xff, 0, 0xfe));
  const sparse = new Uint8Array(40_000);
  sparse.set(utf8Encode("begin"), 0);
  sparse.set(utf8Encode("end"), 39_997);
  file(tree, "/home/data/sparse", sparse);
  tree.create("/home/data/hole", 0o644).setLength(20_000);
  tree.makeLink("small", "/home/data/link");
  tree.setPermissions("/home/data/empty dir", 0o555);
  return tree;
}

function creation(changes: Partial<ArchiveCreation> = {}): ArchiveCreation {
  return {
    name: "main",
    paths: ["data"],
    directory: "/home",
    existing: "refuse",
    chunkBytes: 2048,
    smallFileBytes: 1024,
    isMapped: false,
    ...changes,
  };
}

const make = (kvs: Kvs, tree: SimulatedFileTree, changes: Partial<ArchiveCreation> = {}): Promise<void> =>
  createArchive(kvs, { files: tree, codec: nodeCodec() }, creation(changes));

function unpack(
  handle: Handle,
  tree: SimulatedFileTree,
  list: unknown,
  changes: Partial<Extraction> = {},
): Promise<void> {
  const entries = decodeArchive(list as Parameters<typeof decodeArchive>[0]);
  const extraction = { directory: "/out", overwrites: false, allowsOutsideLinks: false, ...changes };
  return extractArchive(handle, tree, entries, extraction);
}

function destination(): SimulatedFileTree {
  const tree = new SimulatedFileTree();
  tree.makeDirectory("/out");
  return tree;
}

const fails =
  (errno: string, text: string | RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof FluxError, String(error));
    assert.match(error.message, typeof text === "string" ? new RegExp(text) : text);
    return error.is(errno as "EIO");
  };

test("a tree of files comes out on another rank as it went in", () =>
  play("round trip", async (near, far) => {
    const tree = sample();
    await make(near, tree);
    const out = destination();
    await far.waitCreate("archive.main");
    await extractArchive(far.handle, out, await readArchive(far, "main"), {
      directory: "/out",
      overwrites: false,
      allowsOutsideLinks: false,
    });
    assert.deepEqual(out.content("/out"), { ...tree.content("/home") });
  }));

test("holes are not stored; small files stand in the list; blobs are cut, and referred to", () =>
  play("form", async (near) => {
    await make(near, sample());
    const entries = new Map((await readArchive(near, "main")).map((entry) => [entry.path, entry]));
    const sparse = entries.get("data/sparse")!;
    assert.ok(sparse.kind === "blobs");
    assert.deepEqual(
      sparse.regions.map(([offset, size]) => [offset, size]),
      [
        [0, 2048],
        [2048, 2048],
        [36_864, 2048],
        [38_912, 1088],
      ],
    );
    assert.equal(entries.get("data/hole")!.kind, "empty");
    assert.equal(entries.get("data/small")!.kind, "bytes");
    const references = Object.keys(await near.getDirectory(archiveBlobsKey("main")));
    // Of the seven chunks two of `large` are the same, and two of zeros.
    assert.equal(references.length, 5);
    await removeArchive(near, "main");
    for (const key of ["archive.main", archiveBlobsKey("main")])
      await assert.rejects(near.get(key), fails("ENOENT", ""));
  }));

test("an archive that exists is refused, replaced or added to", () =>
  play("existing", async (near) => {
    const tree = sample();
    await make(near, tree, { paths: ["data/small"] });
    await assert.rejects(make(near, tree), fails("EEXIST", "archive.main: key exists"));
    await make(near, tree, { paths: ["data/large"], existing: "append" });
    await make(near, tree, { paths: ["data/sparse"], existing: "append" });
    const paths = async (): Promise<string[]> => (await readArchive(near, "main")).map(({ path }) => path);
    assert.deepEqual(await paths(), ["data/small", "data/large", "data/sparse"]);
    assert.equal(Object.keys(await near.getDirectory(archiveBlobsKey("main"))).length, 5);
    await make(near, tree, { paths: ["data/none"], existing: "overwrite" });
    assert.deepEqual(await paths(), ["data/none"]);
  }));

test("what cannot be archived is named, and leaves no archive", () =>
  play("refusals", async (near) => {
    const tree = sample();
    tree.makeOther("/home/data/ünï/pipe");
    await assert.rejects(make(near, tree), fails("EINVAL", /^data\/ünï\/pipe: unsupported file type$/));
    await assert.rejects(make(near, tree, { paths: ["absent"] }), fails("ENOENT", /^absent: /));
    await assert.rejects(make(near, tree, { paths: ["data/../data"] }), fails("EINVAL", /-C DIR/));
    await assert.rejects(readArchiveList(near, "main"), fails("ENOENT", ""));
    await near.put("archive.odd", { not: "a list" });
    await assert.rejects(readArchive(near, "odd"), fails("EINVAL", "archive.odd is not an archive"));
  }));

test("patterns choose entries by their paths; a star matches slashes", () => {
  const entries = decodeArchive({ "a/b/c": { mode: 0o100644 }, "a/x": { mode: 0o100644 }, ab: { mode: 0o100644 } });
  const chosen = (pattern: string | null): string[] => matchingEntries(entries, pattern).map(({ path }) => path);
  assert.deepEqual(chosen("a/*"), ["a/b/c", "a/x"]);
  assert.deepEqual(chosen("?b"), ["ab"]);
  assert.deepEqual(chosen("x"), []);
  assert.deepEqual(chosen(null), ["a/b/c", "a/x", "ab"]);
});

test("nothing is written outside of the directory, nor over what is there", () =>
  play("safety", async ({ handle }) => {
    const text = { mode: 0o100644, size: 1, encoding: "utf-8", data: "x" };
    const link = (target: string): object => ({ mode: 0o120777, data: target });
    const refused: [object, string, RegExp][] = [
      [{ "../evil": text }, "EINVAL", /not safe/],
      [{ "/etc/evil": text }, "EINVAL", /not safe/],
      [{ "a/../../evil": text }, "EINVAL", /not safe/],
      [{ way: link("/etc") }, "EPERM", /way: .*leads out/],
      [{ "a/way": link("../../etc") }, "EPERM", /leads out/],
      [{ "a/way": link(".."), "a/way/x": text }, "ENOTDIR", /a\/way is in the way: a symbolic link/],
      [{ device: { mode: 0o020644 } }, "EINVAL", /of no file/],
    ];
    for (const [archive, errno, message] of refused) {
      const tree = destination();
      assert.throws(() => tree.open("/evil"));
      await assert.rejects(async () => unpack(handle, tree, archive), fails(errno, message));
    }
    const tree = destination();
    await unpack(handle, tree, { way: link("/etc") }, { allowsOutsideLinks: true });
    await assert.rejects(unpack(handle, tree, { way: text }), fails("EEXIST", /^way: /));
    // What is replaced is the link, not what it leads to.
    await unpack(handle, tree, { way: text }, { overwrites: true });
    assert.deepEqual(tree.content("/out"), { way: "file 644 x" });
  }));

test("a file that cannot be written whole is not there", () =>
  play("partly", async ({ handle }) => {
    const missing = [[0, 3, `sha1-${"ab".repeat(20)}`]];
    const blobs = { mode: 0o100644, size: 3, encoding: "blobvec", data: missing };
    const tree = destination();
    await assert.rejects(
      unpack(handle, tree, { lost: blobs }),
      fails("ENOENT", /^lost: error loading offset=0 size=3 from sha1-abab/),
    );
    tree.fileBytesMax = 2;
    const text = { mode: 0o100644, size: 3, encoding: "utf-8", data: "abc" };
    await assert.rejects(unpack(handle, tree, { large: text }), fails("ENOSPC", /^large: /));
    assert.deepEqual(tree.content("/out"), {});
  }));

test("a directory that nobody may write to gets its permissions when all is in it", () =>
  play("permissions", async ({ handle }) => {
    const text = { mode: 0o100644, size: 1, encoding: "utf-8", data: "x" };
    const tree = destination();
    await unpack(handle, tree, { closed: { mode: 0o040555 }, "closed/x": text });
    assert.deepEqual(tree.content("/out"), { closed: "directory 555 ", "closed/x": "file 644 x" });
  }));
