/** Event logs as `flux kvs eventlog` shows them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventlogFormatter, splitEventlog, type EventlogFormat } from "./eventlog-text.ts";

const LOG =
  '{"timestamp":120.0,"name":"primus"}\n' +
  '{"timestamp":121.25,"name":"secundus","context":{"s":"x y","i":1,"f":1.50,"o":{"a":[1,2]},"n":null,"b":true}}\n' +
  '{"timestamp":180.0,"name":"exception"}\n';

function show(format: EventlogFormat): string {
  const formatter = new EventlogFormatter(format);
  return splitEventlog(LOG)!
    .map((event) => formatter.format(event))
    .join("");
}

test("plain: seconds, the name, members as they were written", () => {
  assert.equal(
    show({}),
    '120.000000 primus\n121.250000 secundus s="x y" i=1 f=1.50 o={"a":[1,2]} n=null b=true\n180.000000 exception\n',
  );
});

test("unformatted: the lines themselves", () => {
  assert.equal(show({ unformatted: true }), LOG);
});

test("human: a date where the minute changes, seconds in between", () => {
  const lines = show({ human: true }).split("\n");
  assert.match(lines[0]!, /^\[[A-Z][a-z]{2}\d\d \d\d:02\] primus$/);
  assert.match(lines[1]!, /^\[  \+1\.250000\] secundus /);
  assert.match(lines[2]!, /^\[[A-Z][a-z]{2}\d\d \d\d:03\] exception$/);
});

test("ISO 8601: local time with its distance from UTC", () => {
  const zone = process.env["TZ"];
  const first = (name: string): string => {
    process.env["TZ"] = name;
    return show({ time: "iso" }).split("\n")[1]!.split(" ")[0]!;
  };
  assert.equal(first("UTC"), "1970-01-01T00:02:01.250000Z");
  assert.equal(first("America/Los_Angeles"), "1969-12-31T16:02:01.250000-08:00");
  assert.equal(first("Asia/Kolkata"), "1970-01-01T05:32:01.250000+05:30");
  if (zone === undefined) delete process.env["TZ"];
  else process.env["TZ"] = zone;
});

test("offsets count from the first event, shown or not", () => {
  const formatter = new EventlogFormatter({ time: "offset" });
  const [first, , last] = splitEventlog(LOG)!;
  formatter.skip(first!);
  assert.equal(formatter.format(last!), "60.000000 exception\n");
});

test("color: one for each kind of thing", () => {
  const lines = show({ color: true }).split("\n");
  assert.equal(lines[0], "\x1b[32m120.000000\x1b[0m \x1b[33mprimus\x1b[0m");
  assert.ok(lines[1]!.includes(' \x1b[34ms\x1b[0m=\x1b[35m"x y"\x1b[0m \x1b[34mi\x1b[0m=\x1b[37m1\x1b[0m'));
  assert.ok(lines[2]!.endsWith("\x1b[1m\x1b[31mexception\x1b[0m"));
});

test("what is no event log is told apart", () => {
  for (const text of [
    "foo",
    "foo\n",
    '{"name":"x"}\n',
    '{"timestamp":1.0,"name":"x","context":[]}\n',
    LOG.slice(0, -1),
  ])
    assert.equal(splitEventlog(text), null, text);
  assert.deepEqual(splitEventlog(""), []);
});
