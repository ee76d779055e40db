/** Walking, building and repairing trees, in a content store that is a map. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { hexEncode, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { makeDir, makeDirref, makeSymlink, makeVal, makeValref, type Treeobj } from "../../formats/treeobj.ts";
import { wideDirectoryText, pieceText } from "../../formats/wide-directory.ts";
import type { Handle } from "../../sdk/handle.ts";
import { inOrder } from "../../sdk/window.ts";
import { BlobSink } from "./blob-sink.ts";
import { BlobStore } from "./blobs.ts";
import { keyRecords, recordedKey } from "./key-record.ts";
import { rescueDirectory } from "./rescue.ts";
import { Directory } from "./directories.ts";
import { isInline, TreeBuilder } from "./tree-builder.ts";
import { TreeEditor } from "./tree-editor.ts";
import { walkTree } from "./walk.ts";

const bytes = utf8Encode;

class MapStore extends BlobStore {
  readonly blobs = new Map<Blobref, Uint8Array>();
  /** Loads under way now, and the most there were. */
  running = 0;
  most = 0;
  loads = 0;
  failsWith: FluxError | null = null;

  constructor() {
    super({} as Handle, false);
  }

  put(blob: Uint8Array): Blobref {
    const ref = `sha1-${hexEncode(createHash("sha1").update(blob).digest())}`;
    this.blobs.set(ref, blob);
    return ref;
  }
  putObject(object: unknown): Blobref {
    return this.put(bytes(JSON.stringify(object)));
  }

  override async load(ref: Blobref): Promise<Uint8Array> {
    this.loads++;
    this.most = Math.max(this.most, ++this.running);
    await new Promise((resolve) => setImmediate(resolve));
    this.running--;
    const blob = this.blobs.get(ref);
    if (blob === undefined) throw new FluxError("ENOENT");
    return blob;
  }
  override loadStored(ref: Blobref): Promise<Uint8Array> {
    return this.load(ref);
  }
  override async store(blob: Uint8Array): Promise<Blobref> {
    this.most = Math.max(this.most, ++this.running);
    await new Promise((resolve) => setImmediate(resolve));
    this.running--;
    if (this.failsWith !== null) throw this.failsWith;
    return this.put(blob);
  }
}

/** All of a tree: what each event tells. */
async function walked(store: MapStore, rootref: Blobref, window = 4, isWanted?: (ref: Blobref) => boolean) {
  const lines: string[] = [];
  const options = {
    window,
    load: (ref: Blobref) => store.load(ref),
    fetchValue: async ({ data }: { data: readonly Blobref[] }) => data.length,
    ...(isWanted === undefined ? {} : { isWanted }),
  };
  for await (const event of walkTree(rootref, options)) {
    const key = event.path.join(".");
    if (event.kind === "entry") lines.push(`${key} ${event.object.type}`);
    else lines.push(event.kind === "value" ? `${key} of ${event.fetched}` : `${key} ${event.fault}`);
  }
  return lines;
}

describe("a walk", () => {
  test("tells names in order, level by level, directories in directories too", async () => {
    const store = new MapStore();
    const below = store.putObject(
      makeDir({ z: makeVal(bytes("1")), "10": makeVal(bytes("2")), "9": makeVal(bytes("3")) }),
    );
    const root = store.putObject(
      makeDir({
        b: makeDirref(below),
        a: makeValref([below, below]),
        c: makeDir({ x: makeSymlink("b"), y: makeDirref(below) }),
      }),
    );
    const lines = await walked(store, root);
    assert.deepEqual(lines.slice(0, 5), ["a valref", "b dirref", "c dir", "c.x symlink", "c.y dirref"]);
    const rest = ["a of 2", "b.10 val", "b.9 val", "b.z val", "c.y.10 val", "c.y.9 val", "c.y.z val"];
    assert.deepEqual(lines.slice(5), rest);
  });

  test("goes on past what cannot be read", async () => {
    const store = new MapStore();
    const root = store.putObject(
      makeDir({
        gone: makeDirref(`sha1-${"0".repeat(40)}`),
        rubbish: makeDirref(store.put(bytes("rubbish"))),
        value: makeDirref(store.putObject(makeVal(bytes("1")))),
        well: makeVal(bytes("1")),
      }),
    );
    const lines = await walked(store, root);
    assert.deepEqual(lines.slice(4), ["gone missing", "rubbish malformed", "value no-directory"]);
  });

  test("has no more requests under way than it may, and each directory is asked for once", async () => {
    const store = new MapStore();
    const entries: Record<string, Treeobj> = {};
    for (let index = 0; index < 3000; index++)
      entries[`d${index}`] = makeDirref(store.putObject(makeDir({ [`v${index}`]: makeVal(bytes("1")) })));
    const root = store.putObject(makeDir(entries));
    for (const window of [1, 7]) {
      store.loads = 0;
      store.most = 0;
      assert.equal((await walked(store, root, window)).length, 6000);
      assert.equal(store.most, window);
      assert.equal(store.loads, 3001);
    }
  });

  test("leaves out directories that are not wanted, but tells them", async () => {
    const store = new MapStore();
    const below = store.putObject(makeDir({ z: makeVal(bytes("1")) }));
    const root = store.putObject(makeDir({ a: makeDirref(below) }));
    assert.deepEqual(await walked(store, root, 2, () => false), ["a dirref"]);
  });
});

describe("a tree that is built", () => {
  const key = fc.array(fc.constantFrom("a", "b", "c", "é", "10", "9"), { minLength: 1, maxLength: 4 });

  test("has the same root whatever the order of its keys, and is walked as it was built", async () => {
    const entries = fc.uniqueArray(fc.tuple(key, fc.string({ maxLength: 5 })), {
      selector: ([names]) => names.join("."),
      minLength: 1,
      maxLength: 20,
    });
    await fc.assert(
      fc.asyncProperty(entries, fc.integer(), async (values, seed) => {
        // A key under a value cannot be: those that are below another are left out.
        const keys = new Set(values.map(([names]) => names.join(".")));
        const isBelow = (names: readonly string[]): boolean =>
          names.some((_, depth) => depth > 0 && keys.has(names.slice(0, depth).join(".")));
        const wanted = values.filter(([names]) => !isBelow(names));
        const store = new MapStore();
        const roots: Blobref[] = [];
        const shuffled = wanted.toSorted((left, right) => (left[0].join() + seed < right[0].join() + seed ? 1 : -1));
        for (const order of [wanted, shuffled]) {
          const tree = new TreeBuilder();
          for (const [names, text] of order) tree.put(names, makeVal(bytes(text)));
          roots.push(await tree.save((text) => store.store(text)));
        }
        assert.equal(roots[0], roots[1]);
        const lines = await walked(store, roots[0]!);
        const found = lines.filter((line) => line.endsWith(" val")).map((line) => line.slice(0, -4));
        assert.deepEqual(found.toSorted(), wanted.map(([names]) => names.join(".")).toSorted());
      }),
      { numRuns: 100 },
    );
  });

  test("does not take a key under a value; a later entry takes the place of an earlier one", () => {
    const tree = new TreeBuilder();
    tree.put(["a"], makeVal(bytes("1")));
    assert.throws(() => tree.put(["a", "b"], makeVal(bytes("2"))), { message: "a in a/b is not a directory" });
    tree.put(["a"], makeVal(bytes("3")));
    assert.deepEqual(tree.find(["a"]), makeVal(bytes("3")));
    assert.equal(tree.find(["a", "b"]), null);
  });

  test("values of up to 54 bytes stand in their directory, as in the key-value store", () => {
    assert.ok(isInline(0));
    assert.ok(isInline(54));
    assert.ok(!isInline(55));
  });
});

describe("blobs that are stored", () => {
  test("are so many at once, no more", async () => {
    const store = new MapStore();
    const sink = new BlobSink(store, 3);
    const refs: Blobref[] = [];
    for (let index = 0; index < 20; index++)
      await sink.add(
        bytes(`blob ${index}`),
        (ref) => refs.push(ref),
        (error) => error,
      );
    await sink.settle();
    sink.close();
    assert.equal(refs.length, 20);
    assert.equal(store.most, 3);
  });

  test("the first error ends it, in the words of who stored the blob", async () => {
    const store = new MapStore();
    store.failsWith = new FluxError("ENOSPC");
    const sink = new BlobSink(store, 3);
    await sink.add(
      bytes("1"),
      () => undefined,
      () => new Error("about the first"),
    );
    await assert.rejects(sink.settle(), { message: "about the first" });
    await assert.rejects(
      sink.add(
        bytes("2"),
        () => undefined,
        (error) => error,
      ),
      { message: "about the first" },
    );
    sink.close();
  });
});

describe("a tree that is changed", () => {
  test("is written again where it changed, and nothing put aside takes the place of anything", async () => {
    const store = new MapStore();
    const untouched = store.putObject(makeDir({ far: makeVal(bytes("1")) }));
    const root = store.putObject(
      makeDir({ bad: makeVal(bytes("1")), far: makeDirref(untouched), lost: makeDir({ bad: makeVal(bytes("0")) }) }),
    );
    const editor = await TreeEditor.open(store, root);
    await editor.remove(["bad"]);
    await editor.putAside(["lost", "bad"], makeVal(bytes("1")));
    await editor.putAside(["lost", "bad", "deep"], makeVal(bytes("2")));
    await editor.putAside(["lost", "job"], new Directory([["x", makeVal(bytes("3"))]]));
    await editor.putAside(["lost", "job"], new Directory([["x", makeVal(bytes("4"))]]));
    store.loads = 0;
    const after = await editor.save();
    assert.equal(store.loads, 0, "what did not change is not even read");
    assert.deepEqual((await walked(store, after)).filter((line) => line.endsWith("val")).toSorted(), [
      "far.far val",
      "lost.bad val",
      "lost.bad~1 val",
      "lost.bad~2.deep val",
      "lost.job.x val",
      "lost.job.x~1 val",
    ]);
  });
});

describe("what is saved of a directory that cannot be read", () => {
  test("nothing of one that is not there", async () =>
    assert.equal(await rescueDirectory(new MapStore(), `sha1-${"0".repeat(40)}`), null));

  test("its good entries", async () => {
    const store = new MapStore();
    const good = makeVal(bytes("1"));
    const ref = store.putObject({ ver: 1, type: "dir", data: { good, bad: { ver: 9, type: "val", data: "" } } });
    assert.deepEqual(await rescueDirectory(store, ref), new Directory([["good", good]]));
  });

  test("the entries of the pieces that are there", async () => {
    const store = new MapStore();
    const entry = makeVal(bytes("1"));
    const piece = store.putObject(makeDir({ a: entry }));
    const pieces = [
      { first: "a", ref: piece },
      { first: "m", ref: `sha1-${"0".repeat(40)}` },
    ];
    const ref = store.put(bytes(wideDirectoryText(pieces.map(pieceText), 2)));
    assert.deepEqual(await rescueDirectory(store, ref), new Directory([["a", entry]]));
  });

  test("another object as it is, and anything else as a value", async () => {
    const store = new MapStore();
    assert.deepEqual(await rescueDirectory(store, store.putObject(makeSymlink("a"))), makeSymlink("a"));
    const ref = store.put(bytes("rubbish"));
    assert.deepEqual(await rescueDirectory(store, ref), makeValref([ref]));
    assert.equal(utf8Decode(store.blobs.get(ref)!), "rubbish");
  });
});

test("results come in order, and so do errors", async () => {
  const seen: number[] = [];
  const action = async (value: number): Promise<number> => {
    for (let turn = 0; turn < 5 - value; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (value === 4) throw new Error("at four");
    return value;
  };
  await assert.rejects(
    async () => {
      for await (const value of inOrder([1, 2, 3, 4, 5], 3, action)) seen.push(value);
    },
    { message: "at four" },
  );
  assert.deepEqual(seen, [1, 2, 3]);
});

test("a name with a slash is told by a record, others by their path", () => {
  assert.equal(keyRecords(["a", "b"]).size, 0);
  assert.equal(recordedKey(keyRecords(["a", "b/c"])), "a.b/c");
  assert.equal(recordedKey(new Map([["comment", "made by somebody"]])), null);
});
