import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { AgedMap } from "./aged-map.ts";

test("it gives its entries in the order in which they were set last, as a list would", () => {
  const operation = fc.oneof(
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("set" as const), key: fc.nat(20) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("shift" as const), key: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("clear" as const), key: fc.constant(0) }) },
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
      const map = new AgedMap<number, number>();
      let model: number[] = [];
      for (const [step, { kind, key }] of operations.entries()) {
        if (kind === "shift") assert.equal(map.shift()?.[0], model.shift());
        else model = kind === "clear" ? [] : model.filter((each) => each !== key);
        if (kind === "set") {
          model.push(key);
          map.set(key, step);
        } else if (kind === "delete") map.delete(key);
        else if (kind === "clear") map.clear();
        assert.equal(map.size, model.length);
      }
      assert.deepEqual(
        [...map.values()],
        model.map((key) => map.get(key)),
      );
    }),
  );
});

test("taking the oldest entry costs the same however many there are", () => {
  const turnsIn = (entries: number): number => {
    const map = new AgedMap<number, number>();
    for (let key = 0; key < entries; key++) map.set(key, key);
    const start = process.cpuUsage().user;
    for (let key = entries; key < entries + 50_000; key++) {
      map.set(key, key);
      map.shift();
    }
    return process.cpuUsage().user - start;
  };
  turnsIn(1000);
  // One place after the other was 40 times as much.
  const [few, many] = [turnsIn(1000), turnsIn(40_000)];
  assert.ok(many < 15 * few + 50_000, `${many} us with 40,000 entries, ${few} us with 1,000`);
});
