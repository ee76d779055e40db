import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { LOOSE_REFS_MAX, MERGED_BYTES_MAX, RefList } from "./ref-list.ts";

test("lists that grow from each other are what they were, whichever is appended to", () => {
  const sizes = fc.array(fc.record({ from: fc.nat(20), count: fc.nat(400) }), { maxLength: 20 });
  fc.assert(
    fc.property(sizes, (steps) => {
      const lists = [{ list: RefList.of(["first"]), model: ["first"] }];
      for (const [number, { from, count }] of steps.entries()) {
        const base = lists[from % lists.length]!;
        const added = Array.from({ length: count }, (_, position) => `ref-${number}-${position}`);
        if (number % 2 === 0) assert.equal(base.list.text, base.model.join('","'));
        lists.push({ list: base.list.append(added), model: [...base.model, ...added] });
      }
      for (const { list, model } of lists) {
        assert.deepEqual([...list], model);
        assert.deepEqual(list.toArray(), model);
        assert.equal(list.length, model.length);
        assert.equal(list.text, model.join('","'));
      }
    }),
  );
});

/** A blob's name says which of the blobs that were appended it holds. */
const named = (from: number, to: number): string => (from === to ? `${from}` : `${from}-${to}`);
const ends = (ref: string): [number, number] => {
  const [from, to = from] = ref.split("-").map(Number);
  return [from!, to!];
};

test("what is appended is merged: all of it, in order, into a list that stays short", () => {
  const size = fc.oneof(fc.nat(300), fc.nat(5000), fc.constantFrom(0, 31_000, 40_000, 800_000));
  fc.assert(
    fc.property(fc.array(size, { minLength: 1, maxLength: 30 }), fc.integer({ min: 1, max: 5000 }), (kinds, count) => {
      const sizes = Array.from({ length: count }, (_, number) => kinds[(number * 7) % kinds.length]!);
      const bytesOf = (ref: string): number => {
        const [from, to] = ends(ref);
        return sizes.slice(from, to + 1).reduce((sum, each) => sum + each, 0);
      };
      let list = RefList.of(["0"], [sizes[0]!]);
      for (let number = 1; number < count; number++) {
        list = list.append([`${number}`], [sizes[number]!]);
        if (!list.isLoose) continue;
        const merge = list.plan();
        let at = merge.start;
        const blobs = merge.counts.map((each) => {
          const refs = list.slice(at, each);
          at += each;
          if (each === 1) return null;
          const ref = named(ends(refs[0]!)[0], ends(refs.at(-1)!)[1]);
          return { ref, size: bytesOf(ref) };
        });
        const before = list.toArray();
        const merged = list.merged(merge, blobs);
        assert.deepEqual(list.toArray(), before, "a version that somebody has does not change");
        list = merged;
      }
      let next = 0;
      for (const ref of list) {
        const [from, to] = ends(ref);
        assert.equal(from, next);
        if (from !== to) assert.ok(bytesOf(ref) <= MERGED_BYTES_MAX, `${ref} is too long`);
        next = to + 1;
      }
      assert.equal(next, count);
      const large = sizes.filter((each) => each >= 31_000).length;
      const total = sizes.filter((each) => each < 31_000).reduce((sum, each) => sum + each, 0);
      const lengthMax = LOOSE_REFS_MAX + 1 + 3 * large + (2 * total) / MERGED_BYTES_MAX + 2;
      assert.ok(list.length <= lengthMax, `${list.length} blobs of ${count}`);
      assert.equal(list.text, list.toArray().join('","'));
    }),
    { numRuns: 50 },
  );
});

test("blobs of unknown length, as of a value that was read from the store, stay as they are", () => {
  const old = Array.from({ length: 1000 }, (_, number) => `old${number}`);
  let list = RefList.of(old);
  for (let number = 0; number <= LOOSE_REFS_MAX; number++) list = list.append([`new${number}`], [10]);
  assert.deepEqual(list.plan(), { start: 1000, counts: [LOOSE_REFS_MAX + 1] });
});
