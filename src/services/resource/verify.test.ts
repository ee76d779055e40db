import assert from "node:assert/strict";
import { test } from "node:test";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { readResourceSettings } from "./config.ts";
import { verifyRank, type VerifyModes } from "./verify.ts";

function node(cores: string, gpus = "", host = "vm"): ResourceSet {
  return ResourceSet.fromNodes([[1, { cores: Idset.parse(cores), gpus: Idset.parse(gpus), host }]]);
}

const modesOf = (verify?: unknown): VerifyModes =>
  readResourceSettings({ resource: verify === undefined ? {} : { verify: verify as {} } }).verify!;

test("what is missing and what is there besides, by the mode of its type", () => {
  const verify = (expected: ResourceSet, actual: ResourceSet, modes: unknown): string | null =>
    verifyRank(expected, actual, 1, modesOf(modes));
  const [two, four, gpu] = [node("0-1"), node("0-3"), node("0-1", "0")];
  const table: [ResourceSet, ResourceSet, unknown, string | null][] = [
    [two, two, true, null],
    [four, two, undefined, "rank 1 (vm) missing resources: core[2-3]"],
    [four, two, { default: "allow-missing" }, null],
    [two, four, undefined, null],
    [two, four, true, "rank 1 (vm) has extra resources: core[2-3]"],
    [two, four, { core: "allow-extra" }, null],
    [two, four, { default: "allow-missing" }, "rank 1 (vm) has extra resources: core[2-3]"],
    [gpu, two, undefined, null],
    [gpu, two, {}, "rank 1 (vm) missing resources: gpu0"],
    [gpu, four, true, "rank 1 (vm) missing resources: gpu0"],
    [gpu, two, { gpu: "ignore" }, null],
    [node("0-3", "0"), two, true, "rank 1 (vm) missing resources: core[2-3],gpu0"],
    [node("0-1", "", "other"), two, undefined, "rank 1 got hostname 'vm', expected 'other'"],
    [node("0-1", "", "other"), two, { hostname: "ignore" }, null],
    [node("0-1", "", "other"), two, { default: "allow-extra" }, null],
    [ResourceSet.EMPTY, two, false, "rank 1 not found in expected ranks"],
  ];
  for (const [expected, actual, modes, reason] of table)
    assert.equal(
      verify(expected, actual, modes),
      reason,
      `${expected.dump()} ${actual.dump()} ${JSON.stringify(modes)}`,
    );
  assert.equal(readResourceSettings({ resource: { noverify: true, verify: true } }).verify, null);
});

test("a wrong table is refused with what is wrong", () => {
  const parse = "error parsing [resource] configuration:";
  const table: [object, string][] = [
    [{ foo: 42 }, `${parse} 1 object item(s) left unpacked: foo`],
    [{ path: 42 }, `${parse} Expected string, got integer`],
    [{ noverify: 1 }, `${parse} Expected true or false, got integer`],
    [{ "journal-max": "x" }, `${parse} Expected integer, got string`],
    [{ history: "x" }, "invalid history time"],
    [{ verify: "strict" }, "verify must be a table or boolean"],
    [{ verify: { foo: "strict" } }, "verify: unsupported resource type: foo"],
    [{ verify: { core: "foo" } }, "verify.core: unknown verify mode 'foo'"],
    [{ verify: { core: 1 } }, "verify.core mode must be a string"],
    [{ verify: { default: "foo" } }, "verify.default: unknown verify mode 'foo'"],
    [{ scheduling: "/some" }, "resource.scheduling requires resource.path or [resource.config]"],
    [{ config: 1 }, "error parsing [resource.config] array: resource config must be an array"],
  ];
  for (const [resource, message] of table)
    assert.throws(() => readResourceSettings({ resource: resource as {} }), { message, errnum: 22 });
});
