import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { Disk, FileInfo, HostInfo } from "../base/ports.ts";
import { Attributes } from "./attributes.ts";
import { doubtAboutStatedir, prepareStatedir } from "./directories.ts";

const MIB = 1024 * 1024;

function doubt(freeBytes: number, isInMemory: boolean, isNamed = false): ReturnType<typeof doubtAboutStatedir> {
  const attributes = new Attributes();
  attributes.set("statedir", "/tmp/flux-x");
  attributes.set("statedir-cleanup", isNamed ? "0" : "1");
  return doubtAboutStatedir(
    { freeBytes: () => freeBytes, isInMemory: () => isInMemory } as unknown as Disk,
    attributes,
  );
}

test("a state directory on a disk with room is nothing to speak of", () => {
  assert.equal(doubt(1000 * MIB, false), null);
});

test("one with little room is an error that users see, whatever it lies on; one in memory a warning in the log, unless it was named", () => {
  for (const isInMemory of [false, true]) {
    const small = doubt(5 * MIB, isInMemory)!;
    assert.equal(small.isSerious, true);
    assert.match(small.text, /^statedir \/tmp\/flux-x has only 5 MiB left .*-Sstatedir=DIR/);
  }
  const memory = doubt(1000 * MIB, true)!;
  assert.equal(memory.isSerious, false);
  assert.equal(doubt(1000 * MIB, true, true)!.isSerious, true);
  assert.match(memory.text, /^statedir \/tmp\/flux-x is in memory.*--broker-opts=-Sstatedir=DIR/);
});

/** A state directory that was there before, with files by path. */
function prepared(files: Map<string, Uint8Array>, writeFile = files.set.bind(files) as Disk["writeFile"]): Attributes {
  const attributes = new Attributes();
  attributes.set("statedir", "/state");
  const info = (path: string): FileInfo | null =>
    path === "/state"
      ? { kind: "directory", sizeBytes: 0, mode: 0o700, mtime: 0 }
      : files.has(path)
        ? { kind: "file", sizeBytes: 1, mode: 0o600, mtime: 0 }
        : null;
  const disk = { info, writeFile, readFile: (path: string) => files.get(path)! } as unknown as Disk;
  try {
    prepareStatedir(disk, attributes, { temporaryDirectory: "/tmp" } as HostInfo);
  } finally {
    assert.equal(attributes.get("statedir-cleanup"), "0");
  }
  return attributes;
}

test("a state directory says in which format it is; one of a newer Flux is refused and left alone", () => {
  const files = new Map<string, Uint8Array>();
  prepared(files);
  assert.equal(utf8Decode(files.get("/state/flux-format")!), "2\n");
  prepared(files);
  files.set("/state/flux-format", new Uint8Array(2));
  prepared(files);
  assert.equal(utf8Decode(files.get("/state/flux-format")!), "2\n", "a loss of power may take the bytes of a file");
  files.set("/state/flux-format", utf8Encode("1\n"));
  prepared(files);
  assert.equal(
    utf8Decode(files.get("/state/flux-format")!),
    "2\n",
    "what this version writes a former one cannot read",
  );
  for (const mark of ["3\n", "next"]) {
    files.set("/state/flux-format", utf8Encode(mark));
    assert.throws(() => prepared(files), {
      message: /^statedir \/state has format '(3|next)' of a newer Flux.*formats up to 2/,
    });
  }
});

test("a full disk keeps nobody from starting with what is there", () => {
  const isFull = (): never => {
    throw new FluxError("ENOSPC");
  };
  prepared(new Map(), isFull);
});
