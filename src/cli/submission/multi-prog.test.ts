import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MultiProgConfig, shellText } from "./multi-prog.ts";

const CONFIG = new MultiProgConfig(
  "app.conf",
  '# which task runs what\n0-1 echo task %t # inline\n\n2-3 echo "quoted arg" %t %o%%\n[5,7] echo five %o 100%\n* other %t\n',
);

test("each rank has the command of its line; %t is the rank, %o its place in the line's set", () => {
  const lines = [0, 1, 2, 3, 4, 5, 7].map((rank) => shellText(CONFIG.wordsOf(rank)));
  assert.deepEqual(lines, [
    "echo task 0",
    "echo task 1",
    "echo 'quoted arg' 2 0%%",
    "echo 'quoted arg' 3 1%%",
    "other 4",
    "echo five 0 100%",
    "echo five 1 100%",
  ]);
});

describe("what is wrong is named by its line", () => {
  const cases: readonly [text: string, message: RegExp][] = [
    ["x a", /^app\.conf: line 1: invalid idset: x$/],
    ["0 a\n1", /^app\.conf: line 2: a command is missing$/],
    ['0 a "b', /^app\.conf: line 1: '0 a "b': No closing quotation$/],
    ["0-3 a\n2-5 b", /^app\.conf: line 2: rank 2-3 has a line already$/],
    ["* a\n* b", /^app\.conf: line 2: \* has a line already$/],
  ];
  for (const [text, message] of cases)
    test(JSON.stringify(text), () => assert.throws(() => new MultiProgConfig("app.conf", text), { message }));
  test("a rank without a line", () =>
    assert.throws(() => new MultiProgConfig("app.conf", "0 a").wordsOf(1), {
      message: "app.conf: No matching line for rank 1",
    }));
});
