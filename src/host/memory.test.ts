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
