import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock } from "../testkit/clock.ts";
import { SimulatedDisk } from "../testkit/disk.ts";
import { World } from "../testkit/world.ts";
import { Scope } from "../testkit/scope.ts";
import { TemporaryDirectories } from "./tmpdir.ts";

function directories() {
  const world = new World("tmpdir");
  const scope = new Scope("test");
  const disk = new SimulatedDisk(world.storage("node0"), scope);
  disk.makeDirectory("/run", { recursive: true });
  return { world, disk, pool: new TemporaryDirectories(disk, new SimulatedClock(world.timeline, scope)) };
}

test("an empty directory serves the next job under its new name", () => {
  const { disk, pool } = directories();
  pool.make("/run/a");
  pool.release("/run/a");
  pool.make("/run/b");
  assert.deepEqual(disk.list("/run"), ["b"]);
});

test("a directory in which a job left something is removed at once", () => {
  const { disk, pool } = directories();
  pool.make("/run/a");
  disk.writeFile("/run/a/core", new Uint8Array(3));
  pool.release("/run/a");
  assert.deepEqual(disk.list("/run"), []);
});

test("without a next job nothing is left", async () => {
  const { world, disk, pool } = directories();
  pool.make("/run/a");
  pool.release("/run/a");
  await world.timeline.runUntil(() => disk.list("/run").length === 0, 1000);
  assert.deepEqual(disk.list("/run"), []);
});
