/** The YAML of configuration files: what is read, and that nothing is misread. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FluxError } from "../base/errors.ts";
import { parseYamlMapping } from "./yaml-mapping.ts";

const read = (text: string): unknown => JSON.parse(JSON.stringify(parseYamlMapping(text, "x.yaml")));

describe("a configuration in YAML", () => {
  test("mappings of mappings, with comments", () => {
    const text = `---
# my formats
formats:
  mine:   # short
    description: My useful format
    format: "{id.f58:>12} {name:>8.8}"

  other:
    format: '{id} it''s'
count: 3
share: 0.5
yes: true
none:
`;
    assert.deepEqual(read(text), {
      formats: {
        mine: { description: "My useful format", format: "{id.f58:>12} {name:>8.8}" },
        other: { format: "{id} it's" },
      },
      count: 3,
      share: 0.5,
      yes: true,
      none: null,
    });
  });
  test("blocks: folded into one line, or as they stand", () => {
    assert.deepEqual(read("a: >-\n  {id}\n  {name}\n\n  next\nb: |\n  one\n    two\nc: 1\n"), {
      a: "{id} {name}\nnext",
      b: "one\n  two\n",
      c: 1,
    });
  });
  test("JSON is YAML", () =>
    assert.deepEqual(read('{"formats": {"a": {"format": "{id}"}}}'), { formats: { a: { format: "{id}" } } }));
  test("escapes in double quotes", () => assert.deepEqual(read('a: "x\\ty\\u0192"'), { a: "x\tyƒ" }));
  test("an empty file", () => assert.deepEqual(read("# nothing\n"), {}));

  const refused: readonly [text: string, line: number][] = [
    ["- a\n", 1],
    ["a: [1, 2]\n", 1],
    ["a: {b: 1}\n", 1],
    ["a: &x 1\n", 1],
    ["a: 1\na: 2\n", 2],
    ["a: 1\n  b: 2\n", 2],
    ["a:\n    b: 1\n  c: 2\n", 3],
    ["just text\n", 1],
    ["a: b: c\n", 1],
    ['a: "open\n', 1],
    ["a: {id} text\n", 1],
  ];
  for (const [text, line] of refused)
    test(`${JSON.stringify(text)} is refused with its line`, () =>
      assert.throws(
        () => parseYamlMapping(text, "x.yaml"),
        (error) =>
          error instanceof FluxError && error.is("EINVAL") && error.message.startsWith(`x.yaml: line ${line}: `),
      ));
});
