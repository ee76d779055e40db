/** What the leader's memory promises while a store drops all that no checkpoint reaches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hexDecode } from "../../base/bytes.ts";
import { makeDir, makeDirref, makeVal, type Treeobj } from "../../formats/treeobj.ts";
import { nodeCodec } from "../../host/codec.ts";
import { Payload } from "../../protocol/message.ts";
import { BlobIndex, bytesOf, MissingBlob } from "./blob-index.ts";
import { Leader } from "./core.ts";
import type { NewVersion } from "./outcome.ts";
import { Directory } from "./directory.ts";
import type { Node } from "./node-cache.ts";
import { parseDirectory, referencesOf } from "./tree.ts";

/** A leader beside a store that keeps exactly what the last checkpoint, what is being stored for the next, and adoptions reach. */
class World {
  readonly index = new BlobIndex(nodeCodec(), "sha1", { cleanBytes: 2000, historyBytes: 1 });
  readonly leader = new Leader(this.index, 1);
  readonly store = new Map<string, Uint8Array>();
  readonly versions: NewVersion["root"][] = [];
  held: string[] = [];
  #adopted = new Set<string>();
  readonly #loaded: string[] = [];
  #flush: { nodes: Map<string, Node>; roots: string[] } | null = null;
  #savedRoots: string[] = [];

  commit(operations: { key: string; dirent: Treeobj | null }[]): void {
    const request = {
      namespace: "primary",
      flags: 0,
      operations: operations.map((each) => ({ ...each, flags: 0 })),
      once: null,
    };
    this.leader.submit({ request, payload: Payload.json({}), sender: "", adopted: new Set(), settle: () => {} });
    for (;;) {
      const { versions, missing, foreign } = this.leader.turn();
      for (const { root } of versions) this.versions.push(root);
      if (missing.length + foreign.length === 0) return this.index.release(this.#loaded.splice(0));
      for (const { blobs } of missing) this.load(blobs);
      for (const { refs, commits } of foreign) {
        for (const ref of refs) this.#adopted.add(ref);
        for (const commit of commits) commit.adopted = new Set([...commit.adopted, ...refs]);
      }
      this.leader.unblock("primary", null);
    }
  }

  load({ refs, isDirectory }: MissingBlob): void {
    for (const ref of refs) {
      assert.ok(this.store.has(ref), `${ref} is in the store`);
      this.index.addLoaded(ref, this.store.get(ref)!, isDirectory);
      this.#loaded.push(ref);
    }
  }

  hold(rootref: string): void {
    this.held = [rootref];
    this.index.revive([rootref]);
  }

  begin(): void {
    if (this.#flush !== null) return;
    const roots = [this.leader.snapshot().primary.rootref, ...this.held];
    this.index.beginFlush();
    const nodes = new Map<string, Node>();
    for (const _ of this.index.reach(roots, nodes)) assert.fail("one slice is enough");
    this.#flush = { nodes, roots };
    for (const [ref, node] of this.#flush.nodes) this.store.set(ref, bytesOf(node));
  }

  end(succeeds: boolean): void {
    if (this.#flush === null) return;
    const { nodes, roots } = this.#flush;
    this.#flush = null;
    if (!succeeds) return this.index.cancelFlush();
    for (const _ of this.index.endFlush(nodes)) assert.fail("one slice is enough");
    this.#savedRoots = roots;
    this.#adopted = new Set();
  }

  /** Drops what no checkpoint reaches, but what is being stored for the next one. */
  collect(): void {
    const marked = new Set<string>(this.#flush?.nodes.keys());
    const stack = [...this.#savedRoots, ...this.#adopted, ...marked];
    for (let ref = stack.pop(); ref !== undefined; ref = stack.pop()) {
      const blob = this.store.get(ref);
      if (blob === undefined || (marked.has(ref) && this.#flush?.nodes.has(ref) !== true)) continue;
      marked.add(ref);
      if (blob[0] === 0x7b)
        for (const child of referencesOf(parseDirectory(blob, ref))) if (!marked.has(child)) stack.push(child);
    }
    for (const ref of this.store.keys()) {
      if (marked.has(ref)) continue;
      this.store.delete(ref);
      this.index.forget([hexDecode(ref.slice(5))!]);
    }
  }

  /** Everything that a root reaches can be read, with nothing but the store and what may not be evicted. */
  check(rootref: string): void {
    this.index.dropClean();
    const stack = [rootref];
    for (let ref = stack.pop(); ref !== undefined; ref = stack.pop()) {
      const node = this.index.find(ref) ?? this.store.get(ref);
      assert.ok(node !== undefined, `${ref} can be read`);
      const directory = node instanceof Directory ? node : node[0] === 0x7b ? parseDirectory(node, ref) : null;
      if (directory !== null) stack.push(...referencesOf(directory));
    }
  }
}

const keys = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 }).map((names) => names.join("."));
const texts = fc.oneof(fc.constantFrom("1", "2"), fc.constantFrom("x".repeat(80), "y".repeat(80)));
const val = (text: string): Treeobj => makeVal(new Uint8Array(Buffer.from(text)));
const steps = fc.oneof(
  { weight: 8, arbitrary: fc.record({ put: keys, text: texts }) },
  { weight: 3, arbitrary: fc.record({ unlink: keys }) },
  { weight: 1, arbitrary: fc.record({ mkdir: keys }) },
  // A tree that some version had, put elsewhere; if it is gone by then, it is not put.
  { weight: 2, arbitrary: fc.record({ snapshot: keys, age: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.constantFrom({ do: "begin" }, { do: "end" }, { do: "fail" }) },
  { weight: 2, arbitrary: fc.constantFrom({ do: "collect" }, { do: "hash" }, { do: "hold" }, { do: "release" }) },
);
type Step = typeof steps extends fc.Arbitrary<infer S> ? S : never;

function act(world: World, step: Step): void {
  if ("put" in step) return world.commit([{ key: step.put, dirent: val(step.text) }]);
  if ("unlink" in step) return world.commit([{ key: step.unlink, dirent: null }]);
  if ("mkdir" in step) return world.commit([{ key: step.mkdir, dirent: makeDir() }]);
  if ("snapshot" in step) {
    const version = world.versions.at(-1 - step.age);
    const isHeld = version !== undefined && (step.age === 0 || world.held.includes(version.rootref));
    if (isHeld) world.commit([{ key: step.snapshot, dirent: makeDirref(version.rootref) }]);
    return;
  }
  const current = world.leader.root("primary");
  if (step.do === "begin") world.begin();
  else if (step.do === "end" || step.do === "fail") world.end(step.do === "end");
  else if (step.do === "collect") world.collect();
  else if (step.do === "hash") void current.rootref;
  else if (step.do === "hold") world.hold(current.rootref);
  else world.held = [];
}

test("whatever is dropped by a store that keeps only what checkpoints reach, the current and the held versions stay whole", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 60 }), fc.boolean(), (history, checksAlways) => {
      const world = new World();
      for (const step of history) {
        act(world, step);
        if (!checksAlways) continue;
        for (const ref of [world.leader.root("primary").rootref, ...world.held]) world.check(ref);
      }
      world.end(true);
      world.begin();
      world.end(true);
      world.collect();
      for (const ref of [world.leader.root("primary").rootref, ...world.held]) world.check(ref);
    }),
    { numRuns: 2000 },
  );
});
