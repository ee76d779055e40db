import assert from "node:assert/strict";
import { test } from "node:test";
import { base64Decode, utf8Decode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import { MessageType, responseTo, type Message, type RequestMessage } from "../protocol/message.ts";
import { SimulatedClock } from "../testkit/clock.ts";
import { Scope } from "../testkit/scope.ts";
import { Seeded } from "../testkit/seeded.ts";
import { Timeline } from "../testkit/timeline.ts";
import { Handle } from "./handle.ts";
import { KvsBatch } from "./kvs-batch.ts";

interface Commit {
  readonly ops: Record<string, string>;
  readonly appends: readonly string[];
  readonly once: JsonObject;
  answer(errnum?: number): void;
}

/** A batch whose commits the test sees and answers. */
function batch() {
  const timeline = new Timeline(new Seeded(1));
  const commits: Commit[] = [];
  const failures: FluxError[] = [];
  const delays: FluxError[] = [];
  let receive: (message: Message) => void = () => {};
  const handle = new Handle({
    start: (listener) => (receive = listener),
    send: (message) => commits.push(commitOf(message as RequestMessage, (response) => receive(response))),
    close: () => {},
  });
  const clock = new SimulatedClock(timeline, new Scope("test"));
  const kvs = new KvsBatch({
    handle,
    clock,
    sender: "test",
    failed: (error) => failures.push(error),
    delayed: (error) => delays.push(error),
  });
  return { timeline, commits, failures, delays, kvs };
}

function commitOf(message: RequestMessage, respond: (message: Message) => void): Commit {
  assert.equal(message.type, MessageType.Request);
  const ops = message.payload!.value["ops"] as unknown as { key: string; flags: number; dirent: { data: string } }[];
  return {
    once: message.payload!.value["once"] as JsonObject,
    ops: Object.fromEntries(ops.map(({ key, dirent }) => [key, utf8Decode(base64Decode(dirent.data)!)])),
    appends: ops.filter(({ flags }) => flags === 32).map(({ key }) => key),
    answer: (errnum = 0) => respond(responseTo(message, errnum, null)),
  };
}

test("writes of one turn are one commit, and appends to a key one operation", async () => {
  const { timeline, commits, kvs } = batch();
  kvs.append("log", "a\n");
  kvs.append("log", "b\n");
  kvs.put("R", "old");
  kvs.put("R", "new");
  assert.equal(commits.length, 0);
  await timeline.runToQuiet(1000);
  assert.deepEqual(
    commits.map(({ ops }) => ops),
    [{ log: "a\nb\n", R: "new" }],
  );
  assert.deepEqual(commits[0]!.appends, ["log"]);
});

test("what may wait does, until its time, or until it is hastened", async () => {
  const { timeline, commits, kvs } = batch();
  kvs.append("slow", "1", 20);
  kvs.append("other", "2", 500);
  await timeline.runUntil(() => commits.length > 0, 1000);
  assert.ok(timeline.nowMs >= 20 && timeline.nowMs < 30);
  assert.deepEqual(commits[0]!.ops, { slow: "1" });
  kvs.hasten("other");
  kvs.flush();
  assert.deepEqual(commits[1]!.ops, { other: "2" });
});

test("flush sends at once, and settle resolves with the answer", async () => {
  const { commits, kvs } = batch();
  kvs.append("log", "a");
  kvs.flush();
  assert.equal(commits.length, 1);
  let isSettled = false;
  const settled = kvs.settle("log").then(() => (isSettled = true));
  await Promise.resolve();
  assert.equal(isSettled, false);
  commits[0]!.answer();
  await settled;
  assert.equal(kvs.length, 0);
  await kvs.settle("log");
});

test("a failed commit rejects those who wait, and is told", async () => {
  const { commits, failures, kvs } = batch();
  kvs.append("log", "a");
  const settled = kvs.settle("log");
  kvs.flush();
  commits[0]!.answer(21);
  await assert.rejects(settled, { message: "Is a directory" });
  assert.equal(failures.length, 1);
  assert.equal(kvs.length, 0);
});

const ENOSPC = 28;
const EHOSTUNREACH = 113;

test("what a full disk refuses is sent again until it is taken, in order, with what came meanwhile", async () => {
  const { timeline, commits, failures, delays, kvs } = batch();
  kvs.append("log", "1\n");
  kvs.put("R", "old");
  kvs.flush();
  let isSettled = false;
  const settled = kvs.settle("log").then(() => (isSettled = true));
  commits[0]!.answer(ENOSPC);
  await timeline.runUntil(() => delays.length > 0, 0);
  kvs.append("log", "2\n");
  kvs.put("R", "new");
  kvs.flush();
  assert.equal(commits.length, 1, "what is refused goes first");
  await timeline.runUntil(() => commits.length === 2, 5000);
  assert.deepEqual(commits[1]!.ops, { log: "1\n", R: "old" });
  assert.deepEqual(commits[1]!.appends, ["log"]);
  commits[1]!.answer(ENOSPC);
  await timeline.runUntil(() => commits.length === 3, 5000);
  assert.deepEqual([isSettled, delays.length], [false, 1], "a trouble that lasts is told once");
  commits[2]!.answer();
  await timeline.runUntil(() => commits.length === 4, 5000);
  assert.deepEqual(commits[3]!.ops, { log: "2\n", R: "new" });
  commits[3]!.answer();
  await Promise.all([settled, kvs.settle("log")]);
  assert.deepEqual([kvs.length, failures.length, kvs.isUnderWay("log", 8)], [0, 0, false]);
  kvs.append("log", "3\n");
  kvs.append("other", "3\n");
  kvs.flush();
  assert.deepEqual(commits[4]!.ops, { log: "3\n", other: "3\n" });
});

test("commits that were under way behind a refused one: what was refused goes again, and who waits waits for all", async () => {
  const { timeline, commits, delays, kvs } = batch();
  for (const text of ["1", "2", "3"]) {
    kvs.append("log", text);
    kvs.flush();
  }
  let isSettled = false;
  const settled = kvs.settle("log").then(() => (isSettled = true));
  commits[0]!.answer(ENOSPC);
  commits[1]!.answer(ENOSPC);
  assert.equal(await timeline.runUntil(() => commits.length > 3, 5000), false);
  assert.equal(commits.length, 3, "the third may be taken or refused: it is waited for");
  commits[2]!.answer();
  await timeline.runUntil(() => commits.length === 4, 5000);
  assert.deepEqual(commits[3]!.ops, { log: "1" });
  commits[3]!.answer();
  await timeline.runUntil(() => commits.length === 5, 5000);
  assert.deepEqual(commits[4]!.ops, { log: "2" });
  assert.deepEqual([isSettled, delays.length], [false, 1]);
  commits[4]!.answer();
  await settled;
  assert.equal(kvs.length, 0);
});

test("what was lost with a link is sent again as it was, and says which it is and what was answered", async () => {
  const { timeline, commits, kvs } = batch();
  for (const text of ["1", "2", "3"]) {
    kvs.append("log", text);
    kvs.flush();
  }
  commits[0]!.answer();
  // The answers may come in another order than the commits went.
  commits[2]!.answer(EHOSTUNREACH);
  commits[1]!.answer(EHOSTUNREACH);
  await timeline.runUntil(() => commits.length === 4, 5000);
  commits[3]!.answer();
  await timeline.runUntil(() => commits.length === 5, 5000);
  const told = commits.map(({ ops, once }) => [ops["log"], once["number"], once["answered"]]);
  assert.deepEqual(told, [
    ["1", 1, 0],
    ["2", 2, 0],
    ["3", 3, 0],
    ["2", 2, 1],
    ["3", 3, 2],
  ]);
});

test("a value that is set after text was appended replaces it", () => {
  const { commits, kvs } = batch();
  kvs.append("key", "text");
  kvs.put("key", "value");
  kvs.append("key", " and more");
  kvs.flush();
  assert.deepEqual([commits[0]!.ops, commits[0]!.appends], [{ key: "value and more" }, []]);
});

test("a large backlog goes in several commits, in order", () => {
  const { commits, kvs } = batch();
  const large = "x".repeat(700_000);
  for (const key of ["a", "b", "c"]) kvs.append(key, large);
  kvs.flush();
  assert.deepEqual(
    commits.map(({ ops }) => Object.keys(ops)),
    [["a"], ["b"], ["c"]],
  );
});

test("what waits can be taken back, to go another way", async () => {
  const { timeline, commits, kvs } = batch();
  kvs.append("log", "a\n", 20);
  kvs.append("log", "b\n", 20);
  kvs.append("long", "0123456789", 20);
  kvs.put("R", "{}");
  assert.equal(kvs.isUnderWay("log", 8), false);
  assert.equal(kvs.take("log", 8), "a\nb\n");
  assert.equal(kvs.take("log", 8), null, "it is there once");
  assert.equal(kvs.take("long", 8), null, "it is too long");
  assert.equal(kvs.take("R", 8), null, "a value that is set is no text to append");
  assert.equal(kvs.isUnderWay("long", 8), true);
  await timeline.runToQuiet(1000);
  assert.deepEqual(
    commits.map(({ ops }) => ops),
    [{ R: "{}" }, { long: "0123456789" }],
  );
  assert.equal(kvs.isUnderWay("R", 8), true, "it is on its way until it is answered");
});

test("who need not wait for room hears as soon as there is none; what was written is committed when there is", async () => {
  const { timeline, commits, kvs } = batch();
  kvs.append("log", "a\n");
  const settled = kvs.settle("log", { orDelayed: true });
  const committed = kvs.settle("log");
  await timeline.runUntil(() => commits.length === 1, 1000);
  commits[0]!.answer(28);
  await settled;
  // While there is no room, nobody begins to wait for it.
  kvs.put("key", "b");
  await kvs.settle("key", { orDelayed: true });
  await timeline.runUntil(() => commits.length === 2, 10_000);
  commits[1]!.answer();
  await committed;
  await timeline.runUntil(() => commits.length === 3, 1000);
  const sent = commits.slice(1).map(({ ops }) => ops);
  assert.deepEqual(sent, [{ log: "a\n" }, { key: "b" }]);
});
