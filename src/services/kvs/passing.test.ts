/** Short commits that pass a long one: what happened, done again in the order of the log, gives the same tree. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { nodeCodec } from "../../host/codec.ts";
import { Payload } from "../../protocol/message.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { OPERATION_APPEND, OPERATION_PRUNE, type Operation, type TreeObject } from "../../sdk/kvs-protocol.ts";
import { BlobIndex } from "./blob-index.ts";
import { Leader } from "./core.ts";
import { lookupKey } from "./lookup.ts";
import { LONG_COMMIT_OPERATIONS, LONG_COMMIT_SLICE } from "./protocol.ts";
import type { NumberedRecord } from "./redo-log.ts";

const long: TreeObject = makeTextVal("x".repeat(100));
const FILLING: number = LONG_COMMIT_OPERATIONS + LONG_COMMIT_SLICE;
const TURNS_MAX = 200;

function leaderOfTest(historyBytes = 2 ** 20): Leader {
  return new Leader(new BlobIndex(nodeCodec(), "sha1", { cleanBytes: 2 ** 20, historyBytes }), 1);
}

function submit(leader: Leader, sender: string, operations: readonly Operation[]): void {
  const request = { namespace: "primary", flags: 0, operations, once: null };
  const payload = Payload.json({ namespace: "primary", flags: 0, ops: operations as never });
  leader.submit({ request, payload, sender, adopted: new Set(), settle: () => {} });
}

function put(key: string, flags = 0): Operation {
  return { key, flags, dirent: long };
}
function remove(key: string, flags = 0): Operation {
  return { key, flags, dirent: null };
}
function link(target: string): TreeObject {
  return { ver: 1, type: "symlink", data: { target } };
}
function placeOf(number: number): string {
  return `filling.${number % 7}.${number}`;
}
function filling(): Operation[] {
  return Array.from({ length: FILLING }, (_, number) => put(placeOf(number)));
}

const key = fc
  .array(fc.constantFrom("a", "b", "c", "d", "e", "f"), { minLength: 1, maxLength: 3 })
  .map((names) => names.join("."));
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ key, flags: fc.constant(0), dirent: fc.constantFrom(makeTextVal("1"), long) }),
  },
  { weight: 2, arbitrary: fc.record({ key, flags: fc.constant(OPERATION_APPEND), dirent: fc.constant(long) }) },
  { weight: 2, arbitrary: fc.record({ key, flags: fc.constantFrom(0, OPERATION_PRUNE), dirent: fc.constant(null) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      key,
      flags: fc.constant(0),
      dirent: fc.constant<TreeObject>({ ver: 1, type: "dir", data: {} }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      key,
      flags: fc.constant(0),
      dirent: key.map(link),
    }),
  },
);
/** At a place to which the long commit gives a value early. */
const replaced: fc.Arbitrary<Operation> = fc
  .tuple(fc.nat({ max: LONG_COMMIT_SLICE }), fc.constantFrom(0, OPERATION_APPEND))
  .map(([number, flags]) => ({ key: placeOf(number), flags, dirent: makeTextVal("1") }));
const commit = fc.record({
  sender: fc.constantFrom("one", "two", "three", "five", "six"),
  operations: fc.array(fc.oneof(operation, replaced), { minLength: 1, maxLength: 3 }),
});

/** A long commit of which as much is done as a turn does: it writes to `filling`. */
function underWay(special: Operation[] = []): Leader {
  const leader = leaderOfTest();
  submit(leader, "one", [put("filling.old.k"), put("other.k"), { ...put("link"), dirent: link("other") }]);
  leader.turn();
  submit(leader, "four", [...special, ...filling()]);
  leader.turn();
  assert.ok(leader.isInCommit);
  return leader;
}

test("what writes in other places passes", () => {
  const leader = underWay();
  const passing = [
    [put("filling.new")],
    [put("filling.old.k"), put("other.k")],
    [{ ...put("other.log"), flags: OPERATION_APPEND, dirent: long }],
    [remove("other.k", OPERATION_PRUNE)],
    [{ ...put("filling.empty"), dirent: { ver: 1, type: "dir", data: {} } }],
  ] satisfies Operation[][];
  for (const operations of passing) {
    submit(leader, "two", operations);
    assert.equal(leader.turn().versions.length, 1, JSON.stringify(operations));
  }
  assert.ok(leader.isInCommit);
});

test("a value for a place that it has given one is as if it came before; not from its own sender", () => {
  const other = { ...put("filling.0.0"), dirent: makeTextVal("other") };
  const leader = underWay([put("log", OPERATION_APPEND)]);
  submit(leader, "four", [other]);
  submit(leader, "two", [other, put("filling.1.1", OPERATION_APPEND)]);
  submit(leader, "three", [put("log")]);
  assert.deepEqual(
    leader.turn().versions.map(({ commits }) => commits.map(({ sender }) => sender)),
    [["two"]],
  );
  const lookup = { index: leader.index, held: new Map(), rootOf: () => leader.root("primary").rootref };
  const value = (key: string): TreeObject | null => lookupKey(lookup, leader.root("primary").rootref, key, 0);
  assert.deepEqual(value("filling.0.0"), other.dirent);
  const submitted: string[][] = [];
  while (leader.isInCommit)
    for (const { commits } of leader.turn().versions) submitted.push(commits.map(({ sender }) => sender));
  assert.deepEqual(submitted, [["four"], ["four", "three"]]);
  assert.deepEqual(value("filling.0.0"), other.dirent, "its sender wrote it last");
  assert.deepEqual(value("filling.1.1"), long);
});

test("what writes above or below what it has written, or may be led there by a link, waits; so does what its sender sent since", () => {
  const waiting = [
    [put("filling")],
    [remove("filling.0.0")],
    [{ ...put("filling.0.0"), dirent: { ver: 1, type: "dir", data: {} } }],
    [put("filling.0.0.below")],
    [put("other.k"), remove("filling.0")],
    [put("link.k")],
    [{ ...put("other.link"), dirent: link("filling") }],
    [put("filling.new", OPERATION_PRUNE), remove("filling.0.new", OPERATION_PRUNE)],
  ] satisfies Operation[][];
  for (const operations of waiting) {
    const leader = underWay();
    submit(leader, "two", operations);
    submit(leader, "two", [put("other.k")]);
    submit(leader, "three", [put("other.k")]);
    assert.deepEqual(
      leader.turn().versions.map(({ commits }) => commits.map(({ sender }) => sender)),
      [["three"]],
      JSON.stringify(operations),
    );
    while (leader.isInCommit) leader.turn();
    assert.equal(leader.queueLengthOf("primary"), 0);
  }
  const leader = underWay([put("link.k")]);
  submit(leader, "two", [put("other.j")]);
  assert.equal(leader.turn().versions.length, 0, "it went through a link itself");
});

test("what the version before refers to is in memory as long as that is the current one", () => {
  const leader = leaderOfTest(0);
  submit(leader, "one", filling().slice(0, LONG_COMMIT_OPERATIONS));
  leader.turn();
  const { rootref } = leader.root("primary");
  submit(leader, "four", filling().toReversed());
  leader.turn();
  while (leader.isInCommit) {
    for (let number = 0; number < 7; number++) {
      const lookup = { index: leader.index, held: new Map(), rootOf: () => rootref };
      assert.notEqual(lookupKey(lookup, rootref, `filling.${number}.${number}`, 0), null);
    }
    leader.turn();
  }
  assert.equal(leader.root("primary").rootseq, 2);
});

test("whatever passes a long commit, the log tells the same story", () => {
  let passedCount = 0;
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 6 }),
      // What the long one does, and where among the rest.
      fc.array(fc.tuple(fc.nat({ max: FILLING - 1 }), operation), { maxLength: 12 }),
      fc.array(fc.tuple(fc.nat({ max: 7 }), commit), { minLength: 4, maxLength: 16 }),
      (before, places, shorts) => {
        const leader = leaderOfTest();
        submit(leader, "one", before);
        const outcomes = [leader.turn()];
        const operations = filling();
        for (const [place, special] of places) operations[place] = special;
        submit(leader, "four", operations);
        for (let turn = 0; turn === 0 || leader.isInCommit || turn < 8; turn++) {
          assert.ok(turn < TURNS_MAX);
          for (const [when, short] of shorts) if (when === turn) submit(leader, short.sender, short.operations);
          const wasInCommit = leader.isInCommit;
          const outcome = leader.turn();
          if (wasInCommit && leader.isInCommit) passedCount += outcome.versions.length;
          assert.deepEqual(outcome.missing, []);
          outcomes.push(outcome);
        }
        assert.equal(leader.queueLengthOf("primary"), 0);
        const again = leaderOfTest();
        const records: NumberedRecord[] = outcomes.flatMap((outcome) => outcome.records);
        for (const record of records) again.replay(record);
        assert.equal(again.root("primary").rootref, leader.root("primary").rootref);
        assert.equal(again.root("primary").rootseq, leader.root("primary").rootseq);
      },
    ),
    { numRuns: 25 },
  );
  assert.ok(passedCount > 10, `${passedCount} versions were made beside long commits`);
});
