import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compileExpression } from "./python-expression.ts";

describe("code of --define gives what Python gives", () => {
  const cases: readonly [code: string, x: string, result: string][] = [
    ["2**int(x)", "10", "1024"],
    ["2**int(x)", "100", "1267650600228229401496703205376"],
    ["int(x)*2+1", "4", "9"],
    ["-int(x)//2", "5", "-3"],
    ["-7 % int(x)", "3", "2"],
    ["int(x)/2", "4", "2.0"],
    ["float(x)*1.5", "2", "3.0"],
    ["-2**2", "", "-4"],
    ["x.upper()", "ab", "AB"],
    ["x.replace('a', 'b').strip()", " aa ", "bb"],
    ["x[::-1]", "abc", "cba"],
    ["x[1:-1]", "abcd", "bc"],
    ["x[-1]", "abc", "c"],
    ["x.split(',')[1]", "a,b", "b"],
    ["'-'.join(sorted(x))", "cab", "a-b-c"],
    ["f'{int(x):03d}.out'", "7", "007.out"],
    ["f'{float(x):.2f}'", "1.005", "1.00"],
    ["'%04d-%s' % [int(x), x]", "12", "0012-12"],
    ["'even' if int(x) % 2 == 0 else 'odd'", "3", "odd"],
    ["len(x) > 2 and 'long' or 'short'", "abc", "long"],
    ["1 < int(x) < 5", "3", "True"],
    ["'a' in x", "bab", "True"],
    ["x.zfill(4)", "-7", "-007"],
    ["hex(int(x))", "255", "0xff"],
    ["int(x, 16)", "ff", "255"],
    ["max(int(x), 10)", "3", "10"],
    ["round(2.5)", "", "2"],
    ["x.partition('=')[2]", "k=v=w", "v=w"],
    ["1 << int(x)", "4", "16"],
    ['x.rsplit(".", 1)[0]', "a.tar.gz", "a.tar"],
  ];
  for (const [code, x, result] of cases)
    test(`${code} of '${x}'`, () => assert.equal(compileExpression(code)(x), result));
});

describe("what is wrong with code is said, and nothing outside is reached", () => {
  const cases: readonly [code: string, x: string, message: RegExp][] = [
    ["foo", "", /name 'foo' is not defined/],
    ["__import__('os')", "", /name '__import__' is not defined/],
    ["x.__class__", "", /no attribute '__class__'/],
    ["int(x", "1", /ends too early/],
    ["1 +", "", /ends too early/],
    ["x)", "", /invalid syntax: '\)'/],
    ["'abc", "", /unterminated string/],
    ["int(x)", "y", /invalid literal for int\(\) with base 10: 'y'/],
    ["1/int(x)", "0", /division by zero/],
    ["x + 1", "a", /unsupported operand type\(s\) for \+: 'str' and 'int'/],
    ["10**10**10", "", /too large/],
    ["'a' * 10**12", "", /too long/],
    ["x[5]", "abc", /out of range/],
    [`${"(".repeat(200)}x${")".repeat(200)}`, "", /nested too deeply/],
  ];
  for (const [code, x, message] of cases)
    test(code.slice(0, 40), () => assert.throws(() => compileExpression(code)(x), message));
});
