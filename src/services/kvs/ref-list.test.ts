import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { RefList } from "./ref-list.ts";

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
