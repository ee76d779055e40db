import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSize, parseSize } from "./size.ts";

test("sizes are numbers of bytes, with suffixes that are powers of 1024", () => {
  for (const [text, bytes, again] of [
    ["0", 0, "0"],
    ["1000", 1000, "1000"],
    ["64K", 65_536, "64K"],
    ["1.5G", 1.5 * 1024 ** 3, "1.5G"],
    ["10g", 10 * 1024 ** 3, "10G"],
    ["2TiB", 2 * 1024 ** 4, "2T"],
  ] as const) {
    assert.equal(parseSize(text), bytes);
    assert.equal(formatSize(bytes), again);
  }
  for (const text of ["", "G", "-1", "1X", "1 G", "1e6"]) assert.throws(() => parseSize(text), /is no size/);
});
