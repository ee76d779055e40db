/** The shapes of the overlay tree and its health. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { combinedStatus, Health } from "./health.ts";
import { makeTree } from "./tree.ts";

const parents = (topo: string, size: number): (number | null)[] => {
  const tree = makeTree(topo, size);
  return Array.from({ length: size }, (_, rank) => tree.parentOf(rank));
};

test("shapes", () => {
  assert.deepEqual(parents("kary:2", 7), [null, 0, 0, 1, 1, 2, 2]);
  assert.deepEqual(parents("kary:0", 4), [null, 0, 0, 0]);
  assert.deepEqual(parents("kary:1", 4), [null, 0, 1, 2]);
  assert.deepEqual(parents("binomial", 8), [null, 0, 0, 2, 0, 4, 4, 6]);
  assert.deepEqual(parents("mincrit:2", 7), [null, 0, 0, 1, 1, 2, 2]);
  assert.deepEqual(parents("mincrit", 5), [null, 0, 0, 0, 0]);
});

test("the way down leads through the child whose subtree has the rank", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.constantFrom("kary:2", "kary:32", "binomial", "mincrit:3"),
      (size, topo) => {
        const tree = makeTree(topo, size);
        for (let rank = 0; rank < size; rank++) {
          for (const below of tree.descendantsOf(rank)) {
            const child = tree.childTowards(rank, below)!;
            assert.equal(tree.parentOf(child), rank);
            assert.ok(child === below || tree.descendantsOf(child).includes(below));
          }
          assert.equal(tree.childTowards(rank, 0), null);
        }
        assert.equal(tree.descendantsOf(0).length, size - 1);
      },
    ),
    { numRuns: 30 },
  );
});

test("an unknown shape is refused by name", () => {
  assert.throws(
    () => makeTree("foo", 4),
    (error) => isFluxError(error, "EINVAL") && /unknown topology scheme 'foo'/.test(error.message),
  );
  assert.throws(
    () => makeTree("kary:x", 4),
    (error) => isFluxError(error, "EINVAL"),
  );
  assert.throws(
    () => makeTree("kary", 4),
    (error) => isFluxError(error, "EINVAL"),
  );
});

test("a subtree is as well as its children", () => {
  assert.equal(combinedStatus([]), "full");
  assert.equal(combinedStatus(["full", "full"]), "full");
  assert.equal(combinedStatus(["full", "offline"]), "partial");
  assert.equal(combinedStatus(["partial", "lost"]), "degraded");
  assert.equal(combinedStatus(["degraded"]), "degraded");
});

test("health tells when the own status changed, and since when a child is as it is", () => {
  let now = 100;
  const health = new Health([1, 2], () => now);
  assert.equal(health.status, "partial");
  assert.equal(health.update(1, "full"), false);
  now = 110;
  assert.equal(health.update(2, "full"), true);
  assert.equal(health.status, "full");
  now = 130;
  assert.equal(health.update(2, "lost", "lost connection"), true);
  now = 135;
  assert.deepEqual(health.describe(0), {
    rank: 0,
    status: "degraded",
    duration: 5,
    children: [
      { rank: 1, status: "full", duration: 35 },
      { rank: 2, status: "lost", duration: 5, error: "lost connection" },
    ],
  });
});
