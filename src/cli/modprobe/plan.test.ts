/** Which modules and tasks a run of `flux modprobe` does, and in which order. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { readCatalog } from "./catalog.ts";
import { planOf, removalOf, type Wish } from "./plan.ts";
import { includesRank, unitOf, type Circumstances, type UnitTable } from "./units.ts";

const NOWHERE = { FLUX_MODPROBE_PATH: "" };
const leader: Circumstances = { rank: 0, hasAttribute: () => false, hasConfig: () => false, hasVariable: () => false };

function catalog(config: JsonObject = {}): UnitTable {
  return readCatalog(NOWHERE, config, () => {});
}

function names(table: UnitTable, wish: Partial<Wish>, tasks: readonly JsonObject[] = [], where = leader): string[] {
  const units = tasks.map((task) => unitOf(task, "task"));
  units.forEach((unit) => table.add(unit));
  const plan = planOf(table, { direction: "load", modules: [], loaded: new Set(), ...wish, tasks: units }, where);
  return plan.steps.map(({ name }) => name);
}

describe("loading", () => {
  test("a module comes with what it requires, after what it has to follow", () => {
    assert.deepEqual(names(catalog(), { modules: ["kvs"] }), ["content", "heartbeat", "content-sqlite", "kvs"]);
  });

  test("what is loaded already is not loaded again", () => {
    const loaded = new Set(["heartbeat", "content", "content-sqlite", "kvs"]);
    assert.deepEqual(names(catalog(), { modules: ["kvs-watch"], loaded }), ["kvs-watch"]);
    assert.deepEqual(names(catalog(), { modules: ["kvs"], loaded }), []);
  });

  test("modules of other ranks are left out", () => {
    const elsewhere = { ...leader, rank: 1 };
    assert.deepEqual(names(catalog(), { modules: ["kvs"] }, [], elsewhere), ["content", "heartbeat", "kvs"]);
  });

  test("a module may be named by the service it provides", () => {
    assert.equal(names(catalog(), { modules: ["sched"] }).at(-1), "sched-simple");
    assert.throws(() => names(catalog(), { modules: ["nope"] }), /no such task or module nope/);
  });

  test("the configuration of the broker updates and disables modules", () => {
    const table = catalog({ modules: { "kvs-watch": { args: ["a=b"] }, heartbeat: { disabled: true } } });
    assert.deepEqual(table.resolve("kvs-watch").args, ["a=b"]);
    assert.ok(!names(table, { modules: ["kvs"] }).includes("heartbeat"));
    table.enable("heartbeat");
    assert.ok(names(table, { modules: ["kvs"] }).includes("heartbeat"));
  });
});

describe("alternatives", () => {
  const table = catalog();
  table.configure({
    modules: [
      { name: "weak", provides: ["sched"], priority: 1 },
      { name: "equal", provides: ["sched"], priority: 50 },
    ],
  });

  test("the highest priority wins, among equals the last", () => assert.equal(table.resolve("sched").name, "equal"));
  test("a choice overrides the order", () => {
    table.choose("sched", "weak");
    assert.equal(table.resolve("sched").name, "weak");
    assert.throws(() => table.choose("sched", "kvs"), /no module kvs provides sched/);
  });
});

describe("tasks", () => {
  test("run between the modules that they name", () => {
    const task = { name: "middle", after: ["kvs"], before: ["kvs-watch"] };
    assert.deepEqual(names(catalog(), { modules: ["kvs-watch"] }, [task]).slice(-3), ["kvs", "middle", "kvs-watch"]);
  });

  test("a star comes before or after all others", () => {
    const tasks = [
      { name: "last", after: ["*"] },
      { name: "first", before: ["*"] },
    ];
    const order = names(catalog(), { modules: ["kvs"] }, tasks);
    assert.equal(order[0], "first");
    assert.equal(order.at(-1), "last");
  });

  test("bring what they require, and stay out where what they need is not there", () => {
    assert.ok(names(catalog(), {}, [{ name: "task", requires: ["kvs"] }]).includes("kvs"));
    assert.deepEqual(names(catalog(), {}, [{ name: "task", needs: ["kvs"] }]), []);
  });

  test("depend on attributes, configuration and environment", () => {
    const where = { ...leader, hasAttribute: (name: string) => name === "set" };
    const wanted = { name: "wanted", needs_attrs: ["set"], needs_config: ["!a.b"] };
    const unwanted = { name: "unwanted", needs_attrs: ["!set"] };
    assert.deepEqual(names(catalog(), {}, [wanted, unwanted], where), ["wanted"]);
  });

  test("that wait for each other are refused", () => {
    const circle = [
      { name: "x", after: ["y"] },
      { name: "y", after: ["x"] },
    ];
    assert.throws(() => names(catalog(), {}, circle), /cycle: x, y/);
  });

  test("with unknown arguments are refused", () =>
    assert.throws(() => unitOf({ name: "z", bogus: 1 }, "task"), /z: unknown task argument bogus/));
});

describe("removing", () => {
  const loaded = ["heartbeat", "content", "content-sqlite", "kvs", "kvs-watch"];

  test("goes the opposite way, tasks keep theirs", () => {
    const flush = { name: "flush", after: ["kvs"], before: ["content-backing"], needs: ["kvs"] };
    const order = names(catalog(), { direction: "remove", modules: loaded }, [flush]);
    const wanted = ["kvs-watch", "kvs", "flush", "content-sqlite", "content"];
    assert.deepEqual(
      order.filter((name) => name !== "heartbeat"),
      wanted,
    );
  });

  test("takes along what nothing else requires", () => {
    assert.deepEqual(removalOf(catalog(), ["kvs-watch"], loaded).sort(), loaded.toSorted());
    assert.deepEqual(removalOf(catalog(), ["kvs-watch"], [...loaded, "shell-agent"]), ["kvs-watch"]);
  });

  test("refuses what is in use or not there", () => {
    assert.throws(() => removalOf(catalog(), ["kvs"], loaded), /kvs still in use by kvs-watch/);
    assert.throws(() => removalOf(catalog(), ["resource"], loaded), /module resource is not loaded/);
  });
});

test("ranks are all, an idset, or a bound", () => {
  const on = (ranks: string, rank: number): boolean => includesRank(unitOf({ name: "unit", ranks }, "task"), rank);
  assert.ok(on("all", 7) && on("0-2,7", 7) && on(">6", 7) && on("<8", 7));
  assert.ok(!on("0-2", 7) && !on(">7", 7) && !on("<7", 7));
  assert.throws(() => on("some", 7), /invalid ranks 'some'/);
});
