import assert from "node:assert/strict";
import { test } from "node:test";
import { slurmSeconds } from "./slurm-expiration-sync.ts";

test("times that Slurm prints", () => {
  assert.equal(slurmSeconds("1-02:03:04"), 93784);
  assert.equal(slurmSeconds("4:59"), 299);
  assert.equal(slurmSeconds("0:00"), 0);
  for (const text of ["UNLIMITED", "INVALID", "NOT_SET", ""]) assert.equal(slurmSeconds(text), null);
});
