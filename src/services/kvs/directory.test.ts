/** Wide directories: any history gives the same form, versions are apart, and a change costs what it touches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utf8Decode } from "../../base/bytes.ts";
import {
  compareNames,
  isWideDirectory,
  joinPieces,
  parseWideDirectory,
  PLAIN_ENTRIES_MAX,
  startsPiece,
} from "../../formats/wide-directory.ts";
import { parseTreeobj, makeVal } from "../../formats/treeobj.ts";
import { nodeCodec } from "../../host/codec.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import { BlobIndex, bytesOf, MissingBlob } from "./blob-index.ts";
import { Directory } from "./directory.ts";
import { Draft } from "./transaction.ts";

const LIMITS = { cleanBytes: 2 ** 26, historyBytes: 2 ** 26 };
const newIndex = (): BlobIndex => new BlobIndex(nodeCodec(), "sha1", LIMITS);
const operation = (key: string, text: string | null): Operation => ({
  key,
  flags: 0,
  dirent: text === null ? null : makeVal(new Uint8Array(Buffer.from(text))),
});

/** The stored form of a directory with this content, made at once. */
function rootOf(content: ReadonlyMap<string, string>): string {
  const index = newIndex();
  const draft = new Draft(index, new Directory());
  draft.apply([...content].map(([name, text]) => operation(name, text)));
  return index.freeze(draft.root);
}

function contentOf(index: BlobIndex, ref: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const { names, entries } of index.directory(ref).parts(index))
    for (const [position, name] of names.entries()) {
      const entry = entries[position]!;
      assert.equal(entry.kind, "val");
      found.set(name, Buffer.from((entry as { data: string }).data, "base64").toString());
    }
  return found;
}

/** Names around those that begin pieces, in the order of a seed. */
const NAMES: string[] = Array.from({ length: 3000 }, (_, number) => (number % 7 === 0 ? `ƒ${number}` : `k${number}`));
const CUTS = NAMES.filter(startsPiece);

const history = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ set: fc.nat(NAMES.length - 1) }) },
    { weight: 4, arbitrary: fc.record({ remove: fc.nat(NAMES.length - 1) }) },
    { weight: 2, arbitrary: fc.record({ toggle: fc.constantFrom(...CUTS) }) },
    { weight: 1, arbitrary: fc.record({ removeFrom: fc.nat(NAMES.length), count: fc.nat(1500) }) },
    { weight: 1, arbitrary: fc.record({ setFrom: fc.nat(NAMES.length), count: fc.nat(1500) }) },
    { weight: 2, arbitrary: fc.constant({ version: true }) },
    { weight: 1, arbitrary: fc.constant({ failing: true }) },
  ),
  { maxLength: 40 },
);
type Step = typeof history extends fc.Arbitrary<(infer S)[]> ? S : never;

function operationsOf(step: Step, model: ReadonlyMap<string, string>, salt: number): Operation[] {
  const some = (from: number, count: number, text: string | null): Operation[] =>
    Array.from({ length: count }, (_, offset) => operation(NAMES[(from + offset) % NAMES.length]!, text));
  if ("set" in step) return some(step.set, 1, `v${salt}`);
  if ("remove" in step) return some(step.remove, 1, null);
  if ("toggle" in step) return [operation(step.toggle, model.has(step.toggle) ? null : "cut")];
  if ("removeFrom" in step) return some(step.removeFrom, step.count, null);
  if ("setFrom" in step) return some(step.setFrom, step.count, `w${salt}`);
  if ("failing" in step)
    return [...CUTS.map((name) => operation(name, null)), ...some(0, 1200, "x"), operation(".", "no")];
  return [];
}

test("whatever the history, a directory equals the model, and its blobref that of one made at once", () => {
  fc.assert(
    fc.property(fc.nat(2000), history, (initial, steps) => {
      const index = newIndex();
      const model = new Map<string, string>(NAMES.slice(0, initial).map((name) => [name, "first"]));
      let draft = new Draft(index, new Directory());
      draft.apply([...model].map(([name, text]) => operation(name, text)));
      const versions: { ref: string; content: Map<string, string> }[] = [];
      for (const [salt, step] of steps.entries()) {
        const operations = operationsOf(step, model, salt);
        if ("failing" in step) assert.throws(() => draft.apply(operations));
        else {
          draft.apply(operations);
          for (const { key, dirent } of operations)
            if (dirent === null) model.delete(key);
            else model.set(key, Buffer.from(dirent.data as string, "base64").toString());
        }
        if (!("version" in step)) continue;
        // A version that is hashed now, or goes on unhashed.
        if (salt % 2 === 0) versions.push({ ref: index.freeze(draft.root), content: new Map(model) });
        draft = new Draft(index, draft.root);
      }
      versions.push({ ref: index.freeze(draft.root), content: model });
      for (const { ref, content } of versions) {
        assert.equal(ref, rootOf(content));
        assert.deepEqual(contentOf(index, ref), new Map([...content].sort(([a], [b]) => compareNames(a, b))));
      }
      const root = index.directory(versions.at(-1)!.ref);
      for (const name of NAMES.slice(0, 200)) assert.equal(root.get(name, index) !== undefined, model.has(name), name);
    }),
    { numRuns: 150 },
  );
});

test("a wide directory is stored in pieces of which each but the first begins with a cut; joined they are RFC 11", () => {
  const index = newIndex();
  const content = new Map(Array.from({ length: 5000 }, (_, number) => [`name${number}`, String(number)]));
  const draft = new Draft(index, new Directory());
  draft.apply([...content].map(([name, text]) => operation(name, text)));
  const root = bytesOf(index.directory(index.freeze(draft.root)));
  assert.ok(isWideDirectory(root));
  const { pieces, size } = parseWideDirectory(root);
  assert.equal(size, 5000);
  assert.ok(pieces.length > 10 && pieces.length < 40, `${pieces.length} pieces`);
  for (const { first } of pieces.slice(1)) assert.ok(startsPiece(first), first);
  const whole = parseTreeobj(utf8Decode(joinPieces(pieces.map(({ ref }) => bytesOf(index.find(ref)!)))));
  assert.equal(whole.type === "dir" && Object.keys(whole.data).length, 5000);
});

test("a directory of so many entries is plain, of one more in pieces, and plain again", () => {
  const index = newIndex();
  const draft = new Draft(index, new Directory());
  draft.apply(Array.from({ length: PLAIN_ENTRIES_MAX }, (_, number) => operation(`k${number}`, "")));
  assert.equal(draft.root.pieces, null);
  draft.apply([operation("more", "")]);
  assert.notEqual(draft.root.pieces, null);
  draft.apply([operation("k7", null)]);
  assert.equal(draft.root.pieces, null);
});

test("finding and setting a name takes one piece; the others need not be in memory", () => {
  const origin = newIndex();
  const draft = new Draft(origin, new Directory());
  draft.apply(Array.from({ length: 20_000 }, (_, number) => operation(`k${number}`, String(number))));
  const root = origin.freeze(draft.root);
  const index = newIndex();
  const fetched = new Set<string>();
  const complete = <T>(action: () => T): T => {
    for (;;)
      try {
        return action();
      } catch (error) {
        if (!(error instanceof MissingBlob)) throw error;
        for (const ref of error.refs) {
          fetched.add(ref);
          index.addLoaded(ref, bytesOf(origin.find(ref)!), error.isDirectory);
        }
      }
  };
  assert.equal(complete(() => index.directory(root).get("k777", index))?.kind, "val");
  assert.equal(fetched.size, 2, "the root and a piece");
  const change = complete(() => new Draft(index, root));
  complete(() => change.apply([operation("k12345", "changed")]));
  index.freeze(change.root);
  assert.ok(fetched.size <= 3, `${fetched.size} blobs were fetched`);
  assert.equal(index.dirtyCount, 2, "a new root and a new piece");
});
