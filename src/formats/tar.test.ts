import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { concatBytes, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { TarReader } from "./tar-reader.ts";
import { encodeTarHeader, plainMember, tarEnd, tarPaddingBytes, type TarMember } from "./tar.ts";

interface Read {
  readonly member: TarMember;
  readonly content: Uint8Array;
}

function archive(
  members: readonly { member: Parameters<typeof encodeTarHeader>[0]; content: Uint8Array }[],
): Uint8Array {
  const parts = members.flatMap(({ member, content }) => [
    encodeTarHeader(member),
    content,
    new Uint8Array(tarPaddingBytes(content.byteLength)),
  ]);
  return concatBytes([...parts, tarEnd()]);
}

function file(path: string, content: string | Uint8Array, values: Partial<TarMember> = {}) {
  const bytes = typeof content === "string" ? utf8Encode(content) : content;
  return { member: plainMember("file", path, { ...values, sizeBytes: bytes.byteLength }), content: bytes };
}

/** Reads an archive given in pieces of a length in bytes. */
function read(bytes: Uint8Array, pieceBytes = 10_000): Read[] {
  const reader = new TarReader();
  const found: { member: TarMember; parts: Uint8Array[]; isComplete: boolean }[] = [];
  for (let start = 0; start < bytes.byteLength; start += pieceBytes)
    for (const event of reader.push(bytes.subarray(start, start + pieceBytes))) {
      if (event.kind === "member") found.push({ member: event.member, parts: [], isComplete: false });
      else if (event.kind === "content") found.at(-1)!.parts.push(event.bytes);
      else found.at(-1)!.isComplete = true;
    }
  reader.finish();
  assert.ok(found.every(({ isComplete }) => isComplete));
  return found.map(({ member, parts }) => ({ member, content: concatBytes(parts) }));
}

/** Makes files in a directory, runs a shell command there, and returns what it prints. */
function inShell(files: Readonly<Record<string, Uint8Array>>, command: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), "flux-tar-"));
  try {
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
    return execFileSync("sh", ["-c", command], {
      cwd: directory,
      maxBuffer: 1 << 26,
      env: { ...process.env, TZ: "UTC" },
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

describe("tar archives", () => {
  test("any name, link, size and time is read as it was written, in pieces of any length", () => {
    const path = fc
      .array(fc.oneof(fc.string({ minLength: 1, maxLength: 40 }), fc.constant("x".repeat(120))), {
        minLength: 1,
        maxLength: 6,
      })
      .map((parts) => parts.map((part) => part.replaceAll(/[\0/\ud800-\udfff]/g, "_")).join("/"));
    const member = fc.record({
      path,
      target: fc.option(path, { nil: null }),
      content: fc.uint8Array({ maxLength: 1500 }),
      mtime: fc.integer({ min: -(2 ** 35), max: 2 ** 40 }),
      uid: fc.integer({ min: 0, max: 2 ** 32 }),
    });
    fc.assert(
      fc.property(
        fc.array(member, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 3000 }),
        (values, pieceBytes) => {
          const members = values.map(({ path, target, content, mtime, uid }) =>
            target === null
              ? file(path, content, { mtime, uid })
              : { member: plainMember("symlink", path, { target, mtime, uid }), content: new Uint8Array(0) },
          );
          const found = read(archive(members), pieceBytes);
          assert.deepEqual(
            found.map(({ member, content }) => ({ member, content })),
            members.map(({ member, content }) => ({ member, content: concatBytes([content]) })),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  test("tar(1) lists what is written", () => {
    const long = `${"d".repeat(90)}/${"n".repeat(90)}`;
    const bytes = archive([
      file("a/b", "42", { mtime: 86_400 }),
      file("ключ", "x"),
      file(long, "in two fields"),
      file(`${"long".repeat(60)}`, "in a record"),
      { member: plainMember("symlink", "link", { target: "ns::a.b" }), content: new Uint8Array(0) },
    ]);
    const listed = inShell({ "a.tar": bytes }, "tar tvf a.tar --quoting-style=literal | sed 's/  */ /g'").toString();
    assert.deepEqual(listed.trimEnd().split("\n"), [
      "-rw-r--r-- 0/0 2 1970-01-02 00:00 a/b",
      "-rw-r--r-- 0/0 1 1970-01-01 00:00 ключ",
      `-rw-r--r-- 0/0 13 1970-01-01 00:00 ${long}`,
      `-rw-r--r-- 0/0 11 1970-01-01 00:00 ${"long".repeat(60)}`,
      "lrw-r--r-- 0/0 0 1970-01-01 00:00 link -> ns::a.b",
    ]);
  });

  for (const format of ["v7", "ustar", "oldgnu", "gnu", "pax"])
    test(`what tar(1) writes in the format ${format} is read`, () => {
      const isOld = format === "v7" || format === "ustar";
      const long = isOld ? "file" : "n".repeat(200);
      const made = inShell({}, `mkdir d; printf hello >d/${long}; ln -s somewhere d/s; tar cf - --format=${format} d`);
      const found = read(made).toSorted((a, b) => (a.member.path < b.member.path ? -1 : 1));
      assert.deepEqual(
        found.map(({ member: { kind, path, target }, content }) => [kind, path, target, utf8Decode(content)]),
        [
          ["directory", "d/", "", ""],
          ["file", `d/${long}`, "", "hello"],
          ["symlink", "d/s", "somewhere", ""],
        ],
      );
    });

  test("a size beyond what the field takes is in a record", () => {
    const sizeBytes = 9 * 1024 ** 3;
    const header = encodeTarHeader(plainMember("file", "huge", { sizeBytes }));
    const [event] = [...new TarReader().push(header)];
    assert.equal(event?.kind === "member" && event.member.sizeBytes, sizeBytes);
    const listed = inShell({ "a.tar": header }, "tar tvf a.tar 2>/dev/null | awk '{print $3}'; true").toString();
    assert.equal(listed.trim(), String(sizeBytes));
  });

  test("members that are no files are told apart", () => {
    const made = inShell({}, "mkfifo p; echo x >f; ln f g; truncate -s 1M s; tar cSf - f g p s");
    assert.deepEqual(
      read(made).map(({ member: { kind, path, target } }) => [path, kind, target]),
      [
        ["f", "file", ""],
        ["g", "hardlink", "f"],
        ["p", "other", ""],
        ["s", "sparse", ""],
      ],
    );
  });

  test("an archive cut anywhere before its end mark is refused", () => {
    const whole = archive([file("a", "1"), file("b".repeat(150), "2")]);
    for (let length = 1; length <= whole.byteLength - tarEnd().byteLength; length += 7)
      assert.throws(() => read(whole.subarray(0, length)), /Truncated tar archive|Unrecognized archive format/);
    assert.equal(read(whole.subarray(0, whole.byteLength - 512)).length, 2);
  });

  test("a damaged header, and what is no archive, is refused", () => {
    const whole = archive([file("a", "1"), file("b", "2")]);
    const damaged = whole.slice();
    damaged[1024 + 5]! ^= 1;
    assert.throws(() => read(damaged), { message: "Damaged tar archive" });
    assert.throws(() => read(utf8Encode("no archive".repeat(100))), { message: "Unrecognized archive format" });
    assert.throws(() => read(new Uint8Array(0)), { message: "Unrecognized archive format" });
  });

  test("what follows the end mark is ignored, as tar(1) pads archives", () => {
    const padded = concatBytes([archive([file("a", "1")]), new Uint8Array(7168), utf8Encode("rubbish")]);
    assert.equal(read(padded).length, 1);
  });
});
