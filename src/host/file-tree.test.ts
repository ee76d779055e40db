/** Trees of real files: what Node and the file system make of the port's promises. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FluxError } from "../base/errors.ts";
import { nodeFileTree } from "./file-tree.ts";

const files = nodeFileTree();
let directory: string;
before(() => (directory = mkdtempSync(join(tmpdir(), "flux-file-tree-"))));
after(() => rmSync(directory, { recursive: true }));

const is =
  (errno: "EEXIST" | "ENOENT" | "ELOOP") =>
  (error: unknown): boolean =>
    error instanceof FluxError && error.is(errno);

test("a file is made with its permissions whatever the umask, and never over another", () => {
  const path = join(directory, "made");
  const before = process.umask(0o077);
  try {
    files.create(path, 0o755).close();
  } finally {
    process.umask(before);
  }
  assert.equal(files.status(path)!.mode, 0o100755);
  assert.throws(() => files.create(path, 0o644), is("EEXIST"));
  files.removeFile(path);
  assert.equal(files.status(path), null);
});

test("links are told, not followed", () => {
  const path = join(directory, "link");
  files.makeLink("nowhere", path);
  assert.equal(files.status(path)!.kind, "symlink");
  assert.equal(files.readLink(path), "nowhere");
  assert.throws(() => files.open(path), is("ELOOP"));
  assert.throws(() => files.create(path, 0o644), is("EEXIST"));
});

test("bytes are written anywhere and read back; reading ends at the end", () => {
  const file = files.create(join(directory, "bytes"), 0o600);
  file.write(3, Uint8Array.of(1, 2, 3));
  assert.deepEqual([...file.read(0, 100)], [0, 0, 0, 1, 2, 3]);
  file.setLength(4);
  assert.deepEqual([...file.read(2, 10)], [0, 1]);
  file.close();
});

function regionsOf(path: string): (readonly [number, number])[] {
  const file = files.open(path);
  try {
    return [...file.dataRegions()];
  } finally {
    file.close();
  }
}

test("the data of a sparse file is found, its holes are not read", () => {
  const path = join(directory, "sparse");
  const file = files.create(path, 0o600);
  const length = 64 * 1024 * 1024;
  file.setLength(length);
  file.write(1_000_000, new Uint8Array(10).fill(1));
  file.write(length - 1, Uint8Array.of(7));
  file.close();
  const covered = (offset: number): boolean =>
    regionsOf(path).some(([start, size]) => start <= offset && offset < start + size);
  assert.ok(covered(1_000_005) && covered(length - 1));
  const bytes = regionsOf(path).reduce((sum, [, size]) => sum + size, 0);
  // A file system without holes has data everywhere.
  if (statSync(path).blocks * 512 < length) assert.ok(bytes < 1024 * 1024, `${bytes} bytes`);
  writeFileSync(join(directory, "full"), "abc");
  assert.deepEqual(regionsOf(join(directory, "full")), [[0, 3]]);
  writeFileSync(join(directory, "none"), "");
  assert.deepEqual(regionsOf(join(directory, "none")), []);
});

test("what is neither file nor directory nor link is told as such", () => {
  const path = join(directory, "pipe");
  execFileSync("mkfifo", [path]);
  assert.equal(files.status(path)!.kind, "other");
  symlinkSync(path, join(directory, "to-pipe"));
  assert.equal(files.status(join(directory, "to-pipe"))!.kind, "symlink");
  assert.equal(files.status(directory)!.kind, "directory");
});
