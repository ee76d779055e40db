import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { nativeAddon } from "./native.ts";

const MIB = 1024 * 1024;

/** Fills memory with blocks, keeps one in a hundred, and tells the resident size before and after it is given back. */
const PROGRAM = `
  import { nativeAddon } from ${JSON.stringify(join(import.meta.dirname, "native.ts"))};
  const addon = nativeAddon();
  let blocks = Array.from({ length: 4000 }, (_, index) => Buffer.allocUnsafeSlow(60_000).fill(index));
  globalThis.kept = blocks.filter((_, index) => index % 100 === 99);
  blocks = null;
  gc();
  await new Promise((resolve) => setImmediate(resolve));
  const before = process.memoryUsage.rss();
  addon.trimMemory();
  console.log(JSON.stringify([before, process.memoryUsage.rss()]));
`;

test("what was freed goes back to the system", { skip: nativeAddon() === null && "there is no addon" }, () => {
  const options = ["--expose-gc", "--input-type=module", "--disable-warning=ExperimentalWarning"];
  const child = spawnSync(process.execPath, [...options, "--eval", PROGRAM], { encoding: "utf8" });
  assert.equal(child.stderr, "");
  const [before, after] = JSON.parse(child.stdout) as [number, number];
  assert.ok(before > 200 * MIB, `${before} bytes in use`);
  assert.ok(after < before - 150 * MIB, `${after} of ${before} bytes are still in use`);
});

/** Leaves garbage among what lives once it has given memory back for the first time, and tells what it takes before and after. */
const BUSY_PROGRAM = `
  import { returnMemoryInQuiet } from ${JSON.stringify(join(import.meta.dirname, "memory.ts"))};
  const untilRss = async (isReached) => {
    while (!isReached(process.memoryUsage.rss())) await new Promise((resolve) => setTimeout(resolve, 100));
  };
  let objects = Array.from({ length: 400_000 }, (_, index) => ({ index, text: "x".repeat(20) + index }));
  const start = process.memoryUsage.rss();
  objects = null;
  returnMemoryInQuiet(50);
  await untilRss((bytes) => bytes < start - 20_000_000);
  const least = process.memoryUsage.rss();
  objects = Array.from({ length: 2_000_000 }, (_, index) => ({ index, text: "x".repeat(20) + index }));
  const before = process.memoryUsage.rss();
  objects = null;
  await untilRss((bytes) => bytes < least + 48 * 1024 * 1024);
  console.log(JSON.stringify([before - least, process.memoryUsage.rss() - least]));
`;

test("the garbage of busy times goes when it is quiet again", { timeout: 30_000 }, () => {
  const options = ["--input-type=module", "--disable-warning=ExperimentalWarning"];
  const child = spawnSync(process.execPath, [...options, "--eval", BUSY_PROGRAM], {
    encoding: "utf8",
    timeout: 25_000,
  });
  assert.equal(child.stderr, "");
  const [before, after] = JSON.parse(child.stdout) as [number, number];
  assert.ok(before > 100 * MIB, `${before} bytes in use`);
  assert.ok(after < 48 * MIB, `${after} of ${before} bytes are still in use`);
});
