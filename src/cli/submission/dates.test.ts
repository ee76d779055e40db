import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseDateTime } from "./dates.ts";

/** A Sunday. */
const NOW = new Date(2026, 10, 22, 22, 30, 15).getTime() / 1000;

function local(text: string, bareTime: "today" | "next" = "today"): string | null {
  const seconds = parseDateTime(text, NOW, { bareTime });
  if (seconds === null) return null;
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

describe("dates as people write them, on Sunday 2026-11-22 22:30:15", () => {
  const cases: readonly [text: string, expected: string][] = [
    ["now", "2026-11-22 22:30:15"],
    ["tomorrow", "2026-11-23 00:00:00"],
    ["tomorrow morning", "2026-11-23 06:00:00"],
    ["tomorrow at noon", "2026-11-23 12:00:00"],
    ["8:30 pm tomorrow", "2026-11-23 20:30:00"],
    ["tonight", "2026-11-22 21:00:00"],
    ["2031-06-21", "2031-06-21 22:30:15"],
    ["2031-06-21 8am", "2031-06-21 08:00:00"],
    ["2031-06-21T08:30:15", "2031-06-21 08:30:15"],
    ["6/21/2031", "2031-06-21 22:30:15"],
    ["6/21", "2027-06-21 22:30:15"],
    ["Dec 25, 2031", "2031-12-25 22:30:15"],
    ["25th of December 8am", "2026-12-25 08:00:00"],
    ["June", "2027-06-01 22:30:15"],
    ["sunday", "2026-11-29 22:30:15"],
    ["friday at 9am", "2026-11-27 09:00:00"],
    ["next monday", "2026-11-23 00:00:00"],
    ["last friday", "2026-11-20 00:00:00"],
    ["next month", "2026-12-01 00:00:00"],
    ["in an hour", "2026-11-22 23:30:15"],
    ["in 1 hour and 30 minutes", "2026-11-23 00:00:15"],
    ["two days from now", "2026-11-24 22:30:15"],
    ["2 days from tomorrow", "2026-11-25 00:00:00"],
    ["1 hour after noon", "2026-11-22 13:00:00"],
    ["in 3 months", "2027-02-22 22:30:15"],
    ["30 minutes ago", "2026-11-22 22:00:15"],
    ["-1h", "2026-11-22 21:30:15"],
    ["end of month", "2026-11-30 00:00:00"],
  ];
  for (const [text, expected] of cases) test(text, () => assert.equal(local(text), expected));
});

test("a time of day that is past is past, or the next where that is asked for", () => {
  assert.equal(local("8am"), "2026-11-22 08:00:00");
  assert.equal(local("8am", "next"), "2026-11-23 08:00:00");
  assert.equal(local("11pm", "next"), "2026-11-22 23:00:00");
  assert.equal(local("today 8am", "next"), "2026-11-22 08:00:00");
});

test("a month more than there are days for ends on its last day", () => {
  const januaryLast = new Date(2027, 0, 31).getTime() / 1000;
  assert.equal(parseDateTime("in 1 month", januaryLast), new Date(2027, 1, 28).getTime() / 1000);
});

test("what is no date is none, as a whole", () => {
  for (const text of ["", "foo", "tomorrow foo", "2031-02-30", "25:00", "13pm", "8", "31", "3 pineapples", "in", "at"])
    assert.equal(parseDateTime(text, NOW), null, text);
});
