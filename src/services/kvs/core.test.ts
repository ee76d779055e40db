import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeCodec } from "../../host/codec.ts";
import { Payload } from "../../protocol/message.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { type Operation } from "../../sdk/kvs-protocol.ts";
import { BlobIndex } from "./blob-index.ts";
import { Leader } from "./core.ts";
import type { NamespaceRoot } from "./version.ts";

function leaderOfTest(): Leader {
  const limits = { cleanBytes: 2 ** 20, historyBytes: 2 ** 20 };
  return new Leader(new BlobIndex(nodeCodec(), "sha1", limits), 1);
}

/** Commits one value; returns the version. */
function put(leader: Leader, key: string, text: string): NamespaceRoot {
  submit(leader, key, text);
  return leader.turn().versions[0]!.root;
}

function submit(leader: Leader, key: string, text: string): void {
  const operations: Operation[] = [{ key, flags: 0, dirent: makeTextVal(text) }];
  const request = { namespace: "primary", flags: 0, operations, once: null };
  const payload = Payload.json({ ops: operations });
  leader.submit({ request, payload, sender: "", adopted: new Set(), settle: () => {} });
}

test("a version's reference is that of its tree, whenever it is asked for", () => {
  const eager = leaderOfTest();
  const late = leaderOfTest();
  const steps = Array.from(
    { length: 40 },
    (_, step) => [`dir${step % 3}.sub.key${step % 7}`, `value ${step}`] as const,
  );
  const references = steps.map(([key, text]) => put(eager, key, text).rootref);
  const versions = steps.map(([key, text]) => put(late, key, text));
  assert.equal(new Set(references).size, steps.length);
  // The newest first: what the older ones share with it must not have changed.
  assert.deepEqual(
    versions.toReversed().map(({ rootref }) => rootref),
    references.toReversed(),
  );
});

test("versions that nobody asks about cost no blobs", () => {
  const leader = leaderOfTest();
  const before = leader.index.count;
  for (let step = 0; step < 100; step++) put(leader, "a.b.c", String(step));
  assert.equal(leader.index.count, before);
  assert.match(leader.root("primary").rootref, /^sha1-/);
  assert.equal(leader.index.count, before + 3, "the root, a and a.b");
});

test("a turn that could not be logged leaves the version before as it was", () => {
  const leader = leaderOfTest();
  put(leader, "a.b", "1");
  submit(leader, "a.b", "2");
  leader.rollBack(leader.turn());
  const other = leaderOfTest();
  assert.equal(leader.root("primary").rootref, put(other, "a.b", "1").rootref);
  assert.equal(put(leader, "a.c", "3").rootref, put(other, "a.c", "3").rootref);
});
