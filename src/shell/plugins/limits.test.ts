import assert from "node:assert/strict";
import { test } from "node:test";
import { exceeding, parseHardLimits } from "./limits.ts";

const TABLE = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max core file size        0                    unlimited            bytes
Max processes             64116                64116                processes
Max open files            1024                 20000                files
`;

test("hard limits are read from the system's table, and what exceeds them is named", () => {
  const hard = parseHardLimits(TABLE);
  assert.deepEqual(hard, { cpu: Infinity, core: Infinity, nproc: 64116, nofile: 20000 });
  assert.deepEqual(exceeding({ nofile: 20000, core: -1, nproc: 5 }, hard), []);
  assert.deepEqual(exceeding({ nofile: 20001, nproc: -1, stack: 7 }, hard), ["nofile", "nproc"]);
});
