/** Resource shapes: the examples of RFC 46, and what is wrong with others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { parseResourceList, parseResourceShape } from "./resource-shape.ts";

const core = (count: JsonValue): JsonValue => ({ type: "core", count });
const memory = (count: JsonValue): JsonValue => ({ type: "memory", count, unit: "GB" });

test("RFC 46: the basic use cases", () => {
  const table: [string, JsonValue][] = [
    ["slot=4/node", [{ type: "slot", count: 4, label: "task", with: [{ type: "node", count: 1 }] }]],
    ["slot=3-30/node", [{ type: "slot", count: "3-30", label: "task", with: [{ type: "node", count: 1 }] }]],
    ["slot=4,9,16,25/node", [{ type: "slot", count: "4,9,16,25", label: "task", with: [{ type: "node", count: 1 }] }]],
    [
      "cluster=2/slot/node=1+{-x}/core=30",
      [
        {
          type: "cluster",
          count: 2,
          with: [
            {
              type: "slot",
              count: 1,
              label: "task",
              with: [{ type: "node", count: "1+", exclusive: false, with: [core(30)] }],
            },
          ],
        },
      ],
    ],
    [
      "node/[slot=10{read-db}/[core;memory=4{unit:GB}];slot{db}/[core=6;memory=24{unit:GB}]]",
      [
        {
          type: "node",
          count: 1,
          with: [
            { type: "slot", count: 10, label: "read-db", with: [core(1), memory(4)] },
            { type: "slot", count: 1, label: "db", with: [core(6), memory(24)] },
          ],
        },
      ],
    ],
    [" slot = [1-8:2:*] / core ", [{ type: "slot", count: "1-8:2:*", label: "task", with: [core(1)] }]],
    ["slot{4GB-node}/core", [{ type: "slot", count: 1, label: "4GB-node", with: [core(1)] }]],
    [
      'node{x,"a b":3.5,c:{d:[1,"x",y,null],+e,"x":-2}}',
      [{ type: "node", count: 1, exclusive: true, "a b": 3.5, c: { d: [1, "x", "y", null], e: true, x: -2 } }],
    ],
    ["core", [core(1)]],
  ];
  for (const [shape, resources] of table) assert.deepEqual(parseResourceShape(shape), resources, shape);
});

test("mistakes are told with their position", () => {
  const table: [string, RegExp][] = [
    ["", /^Unexpected end of input in ''$/],
    ["slot", /^Unexpected end of input in 'slot'$/],
    ["slot/[", /^Unclosed bracket in position 5$/],
    ["slot/core=2]", /^Mismatched brackets starting at position 11\.$/],
    ["[core}", /^Mismatched brackets starting at position 5\.$/],
    ["slot=0/core", /^Illegal character '0' at position 5$/],
    ["slot=foo/core", /^Illegal character 'f' at position 5$/],
    ["slot=1:2/core", /^Illegal character '1' at position 5$/],
    ["slot{}/core", /^Invalid token '}' at position 5$/],
    ["slot/core core", /^Invalid token 'c' at position 10$/],
    ["[slot{a}/core;slot/core]", /^Multiple slots require labels$/],
    ['node{"a', /^Unclosed quote in position 5$/],
    [`${"a/".repeat(100)}a`, /at most 64 levels$/],
    [`a{b:${"[".repeat(100)}${"]".repeat(100)}}`, /at most 64 levels$/],
  ];
  for (const [shape, message] of table) assert.throws(() => parseResourceShape(shape), { message }, shape);
});

test("whatever the text, there are resources or a mistake", () => {
  const alphabet = [
    "slot",
    "node",
    "core",
    "=",
    "2",
    "1-3",
    "+",
    "/",
    "[",
    "]",
    "{",
    "}",
    ";",
    ",",
    ":",
    "x",
    '"',
    " ",
    "\\",
  ];
  const shape = fc.array(fc.constantFrom(...alphabet), { maxLength: 14 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(shape, (text) => {
      try {
        assert.ok(parseResourceShape(text).length > 0);
      } catch (error) {
        assert.ok(isFluxError(error, "EINVAL"), String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

test("resources in JSON: a list, or an object with one", () => {
  const list = [{ type: "core", count: 1 }];
  assert.deepEqual(parseResourceList(JSON.stringify(list)), list);
  assert.deepEqual(parseResourceList(JSON.stringify({ resources: list, version: 1 })), list);
  for (const text of ["{}", "[]", "3", "null", '"x"', '{"resources":{}}'])
    assert.throws(() => parseResourceList(text), /resources must be a list/, text);
});
