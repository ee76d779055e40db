/** The screen of `flux top`: what is shown of an instance, at which size, and which keys a terminal sends. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assert as assertProperty, integer, nat, property } from "fast-check";
import { ansi, parseKeys } from "./screen.ts";
import { dump, render, type Display, type InstanceView, type Line, type ShownJob } from "./view.ts";

const NOW = 10_000;

function job(number: number, more: Partial<ShownJob> = {}): ShownJob {
  return {
    id: number,
    idText: `ƒ${number}`,
    queue: "",
    user: "alice",
    status: "R",
    ntasks: "4",
    nnodes: "2",
    startTime: NOW - 90,
    endTime: 0,
    name: `job${number}`,
    isInstance: false,
    ...more,
  };
}

function view(more: Partial<InstanceView> = {}): InstanceView {
  return {
    path: "ƒ",
    queue: null,
    expiration: 0,
    nodes: { total: 4, used: 1, down: 1 },
    cores: { total: 16, used: 8, down: 4 },
    gpus: { total: 0, used: 0, down: 0 },
    pending: 3,
    running: 2,
    successful: 10,
    failed: 1,
    jobs: [job(1), job(2, { isInstance: true })],
    size: 4,
    depth: 1,
    startTime: NOW - 3600,
    version: "0.88.0",
    ...more,
  };
}

const DISPLAY: Display = { cursor: -1, showsDetails: true, heartbeat: false, message: null };
const text = (line: Line | undefined): string => (line ?? []).map((span) => span.text).join("");
const lines = (of: InstanceView, display: Partial<Display> = {}, columns = 80, rows = 24): string[] =>
  render(of, { ...DISPLAY, ...display }, { columns, rows }, NOW).map(text);

describe("what flux top shows", () => {
  test("resources, counts and jobs", () => {
    const shown = lines(view()).map((line) => line.trimEnd());
    assert.deepEqual(shown.slice(1, 9), [
      `    nodes [||||||${" ".repeat(12)}||||||1/4]${" ".repeat(18)}     3 pending`,
      `    cores [${"|".repeat(12)}${" ".repeat(5)}||||||8/16]${" ".repeat(18)}     2 running`,
      `     gpus [${" ".repeat(24)}0/0]       10 complete,      1 failed`,
      "",
      " size: 4        depth: 1        uptime: 1h                               0.88.0",
      "       JOBID     USER ST NTASKS NNODES RUNTIME NAME",
      "          ƒ1    alice  R      4      2    1.5m job1",
      "          ƒ2    alice  R      4      2    1.5m job2",
    ]);
  });
  test("never ends, or ends soon", () => {
    assert.match(lines(view())[0]!, /^ƒ +∞ ?$/);
    assert.match(lines(view({ expiration: NOW + 120 }))[0]!, / 2m ?$/);
  });
  test("a queue that it is limited to, and the queues of jobs", () => {
    const shown = lines(view({ queue: "batch", jobs: [job(1, { queue: "batch" }), job(2)] }));
    assert.match(shown[0]!, /queue batch/);
    assert.match(shown[6]!, /JOBID QUEUE {8}USER/);
    assert.match(shown[7]!, /ƒ1 batch/);
  });
  test("inactive jobs in one number, where details are not wanted", () =>
    assert.match(lines(view(), { showsDetails: false })[3]!, /11 inactive/));
  test("a long path keeps its end", () => {
    const path = Array.from({ length: 30 }, (_, index) => `ƒabcd${index}`).join("/");
    assert.match(lines(view({ path }))[0]!, /^….*ƒabcd29 +∞ ?$/);
  });
  test("the selected job, also beyond the rows that there are", () => {
    const jobs = Array.from({ length: 50 }, (_, index) => job(index));
    const rendered = render(view({ jobs }), { ...DISPLAY, cursor: 40 }, { columns: 80, rows: 20 }, NOW);
    const selected = rendered.slice(7).filter((line) => line[0]?.styles.includes("inverse"));
    assert.equal(selected.length, 1);
    assert.match(text(selected[0]), /job40/);
  });
  test("names that would control the terminal do not", () =>
    assert.match(lines(view({ jobs: [job(1, { name: "a\u001b[2Jb" })] }))[7]!, /a\?\[2Jb/));
  test("instances are blue", () => {
    const line = render(view(), DISPLAY, { columns: 80, rows: 24 }, NOW)[8]!;
    assert.ok(ansi(line, true).startsWith("\u001b[1;34m"));
    assert.ok(ansi(line, false).startsWith("\u001b[1m"));
  });
  test("it fits into every terminal", () =>
    assertProperty(
      property(nat(250), nat(60), nat(100), integer({ min: -1, max: 120 }), (columns, rows, count, cursor) => {
        const jobs = Array.from({ length: count }, (_, index) => job(index, { name: "n".repeat(index * 3) }));
        const shown = render(view({ jobs }), { ...DISPLAY, cursor }, { columns, rows }, NOW);
        assert.ok(shown.length <= rows);
        for (const line of shown) assert.ok([...text(line)].length <= columns);
      }),
    ));
  test("as words for scripts", () =>
    assert.equal(
      dump(view(), NOW),
      "3 pending\n2 running\n10 complete\n1 failed\nnodes 1/4\ncores 8/16\ngpus 0/0\nƒ1 alice R 4 2 1.5m job1\nƒ2 alice R 4 2 1.5m job2\n",
    ));
});

test("keys: letters, arrows in both modes, enter; what is not known is left out", () => {
  assert.deepEqual(parseKeys("jq"), [{ letter: "j" }, { letter: "q" }]);
  assert.deepEqual(parseKeys("\u001b[A\u001bOB\r\u000c\u0003"), ["up", "down", "enter", "redraw", "interrupt"]);
  assert.deepEqual(parseKeys("\u001b[5~\u001b[6~\u001b[1~\u001bOF"), ["page-up", "page-down", "home", "end"]);
  assert.deepEqual(parseKeys("\u001b[15~\u0001d"), [{ letter: "d" }]);
});
