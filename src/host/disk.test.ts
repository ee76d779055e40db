import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError, isFluxError } from "../base/errors.ts";
import { nodeDisk } from "./disk.ts";

const disk = nodeDisk();
const directory = mkdtempSync(join(tmpdir(), "flux-disk-"));
const at = (name: string): string => join(directory, name);
after(() => rmSync(directory, { recursive: true, force: true }));

test("a file is replaced as a whole, with the mode asked for, and leaves nothing else behind", () => {
  disk.makeDirectory(at("replace"));
  const path = at("replace/file");
  disk.writeFile(path, utf8Encode("one"), { mode: 0o600, sync: true });
  disk.writeFile(path, utf8Encode("two"), { mode: 0o640 });
  assert.equal(utf8Decode(disk.readFile(path)), "two");
  assert.equal(statSync(path).mode & 0o777, 0o640);
  assert.deepEqual(disk.list(at("replace")), ["file"]);
});

test("errors carry the errno and name the path", () => {
  const missing = at("missing/file");
  for (const action of [
    () => disk.readFile(missing),
    () => disk.writeFile(missing, new Uint8Array(1)),
    () => disk.openLog(missing),
    () => disk.list(missing),
    () => disk.rename(missing, at("elsewhere")),
    () => disk.makeDirectory(missing),
    () => disk.freeBytes(missing),
  ]) {
    assert.throws(action, (error) => {
      assert.ok(isFluxError(error, "ENOENT"), String(error));
      assert.match(error.message, /^cannot .*: No such file or directory$/);
      assert.ok(error.message.includes(directory));
      return true;
    });
  }
});

test("a failed replacement keeps the old file and removes the new one", () => {
  disk.makeDirectory(at("target/held"), { recursive: true });
  assert.throws(() => disk.writeFile(at("target/held"), new Uint8Array(10)), FluxError);
  assert.deepEqual(readdirSync(at("target")), ["held"]);
});

test("a log grows at its end, is cut, and is found again", async () => {
  const path = at("log");
  const log = disk.openLog(path, { mode: 0o600 });
  log.append(utf8Encode("first "));
  log.append(utf8Encode("second"));
  await log.sync();
  assert.equal(log.length, 12);
  log.truncate(6);
  log.append(utf8Encode("third"));
  assert.equal(utf8Decode(disk.readFile(path)), "first third");
  log.close();
  const again = disk.openLog(path);
  assert.equal(again.length, 11);
  again.append(utf8Encode("!"));
  again.close();
  assert.equal(utf8Decode(disk.readFile(path)), "first third!");
  assert.throws(
    () => again.append(new Uint8Array(1)),
    (error) => isFluxError(error, "EBADF"),
  );
});

test("closing a log while a sync is under way lets the sync finish", async () => {
  const log = disk.openLog(at("closing"));
  log.append(utf8Encode("data"));
  const synced = log.sync();
  log.close();
  await synced;
});

test("a full device refuses the append with ENOSPC", { skip: !disk.info("/dev/full") }, () => {
  const log = disk.openLog("/dev/full");
  assert.throws(() => log.append(utf8Encode("x")), FluxError);
  assert.equal(log.length, 0);
  log.close();
});

test("info() tells files, directories and the absence of both", () => {
  disk.writeFile(at("info"), utf8Encode("12345"), { mode: 0o604 });
  const info = disk.info(at("info"));
  assert.deepEqual([info?.kind, info?.sizeBytes, info?.mode], ["file", 5, 0o604]);
  assert.ok(Math.abs((info?.mtime ?? 0) - Date.now() / 1000) < 60, "mtime is in seconds");
  assert.equal(disk.info(directory)?.kind, "directory");
  assert.equal(disk.info(at("nothing")), null);
  assert.equal(disk.info(at("info/below-a-file")), null);
});

test("a temporary directory is private, whatever the umask", () => {
  const before = process.umask(0);
  try {
    const made = disk.makeTemporaryDirectory(at("flux-"));
    assert.match(made.slice(at("").length), /^\/?flux-[A-Za-z0-9]{6}$/);
    assert.equal(statSync(made).mode & 0o777, 0o700);
  } finally {
    process.umask(before);
  }
});

test("makeDirectory: mode, parents, and EEXIST where it is not recursive", () => {
  disk.makeDirectory(at("a/b/c"), { recursive: true, mode: 0o700 });
  disk.makeDirectory(at("a/b/c"), { recursive: true, mode: 0o700 });
  disk.makeDirectory(at("a/b/c/d/"), { recursive: true, mode: 0o700 });
  // Where the directory above is there and takes none, that is the end of it.
  if (existsSync("/proc/self"))
    assert.throws(() => disk.makeDirectory("/proc/none/of/it", { recursive: true }), FluxError);
  assert.equal(statSync(at("a/b/c")).mode & 0o777, 0o700);
  assert.throws(
    () => disk.makeDirectory(at("a")),
    (error) => isFluxError(error, "EEXIST"),
  );
});

test("rename and remove; removing nothing is no error", () => {
  disk.makeDirectory(at("tree/sub"), { recursive: true });
  disk.writeFile(at("tree/sub/file"), new Uint8Array(3));
  disk.rename(at("tree"), at("moved"));
  assert.deepEqual(disk.list(at("moved")), ["sub"]);
  disk.remove(at("moved"));
  disk.remove(at("moved"));
  assert.equal(disk.info(at("moved")), null);
});

test(
  "an append that fails says why, also on a device, which cannot be cut",
  { skip: process.platform !== "linux" },
  () => {
    const log = disk.openLog("/dev/full");
    assert.throws(
      () => log.append(new Uint8Array(10)),
      (error) => isFluxError(error, "ENOSPC"),
    );
    log.close();
  },
);

test("freeBytes() is the room that is left", () => {
  assert.ok(disk.freeBytes(directory) > 0);
});

test("a file that may not be read says so", { skip: process.getuid?.() === 0 }, () => {
  disk.writeFile(at("closed"), new Uint8Array(1));
  chmodSync(at("closed"), 0);
  assert.throws(
    () => disk.readFile(at("closed")),
    (error) => isFluxError(error, "EACCES"),
  );
});
