import assert from "node:assert/strict";
import { test } from "node:test";
import { CONNECTORS, forestLines, treeLines, truncated, type TreeNode } from "./tree-text.ts";

function node(label: string, ...children: TreeNode<null>[]): TreeNode<null> {
  return { label, value: null, children };
}

const TREE = node(".", node("a"), node("b", node("x"), node("y"), node("x")), node("a"), node("c", node("z")));

function text(form: keyof typeof CONNECTORS, combine = true): string[] {
  return treeLines(TREE, CONNECTORS[form], combine).map((line) => line.text);
}

test("leaves that look alike are one line, where the first of them stood", () =>
  assert.deepEqual(text("default"), [".", "├── 2*[a]", "├── b", "│   ├── 2*[x]", "│   └── y", "└── c", "    └── z"]));

test("or each a line of its own", () =>
  assert.deepEqual(text("default", false).slice(1, 6), ["├── a", "├── b", "│   ├── x", "│   ├── y", "│   └── x"]));

test("without the root, its children stand at the margin", () =>
  assert.deepEqual(
    forestLines(TREE, CONNECTORS.default, true).map((line) => line.text),
    ["2*[a]", "b", "├── 2*[x]", "└── y", "c", "└── z"],
  ));

test("with narrow connectors, or those of ASCII", () => {
  assert.deepEqual(text("compact").slice(-2), ["└─c", "  └─z"]);
  assert.deepEqual(text("ascii").slice(2, 4), ["|-- b", "|   |-- 2*[x]"]);
});

test("what does not fit is cut off by letters, and says so", () => {
  assert.equal(truncated("├── 2*[sleep]", 12), "├── 2*[slee+");
  assert.equal(truncated("short", 5), "short");
});
