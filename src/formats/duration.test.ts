import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatDuration, formatFsd, formatRoughly, parseFsd, tryParseFsd } from "./duration.ts";

test("RFC 23 test vectors", () => {
  const table: [string, number][] = [
    ["2ms", 0.002],
    ["0.1s", 0.1],
    ["30", 30],
    ["1.2h", 4320],
    ["5m", 300],
    ["0s", 0],
    ["5d", 432000],
    ["inf", Infinity],
    ["INF", Infinity],
    ["infinity", Infinity],
  ];
  for (const [text, seconds] of table) assert.equal(parseFsd(text), seconds, text);
});

test("the number may have any form that C's strtod takes", () => {
  const table: [string, number][] = [
    ["1e3", 1000],
    ["1E3s", 1000],
    ["1.5e-1m", 9],
    [".5s", 0.5],
    ["5.", 5],
    ["+4h", 14400],
    ["0x10", 16],
    ["0x1.8p1", 3],
    ["0x1p4m", 960],
    ["0x1d", 29],
  ];
  for (const [text, seconds] of table) assert.equal(parseFsd(text), seconds, text);
});

test("what is no duration is refused", () => {
  const bad = ["", "s", "1S", "1M", "1 s", " 1", "-1", "-inf", "nan", "1w", "1ss", "infs", "1e", "0x", "1.2.3", "1,5"];
  for (const text of bad) assert.equal(tryParseFsd(text), null, text);
  assert.throws(() => parseFsd("1 week"), /invalid Flux standard duration '1 week'/);
});

test("flux jobs prints three decimals below ten seconds and four digits above", () => {
  const table: [number, string][] = [
    [0, "0s"],
    [0.0004, "0s"],
    [0.0516, "0.052s"],
    [1.2341, "1.234s"],
    [6.5934, "6.593s"],
    [10.684, "10.68s"],
    [53.92, "53.92s"],
    [62, "1.033m"],
    [630, "10.5m"],
    [3600, "1h"],
    [86400 * 3.25, "3.25d"],
    [Infinity, "infinity"],
  ];
  for (const [seconds, text] of table) assert.equal(formatFsd(seconds), text);
});

test("logs print six significant digits, flux uptime two", () => {
  const six: [number, string][] = [
    [2.65475, "2.65475s"],
    [0.1020563, "0.102056s"],
    [0.0162958, "16.2958ms"],
    [153.2688, "2.55448m"],
    [45818.28, "12.7273h"],
    [0.4, "0.4s"],
    [0.00001234, "0.01234ms"],
    [0, "0s"],
  ];
  for (const [seconds, text] of six) assert.equal(formatDuration(seconds), text);
  const two: [number, string][] = [
    [3.84, "3.8s"],
    [42.2, "42s"],
    [258, "4.3m"],
    [86400 * 23.2, "23d"],
    [86400 * 123, "1.2e+02d"],
  ];
  for (const [seconds, text] of two) assert.equal(formatDuration(seconds, 2), text);
});

test("a refusal of a job tells durations roughly, short ones in milliseconds", () => {
  const rough: [number, string][] = [
    [0.0005, "0.5ms"],
    [0.099, "99ms"],
    [0.1, "0.1s"],
    [59.99, "60s"],
    [100.001, "1.7m"],
    [3660, "1h"],
    [97200, "1.1d"],
    [Infinity, "infinity"],
  ];
  for (const [seconds, text] of rough) assert.equal(formatRoughly(seconds), text);
});

test("what is printed can be read again, to the digits printed", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.01, max: 1e7, noNaN: true }), (seconds) => {
      const read = parseFsd(formatDuration(seconds));
      assert.ok(Math.abs(read - seconds) <= seconds * 1e-5);
    }),
  );
});
