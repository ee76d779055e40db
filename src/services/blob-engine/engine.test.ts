/**
 * Any history of a blob database: what must be there is there after every step, and at the end, when nothing more
 * comes, only what is needed is left.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as fc from "fast-check";
import { concatBytes, hexDecode, hexEncode, utf8Encode } from "../../base/bytes.ts";
import { encodeBlobs } from "../../sdk/blob-batch.ts";
import { MemoryBlobFile } from "../../testkit/blob-file.ts";
import { BlobTables } from "../../testkit/blob-tables.ts";
import { BlobEngine } from "./engine.ts";
import { LEASE_MS } from "./leases.ts";

const LENGTH = 20;
const digest = (data: Uint8Array): Uint8Array => new Uint8Array(createHash("sha1").update(data).digest());
const keyOf = (text: string): string => hexEncode(digest(utf8Encode(text)));
/** So large beside the limits that a handful of blobs makes the collector begin. */
const pad = (text: string): string => text.padEnd(1000, "-");
const limits = { startBytes: 4000, dropBytes: 8000, slackBytes: 0 };

/** A directory: values by number, sub-directories; at most two levels. */
interface Tree {
  readonly values: readonly number[];
  readonly below: readonly Tree[];
}

/** Blobs of a tree by key, children first. */
function blobsOf({ values, below }: Tree, blobs = new Map<string, string>()): Map<string, string> {
  const data: Record<string, object> = {};
  for (const value of values) {
    const text = pad(`value ${value}`);
    blobs.set(keyOf(text), text);
    data[`v${value}`] = { ver: 1, type: "valref", data: [`sha1-${keyOf(text)}`] };
  }
  for (const [index, tree] of below.entries()) {
    blobsOf(tree, blobs);
    data[`d${index}`] = { ver: 1, type: "dirref", data: [`sha1-${rootOf(tree)}`] };
  }
  const text = JSON.stringify({ ver: 1, type: "dir", data });
  blobs.set(keyOf(text), text);
  return blobs;
}

function rootOf(tree: Tree): string {
  return [...blobsOf(tree).keys()].at(-1)!;
}

type Step =
  | { readonly kind: "commit"; readonly tree: Tree }
  | { readonly kind: "checkpoint"; readonly holds: boolean }
  | { readonly kind: "client"; readonly value: number }
  | { readonly kind: "adopt"; readonly value: number }
  | { readonly kind: "graft"; readonly tree: Tree }
  | { readonly kind: "work"; readonly slices: number; readonly answers: boolean }
  | { readonly kind: "time"; readonly ms: number }
  | { readonly kind: "restart" };

const values = fc.uniqueArray(fc.nat(12), { maxLength: 3 });
const leaf = fc.record({ values, below: fc.constant([]) });
const tree: fc.Arbitrary<Tree> = fc.record({ values, below: fc.array(leaf, { maxLength: 2 }) });
const work = fc.record({ kind: fc.constant("work" as const), slices: fc.nat(12), answers: fc.boolean() });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("commit" as const), tree }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("checkpoint" as const), holds: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("client" as const), value: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("adopt" as const), value: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("graft" as const), tree }) },
  { weight: 8, arbitrary: work },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("time" as const), ms: fc.constantFrom(2000, LEASE_MS, 3 * LEASE_MS) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);

/** The key-value store and its clients, as far as the database hears of them; it remembers what must be there. */
class History {
  readonly #tables = new BlobTables();
  #engine: BlobEngine;
  #nowMs = 0;
  #isTold = false;
  #isWanted = false;
  /** What the present version of the tree needs, and what of it was made or adopted since the last checkpoint. */
  #current = new Map<string, string>();
  #root = rootOf({ values: [], below: [] });
  #dirty = new Map<string, string>();
  /** What was adopted and no checkpoint contains yet, and what an earlier one was owed. */
  #adopted = [new Set<string>(), new Set<string>()];
  readonly #leased = new Map<string, number>();
  #held: readonly string[] = [];
  readonly #reached = new Map<number, Set<string>>();
  readonly #contents = new Map<string, Set<string>>();

  constructor() {
    this.#engine = this.#open();
    this.do({ kind: "commit", tree: { values: [], below: [] } });
  }

  #open(): BlobEngine {
    const file = new MemoryBlobFile(this.#tables, { begin: () => {} });
    return new BlobEngine(
      file,
      {
        digest,
        digestLength: LENGTH,
        nowMs: () => (this.#nowMs += 0.3),
        checkpointsKept: 2,
        sizeLimitBytes: null,
        limits,
      },
      {
        forget: () => void (this.#isTold = true),
        checkpointWanted: () => void (this.#isWanted = true),
        trouble: (error) => assert.fail(error),
      },
    );
  }

  do(each: Step): void {
    switch (each.kind) {
      case "commit":
        return this.#commit(blobsOf(each.tree), rootOf(each.tree));
      case "checkpoint":
        return this.#checkpoint(each.holds);
      case "client": {
        const text = pad(`value ${each.value}`);
        this.#engine.store(encodeBlobs([utf8Encode(text)]), true);
        this.#leased.set(keyOf(text), this.#nowMs);
        return;
      }
      case "adopt":
        return void this.#adopt([keyOf(pad(`value ${each.value}`))]);
      case "graft":
        return this.#graft(each.tree);
      case "work":
        return this.#work(each.slices, each.answers);
      case "time":
        this.#nowMs += each.ms;
        return;
      case "restart":
        return this.#restart();
    }
  }

  #commit(blobs: Map<string, string>, root: string): void {
    for (const [key, text] of blobs) if (!this.#current.has(key)) this.#dirty.set(key, text);
    this.#current = blobs;
    this.#root = root;
  }

  /** A commit refers to blobs that it did not make: those that are there must stay. */
  #adopt(keys: readonly string[]): boolean {
    const missing = this.#engine.keep(concatBytes(keys.map((key) => hexDecode(key)!)), "adopt");
    if (missing.byteLength > 0) return false;
    for (const key of keys) {
      this.#adopted[0]!.add(key);
      this.#leased.delete(key);
    }
    return true;
  }

  /** A directory of an older version comes back by its reference, if it is still there. */
  #graft(again: Tree): void {
    const blobs = blobsOf(again);
    const root = rootOf(again);
    if (!this.#adopt([root])) return;
    for (const key of blobs.keys()) this.#adopted[0]!.add(key);
    this.#current = blobs;
    this.#root = root;
    this.#dirty.clear();
  }

  /** What was made since the last one and is needed is stored, then the checkpoint is put. */
  #checkpoint(holds: boolean): void {
    const needed = [...this.#dirty].filter(([key]) => this.#current.has(key)).map(([, text]) => utf8Encode(text));
    this.#isWanted = false;
    this.#engine.store(encodeBlobs(needed), false);
    this.#dirty.clear();
    this.#work(2, true);
    this.#contents.set(this.#root, new Set(this.#current.keys()));
    const held = holds ? [this.#root] : this.#held.slice(0, 1);
    const log = { number: 1, namespaces: null, held: held.map((key) => `sha1-${key}`) };
    this.#engine.putCheckpoint(JSON.stringify({ version: 1, rootref: `sha1-${this.#root}`, log }));
    this.#held = held;
    const reached = new Set([this.#root, ...held].flatMap((key) => [...this.#contents.get(key)!]));
    this.#reached.set(this.#engine.checkpoints()[0]!.id, reached);
    this.#adopted = [new Set(), this.#adopted[0]!];
  }

  #work(slices: number, answers: boolean): void {
    for (let slice = 0; slice < slices; slice++) {
      if (this.#engine.delayMs() !== null) this.#engine.step();
      if (this.#isTold && answers) this.#answer();
    }
  }

  #answer(): void {
    this.#isTold = false;
    this.#engine.forgotten();
  }

  /** The engine forgets all but its file; the key-value store comes back with what its log says. */
  #restart(): void {
    this.#isTold = false;
    this.#leased.clear();
    this.#adopted = [new Set(), new Set()];
    this.#engine = this.#open();
  }

  /** Keys of blobs that must be there. */
  needed(): Set<string> {
    const needed = new Set<string>([...this.#adopted[0]!, ...this.#adopted[1]!]);
    for (const { id } of this.#engine.checkpoints()) for (const key of this.#reached.get(id)!) needed.add(key);
    for (const key of this.#current.keys()) if (!this.#dirty.has(key)) needed.add(key);
    for (const [key, atMs] of this.#leased) if (this.#nowMs - atMs < LEASE_MS) needed.add(key);
    return needed;
  }

  check(): void {
    for (const key of this.needed()) assert.ok(this.#tables.blobs.has(key), `${key} is gone`);
  }

  /** Nothing more comes but time, and checkpoints that the database asks for. */
  settle(): void {
    this.#held = [];
    this.#checkpoint(false);
    for (let round = 0; round < 4; round++) {
      this.#nowMs += 3 * LEASE_MS;
      for (let slice = 0; slice < 300; slice++) {
        if (this.#engine.delayMs() === null && !this.#isTold) break;
        this.#nowMs += this.#engine.delayMs() ?? 0;
        this.#work(1, true);
        if (this.#isWanted) this.#checkpoint(false);
      }
    }
    // What was adopted and has been superseded is not needed, for all that the database can know.
    this.#adopted = [new Set(), new Set()];
    this.#leased.clear();
  }

  /** Keys that are left and not needed; none while there is little of them. */
  unneeded(): string[] {
    const needed = this.needed();
    const keys = [...this.#tables.blobs.keys()].filter((key) => !needed.has(key));
    const bytes = keys.reduce((total, key) => total + this.#tables.blobs.get(key)!.data.byteLength, 0);
    return bytes < 2 * limits.startBytes ? [] : keys;
  }
}

test("nothing that is needed is ever removed, and in the end nothing else is left", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60 }), (steps) => {
      const history = new History();
      for (const each of steps) {
        history.do(each);
        history.check();
      }
      history.settle();
      history.check();
      assert.deepEqual(history.unneeded(), []);
    }),
    { numRuns: 150 },
  );
});

test("a long value that was superseded at once is gone after checkpoints that the database asks for", () => {
  let nowMs = 0;
  const asked: number[] = [];
  const root = JSON.stringify({ ver: 1, type: "dir", data: {} });
  const options = { digest, digestLength: LENGTH, checkpointsKept: 2, sizeLimitBytes: null, limits };
  const engine: BlobEngine = new BlobEngine(
    new MemoryBlobFile(new BlobTables(), { begin: () => {} }),
    { ...options, nowMs: () => (nowMs += 0.1) },
    {
      forget: () => engine.forgotten(),
      checkpointWanted: () => void asked.push(engine.stats().objectCount),
      trouble: (error) => assert.fail(error),
    },
  );
  const put = (): void => engine.putCheckpoint(JSON.stringify({ version: 1, rootref: `sha1-${keyOf(root)}` }));
  engine.store(encodeBlobs([utf8Encode(root)]), false);
  const pieces = engine.store(encodeBlobs([1, 2, 3, 4, 5, 6].map((value) => utf8Encode(pad(`piece ${value}`)))), true);
  engine.keep(pieces, "adopt");
  put();
  const handled: number[] = [];
  for (let slice = 0; slice < 200 && engine.delayMs() !== null; slice++) {
    nowMs += engine.delayMs()!;
    engine.step();
    if (asked.length === handled.length) continue;
    handled.push(asked.at(-1)!);
    put();
  }
  assert.deepEqual(asked, [7], "the second checkpoint after it was adopted is the last that it is kept for");
  assert.equal(engine.stats().objectCount, 1);
  assert.equal(engine.stats().collector.removedCount, 6);
});
