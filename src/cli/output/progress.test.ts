import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { progressLine, type ProgressState } from "./progress.ts";

const STATE: ProgressState = {
  jobs: 10,
  waits: true,
  pending: 3,
  running: 2,
  complete: 4,
  failed: 1,
  seconds: 3725.9,
  rate: false,
};

describe("the line of a progress bar", () => {
  test("fills the terminal but for its last column", () => {
    for (const columns of [60, 80, 200]) assert.equal(progressLine(STATE, columns).length, columns - 1);
  });
  test("counts jobs, and shows the share of those that are over", () =>
    assert.match(progressLine(STATE, 80), /^PD:3 {3}R:2 {3}CD:4 {3}F:1 {3}│█+▌? +│ 50\.0% 1:02:05$/));
  test("shows jobs per second where that is asked for", () =>
    assert.match(progressLine({ ...STATE, rate: true, seconds: 2 }, 80), / 50\.0% {2}2\.5 job\/s$/));
  test("is about submission where nothing is waited for", () =>
    assert.match(
      progressLine({ ...STATE, waits: false, complete: 10, failed: 0 }, 80),
      /^Submitting 10 jobs: │█+│100\.0%/,
    ));
  test("has an eighth of a block as its smallest step", () => {
    const bar = (complete: number): string =>
      /│(.*)│/.exec(progressLine({ ...STATE, jobs: 1000, complete, failed: 0 }, 80))![1]!.trimEnd();
    assert.deepEqual([bar(0), bar(4), bar(27)], ["", "▏", "▉"]);
  });
  test("goes without the bar, then without its end, where the terminal is narrow", () => {
    assert.equal(progressLine(STATE, 42), "PD:3   R:2   CD:4   F:1    50.0% 1:02:05");
    assert.equal(progressLine(STATE, 12), "PD:3   R:2 ");
    assert.equal(progressLine(STATE, 0), "");
  });
  test("leaves room for the count of many jobs", () => {
    const line = (pending: number): string => progressLine({ ...STATE, jobs: 100_000, pending }, 100);
    assert.match(line(100_000), /^PD:100000 R:2 {6}CD:4 {6}F:1 {6}│/);
    assert.equal(line(1).indexOf("│"), line(100_000).indexOf("│"));
  });
  test("never has more done than there is", () =>
    assert.match(progressLine({ ...STATE, complete: 20 }, 80), /│█+│100\.0%/));
});
