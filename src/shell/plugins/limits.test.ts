import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProcLimits } from "../../formats/rlimit.ts";
import { exceeding } from "./limits.ts";

const TABLE = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max core file size        0                    unlimited            bytes
Max processes             64116                64116                processes
Max open files            1024                 20000                files
`;

test("limits are read from the system's table, and what exceeds the hard ones is named", () => {
  const limits = parseProcLimits(TABLE);
  assert.deepEqual(limits, {
    cpu: { soft: Infinity, hard: Infinity },
    core: { soft: 0, hard: Infinity },
    nproc: { soft: 64116, hard: 64116 },
    nofile: { soft: 1024, hard: 20000 },
  });
  assert.deepEqual(exceeding({ nofile: 20000, core: -1, nproc: 5 }, limits), []);
  assert.deepEqual(exceeding({ nofile: 20001, nproc: -1, stack: 7 }, limits), ["nofile", "nproc"]);
});
