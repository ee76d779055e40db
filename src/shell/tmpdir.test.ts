import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../base/errors.ts";
import { SimulatedClock } from "../testkit/clock.ts";
import { SimulatedDisk } from "../testkit/disk.ts";
import { World } from "../testkit/world.ts";
import { Scope } from "../testkit/scope.ts";
import { TemporaryDirectories } from "./tmpdir.ts";

function directories(isClosed: (path: string) => boolean = () => false) {
  const world = new World("tmpdir");
  const scope = new Scope("test");
  const disk = new SimulatedDisk(world.storage("node0"), scope);
  disk.makeDirectory("/run", { recursive: true });
  const makeDirectory = disk.makeDirectory.bind(disk);
  disk.makeDirectory = (path, options) => {
    if (isClosed(path)) throw new FluxError("EACCES");
    makeDirectory(path, options);
  };
  return { world, disk, pool: new TemporaryDirectories(disk, new SimulatedClock(world.timeline, scope), assert.fail) };
}

test("an empty directory serves the next job under its new name", () => {
  const { disk, pool } = directories();
  pool.make("a", ["/run"]);
  pool.release("/run/a");
  pool.make("b", ["/run"]);
  assert.deepEqual(disk.list("/run"), ["b"]);
});

test("a directory in which a job left something is removed at once", () => {
  const { disk, pool } = directories();
  pool.make("a", ["/run"]);
  disk.writeFile("/run/a/core", new Uint8Array(3));
  pool.release("/run/a");
  assert.deepEqual(disk.list("/run"), []);
});

test("without a next job nothing is left", async () => {
  const { world, disk, pool } = directories();
  pool.make("a", ["/run"]);
  pool.release("/run/a");
  await world.timeline.runUntil(() => disk.list("/run").length === 0, 1000);
  assert.deepEqual(disk.list("/run"), []);
});

test("a job that is over has no directory, though one waits for the next job", () => {
  const { disk, pool } = directories();
  const path = pool.make("a", ["/run"]);
  pool.release(path);
  assert.equal(disk.info(path), null);
});

test("the first place that takes the directory has it; a spare one stays where it is", () => {
  const { disk, pool } = directories((path) => path.startsWith("/closed"));
  pool.release(pool.make("a", ["/run"]));
  assert.equal(pool.make("b", ["/closed", "/tmp"]), "/tmp/b");
  assert.equal(pool.make("c", ["/run"]), "/run/c");
  assert.throws(() => pool.make("d", ["/closed"]), /mkdir \/closed\/d: Permission denied/);
  assert.deepEqual(disk.list("/run"), ["c"]);
});

test("a directory that cannot be given a new name is removed", () => {
  const { disk, pool } = directories();
  pool.make("a", ["/run"]);
  disk.rename = () => {
    throw new FluxError("ENOTEMPTY");
  };
  pool.release("/run/a");
  assert.deepEqual(disk.list("/run"), []);
});
