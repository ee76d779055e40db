/**
 * A dump of the example workflow's instance: what is in it, that another instance starts from it, and, where
 * FLUX_REFERENCE names the `flux` of flux-core, that instances of the two start from each other's dumps.
 *
 * The members are compared with `test/golden/forecast-dump.txt`: number, kind and path, with what differs from run to run
 * left out. `UPDATE=1` writes it.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { utf8Decode } from "../../src/base/bytes.ts";
import { TarReader } from "../../src/formats/tar-reader.ts";
import type { TarMember } from "../../src/formats/tar.ts";
import { Run, flux, root } from "./processes.ts";

const golden = join(root, "test", "golden", "forecast-dump.txt");
const reference = process.env["FLUX_REFERENCE"];
const TIMEOUT = { timeout: 180_000 };

let directory = "";
let dump = "";

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "flux-dump-"));
  dump = join(directory, "forecast.tgz");
  const data = join(root, "node_modules", "vega-datasets", "data", "seattle-weather.csv");
  await start(flux, ["-s4", `-Scontent.dump=${dump}`], [join(root, "examples/forecast/workflow.sh"), data, directory]);
}, TIMEOUT);

after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a program in an instance; returns its standard output. */
async function start(command: string, options: readonly string[], program: readonly string[]): Promise<string> {
  await using run = new Run([command, "start", ...options, ...program]);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  return stdout;
}

interface Read {
  readonly member: TarMember;
  text: string;
}

function membersOf(path: string): Read[] {
  const reader = new TarReader();
  const found: Read[] = [];
  for (const event of reader.push(gunzipSync(readFileSync(path)))) {
    if (event.kind === "member") found.push({ member: event.member, text: "" });
    else if (event.kind === "content") found.at(-1)!.text += utf8Decode(event.bytes);
  }
  reader.finish();
  return found;
}

/** How often each kind of member is there. */
function summaryOf(members: readonly Read[]): string {
  const counts = new Map<string, number>();
  for (const { member } of members) {
    const path = member.path
      .replace(/^job(\/[0-9a-f]{4}){4}/, "job/ID")
      .replace(/^(forecast\/\w+)\/\d+/, "$1/N")
      .replace(/\/\d{4}(\/|$)/, "/YEAR$1");
    // Whether the end of its empty input reaches a job before the job's own end is chance.
    if (path === "job/ID/guest/input") continue;
    const line = `${member.kind} ${member.mode.toString(8)} ${path}`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  const lines = [...counts].map(([line, count]) => `${String(count).padStart(5)} ${line}\n`);
  return lines.sort((left, right) => (left.slice(6) < right.slice(6) ? -1 : 1)).join("");
}

test("the members of a dump", () => {
  const summary = summaryOf(membersOf(dump));
  if (process.env["UPDATE"] === "1") writeFileSync(golden, summary);
  assert.equal(summary, readFileSync(golden, "utf8"));
});

test("every member has the time of the dump and the user who made it", () => {
  const times = new Set(membersOf(dump).map(({ member }) => `${member.uid} ${member.mtime}`));
  assert.equal(times.size, 1, [...times].join());
  const [uid, mtime] = [...times][0]!.split(" ").map(Number);
  assert.equal(uid, process.getuid!());
  assert.ok(Math.abs(mtime! - Date.now() / 1000) < 600);
});

/** The result of the workflow as an instance gives it that starts from a dump; its jobs by state; whether it can go on. */
const QUESTIONS = "flux kvs get forecast.result; flux jobs -ano '{status}' | sort | uniq -c; flux run echo alive";

async function answersOf(command: string, path: string, into: string): Promise<{ result: string; rest: string[] }> {
  const script = `${QUESTIONS}; flux dump --quiet ${into}`;
  const stdout = await start(command, [`-Scontent.restore=${path}`], ["sh", "-c", script]);
  const [result, ...rest] = stdout.trimEnd().split("\n");
  return { result: result!, rest: rest.map((line) => line.trim()) };
}

function resultIn(members: readonly Read[]): string {
  return members.find(({ member }) => member.path === "forecast/result")!.text;
}

test("an instance goes on from a dump", TIMEOUT, async () => {
  const { result, rest } = await answersOf(flux, dump, join(directory, "again.tgz"));
  assert.equal(result, resultIn(membersOf(dump)));
  assert.deepEqual(rest, ["67 COMPLETED", "1 FAILED", "alive"]);
});

const skip = reference === undefined ? "FLUX_REFERENCE names no reference" : false;
test(
  "the reference goes on from a dump of ours, and ours from one of the reference",
  { ...TIMEOUT, skip },
  async () => {
    const [theirs, ours] = [join(directory, "theirs.tgz"), join(directory, "ours.tgz")];
    const there = await answersOf(reference!, dump, theirs);
    assert.equal(there.result, resultIn(membersOf(dump)));
    assert.deepEqual(there.rest, ["67 COMPLETED", "1 FAILED", "alive"]);
    const back = await answersOf(flux, theirs, ours);
    assert.equal(back.result, there.result);
    assert.deepEqual(back.rest, ["68 COMPLETED", "1 FAILED", "alive"]);
    const [before, since] = [membersOf(dump), membersOf(ours)].map(
      (members) => new Map(members.map(({ member, text }) => [member.path, text])),
    );
    // What the instances write about themselves goes on; all else is as it was.
    const isOwn = (path: string): boolean => /^(admin|checkpoint|resource)\//.test(path);
    for (const [path, text] of before!) if (!isOwn(path)) assert.equal(since!.get(path), text, path);
  },
);
