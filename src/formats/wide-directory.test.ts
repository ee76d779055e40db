import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { parseTreeobj } from "./treeobj.ts";
import {
  compareNames,
  directoryTextOf,
  startsPiece,
  isWideDirectory,
  joinPieces,
  parseWideDirectory,
  pieceText,
  quoteName,
  wideDirectoryText,
} from "./wide-directory.ts";

const REF = `sha1-${"a".repeat(40)}`;
const names = fc.uniqueArray(fc.string({ unit: "grapheme", minLength: 1, maxLength: 6 }), { minLength: 1 });
const value = (name: string): string => `${quoteName(name)}:{"data":"","type":"val","ver":1}`;

test("the blob of a directory in pieces is recognised by its ends, and read back", () => {
  fc.assert(
    fc.property(names, (firsts) => {
      const pieces = firsts.map((first) => ({ first, ref: REF }));
      const blob = utf8Encode(wideDirectoryText(pieces.map(pieceText), 2000));
      assert.ok(isWideDirectory(blob));
      assert.deepEqual(parseWideDirectory(blob), { pieces, size: 2000 });
    }),
  );
});

test("no directory of RFC 11 and no other text is taken for one; malformed ones are refused", () => {
  for (const text of ["", "{}", directoryTextOf([]), directoryTextOf([value("pieces")]), `{"data":[],"ver":1}`])
    assert.equal(isWideDirectory(utf8Encode(text)), false, text);
  for (const data of ["[]", "{}", `[{"first":1,"ref":"${REF}"}]`, '[{"first":"a","ref":"sha1-zz"}]', "[null]"])
    assert.throws(
      () => parseWideDirectory(utf8Encode(`{"data":${data},"size":1,"type":"pieces","ver":1}`)),
      /malformed/,
    );
  assert.throws(() => parseWideDirectory(utf8Encode(directoryTextOf([]))), /malformed/);
});

test("joined pieces are the text of the whole directory", () => {
  fc.assert(
    fc.property(names, fc.infiniteStream(fc.boolean()), (all, cuts) => {
      const members = all.toSorted(compareNames).map(value);
      const pieces: string[][] = [[]];
      for (const member of members) {
        pieces.at(-1)!.push(member);
        if (cuts.next().value) pieces.push([]);
      }
      const joined = utf8Decode(joinPieces(pieces.map((piece) => utf8Encode(directoryTextOf(piece)))));
      assert.equal(joined, directoryTextOf(members));
      assert.equal(parseTreeobj(joined).type, "dir");
    }),
  );
  assert.throws(() => joinPieces([utf8Encode("no directory at all, but long enough")]), /malformed/);
});

test("names are ordered by code points, as their UTF-8 is by bytes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (left, right) => {
      const bytes = Buffer.compare(Buffer.from(left), Buffer.from(right));
      assert.equal(Math.sign(compareNames(left, right)), bytes);
    }),
  );
});

test("about one name in 256 starts a piece, also in a series", () => {
  const series: ((index: number) => string)[] = [
    (index) => String(index),
    (index) => String(index * 2).padStart(8, "0"),
    (index) => `job${index}${index}`,
    (index) => `ƒ${index.toString(36)}`,
    (index) => `task.${index.toString(2)}`,
  ];
  for (const [position, nameOf] of series.entries()) {
    const count = Array.from({ length: 51_200 }, (_, index) => nameOf(index)).filter(startsPiece).length;
    assert.ok(count > 120 && count < 300, `series ${position}: ${count} cuts, 200 expected`);
  }
});
