import assert from "node:assert/strict";
import { test } from "node:test";
import type { Disk } from "../base/ports.ts";
import { Attributes } from "./attributes.ts";
import { doubtAboutStatedir } from "./directories.ts";

const MIB = 1024 * 1024;

function doubt(freeBytes: number, isInMemory: boolean): ReturnType<typeof doubtAboutStatedir> {
  const attributes = new Attributes();
  attributes.set("statedir", "/tmp/flux-x");
  return doubtAboutStatedir(
    { freeBytes: () => freeBytes, isInMemory: () => isInMemory } as unknown as Disk,
    attributes,
  );
}

test("a state directory on a disk with room is nothing to speak of", () => {
  assert.equal(doubt(1000 * MIB, false), null);
});

test("one with little room is an error that users see, whatever it lies on; one in memory a warning in the log", () => {
  for (const isInMemory of [false, true]) {
    const small = doubt(5 * MIB, isInMemory)!;
    assert.equal(small.isSerious, true);
    assert.match(small.text, /^statedir \/tmp\/flux-x has only 5 MiB left .*-Sstatedir=DIR/);
  }
  const memory = doubt(1000 * MIB, true)!;
  assert.equal(memory.isSerious, false);
  assert.match(memory.text, /^statedir \/tmp\/flux-x is in memory.*--broker-opts=-Sstatedir=DIR/);
});
