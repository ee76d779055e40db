/** When crontab lines are due. Times are local, so the tests compare local times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../base/errors.ts";
import { calendarOf, nextMoment, parseCalendarField, parseCrontabLine } from "./crontab.ts";

const at = (...parts: [number, number, number, number?, number?, number?]): number =>
  new Date(parts[0], parts[1], parts[2], parts[3] ?? 0, parts[4] ?? 0, parts[5] ?? 0).getTime() / 1000;

test("fields are stars, numbers, names, ranges, steps and lists of those", () => {
  const cases: [Parameters<typeof parseCalendarField>[0], string, string][] = [
    ["minute", "*/15", "0,15,30,45"],
    ["hour", "9-17", "9-17"],
    ["hour", "20/2", "20,22"],
    ["weekday", "mon-fri", "1-5"],
    ["weekday", "7", "0"],
    ["weekday", "Sunday,3", "0,3"],
    ["month", "jan,Dec", "0,11"],
    ["mday", "1-10/3,31", "1,4,7,10,31"],
  ];
  for (const [field, text, expected] of cases) assert.equal(parseCalendarField(field, text).format(), expected);
});

test("what is no field is refused by name", () => {
  for (const [field, text] of [
    ["minute", "60"],
    ["minute", ""],
    ["mday", "0"],
    ["hour", "5-3"],
    ["hour", "*/0"],
    ["weekday", "someday"],
    ["month", "1,,2"],
  ] as const)
    assert.throws(
      () => parseCalendarField(field, text),
      (error: unknown) => error instanceof FluxError && error.is("EINVAL") && error.message.includes(field),
    );
});

test("the next moment is later than the given one, and the first that matches", () => {
  const cases: [Parameters<typeof calendarOf>[0], number, number | null][] = [
    [{ minute: "0", second: "0" }, at(2026, 10, 22, 19, 23, 20), at(2026, 10, 22, 20)],
    [{ minute: "0", second: "0" }, at(2026, 10, 22, 20), at(2026, 10, 22, 21)],
    [{ second: "0", minute: "5", hour: "4", weekday: "sun" }, at(2026, 10, 22, 19), at(2026, 10, 29, 4, 5)],
    [{ second: "0", minute: "0", hour: "0", mday: "29", month: "feb" }, at(2026, 0, 1), at(2028, 1, 29)],
    [
      { second: "59", minute: "59", hour: "23", mday: "31", month: "dec" },
      at(2026, 0, 1),
      at(2026, 11, 31, 23, 59, 59),
    ],
    [{ mday: "30", month: "feb" }, at(2026, 0, 1), null],
    [{ year: "199", mday: "1", month: "0", hour: "0", minute: "0", second: "0" }, at(2026, 0, 1), at(2099, 0, 1)],
    [{ year: "126", month: "0", mday: "1" }, at(2026, 5, 1), null],
  ];
  for (const [fields, after, expected] of cases) assert.equal(nextMoment(calendarOf(fields), after), expected);
});

test("a line is five fields and a command; comments and empty lines are none", () => {
  assert.deepEqual(parseCrontabLine("  */5 1-3 1,2 * mon  echo  x y "), {
    fields: { minute: "*/5", hour: "1-3", mday: "1,2", month: "*", weekday: "mon" },
    command: "echo  x y",
  });
  assert.equal(parseCrontabLine("# 0 * * * * echo"), null);
  assert.equal(parseCrontabLine("   "), null);
  assert.throws(() => parseCrontabLine("0 * * * *"), FluxError);
  assert.throws(() => parseCrontabLine("61 * * * * echo"), FluxError);
});
