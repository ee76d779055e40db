import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import type { ByteStream } from "../base/ports.ts";
import { exitCodeOfStatus } from "../base/signals.ts";
import { SimulatedClock } from "./clock.ts";
import { SimulatedDisk } from "./disk.ts";
import { Storage } from "./storage.ts";
import { ProcessTable, SimulatedExec } from "./exec.ts";
import { Network, SimulatedNet, type NetParty } from "./net.ts";
import { STANDARD_PROGRAMS } from "./programs.ts";
import { Scope } from "./scope.ts";
import { Seeded } from "./seeded.ts";
import { Timeline } from "./timeline.ts";

const LIMIT_MS = 60_000;

function party(scope: Scope, machine = "node0"): NetParty {
  return { scope, machine, credentials: { uid: 1000, pid: 1 }, descriptors: new Map() };
}

test("time jumps from event to event, in order, and equal times run in an order that the seed decides", async () => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    const timeline = new Timeline(new Seeded(seed));
    const ran: string[] = [];
    for (const name of ["a", "b", "c"]) timeline.after(10, () => ran.push(name));
    timeline.after(5, () => ran.push("first"));
    timeline.after(3_600_000, () => ran.push("last"));
    assert.equal(await timeline.runToQuiet(4_000_000), true);
    assert.equal(timeline.nowMs, 3_600_000);
    assert.equal(ran[0], "first");
    assert.equal(ran[4], "last");
    orders.add(ran.join());
  }
  assert.ok(orders.size > 1, "every seed gave the same order");
});

test("background work does not keep a world running", async () => {
  const timeline = new Timeline(new Seeded(1));
  const clock = new SimulatedClock(timeline, new Scope("p"));
  let beats = 0;
  const beat = (): void => {
    beats++;
    clock.after(1000, beat, { background: true });
  };
  beat();
  let isDone = false;
  clock.after(3500, () => (isDone = true));
  assert.equal(await timeline.runToQuiet(LIMIT_MS), true);
  assert.ok(isDone);
  assert.equal(beats, 4);
});

test("a dead process never acts again: its timers are gone", async () => {
  const timeline = new Timeline(new Seeded(1));
  const scope = new Scope("p");
  const clock = new SimulatedClock(timeline, scope);
  clock.after(10, () => assert.fail("a dead process acted"));
  clock.defer(() => assert.fail("a dead process acted"));
  scope.end();
  assert.equal(await timeline.runToQuiet(LIMIT_MS), true);
});

/** Two ends of a connection between two machines. */
async function connected(
  seed: number,
): Promise<{ timeline: Timeline; network: Network; near: ByteStream; far: ByteStream; scopes: Scope[] }> {
  const timeline = new Timeline(new Seeded(seed));
  const network = new Network(timeline, new Seeded(seed));
  const scopes = [new Scope("server"), new Scope("client")];
  const server = new SimulatedNet(network, party(scopes[0]!, "node0"));
  const client = new SimulatedNet(network, party(scopes[1]!, "node1"));
  let far: ByteStream | null = null;
  let near: ByteStream | null = null;
  const listener = await server.listen({ kind: "tcp", host: "node0", port: 0 }, (stream) => (far = stream));
  void client.connect(listener.address).then((stream) => (near = stream));
  await timeline.runUntil(() => far !== null && near !== null, LIMIT_MS);
  return { timeline, network, near: near!, far: far!, scopes };
}

/** Collects what a stream delivers. */
function collect(stream: ByteStream): { text: string; closed: Error | null | undefined } {
  const seen = { text: "", closed: undefined as Error | null | undefined };
  stream.start({
    data: (chunk) => (seen.text += utf8Decode(chunk)),
    close: (error) => (seen.closed = error),
  });
  return seen;
}

test("a stream is ordered and reliable, and ends on both sides", async () => {
  const { timeline, near, far } = await connected(3);
  const [left, right] = [collect(near), collect(far)];
  for (let index = 0; index < 100; index++) near.write(utf8Encode(`${index},`));
  near.end();
  await timeline.runToQuiet(LIMIT_MS);
  assert.equal(right.text, `${Array.from({ length: 100 }, (_, index) => index).join()},`);
  assert.equal(right.closed, null);
  assert.equal(left.closed, null);
});

test("a cut cable delays bytes and loses none; a reset loses what was under way and both ends learn it", async () => {
  const { timeline, network, near, far } = await connected(4);
  const [left, right] = [collect(near), collect(far)];
  network.cut("node1");
  near.write(utf8Encode("waits"));
  await timeline.runToQuiet(LIMIT_MS);
  assert.equal(right.text, "");
  network.restore("node1");
  await timeline.runToQuiet(LIMIT_MS);
  assert.equal(right.text, "waits");
  near.write(utf8Encode("lost"));
  assert.equal(
    network.resetOne(() => true),
    true,
  );
  await timeline.runToQuiet(LIMIT_MS);
  assert.equal(right.text, "waits");
  for (const side of [left, right]) assert.ok(isFluxError(side.closed, "ECONNRESET"));
});

test("the peer of a killed process sees the end of the stream after what it had sent", async () => {
  const { timeline, near, far, scopes } = await connected(5);
  const right = collect(far);
  near.write(utf8Encode("last words"));
  scopes[1]!.end();
  await timeline.runToQuiet(LIMIT_MS);
  assert.equal(right.text, "last words");
  assert.equal(right.closed, null);
});

test("a peer with a wrong key is refused, by name", async () => {
  const timeline = new Timeline(new Seeded(1));
  const network = new Network(timeline, new Seeded(1));
  const refusals: (string | null)[] = [];
  const key = new Uint8Array([1, 2, 3]);
  const server = new SimulatedNet(network, party(new Scope("server")));
  const security = {
    keyFor: (identity: string) => (identity === "rank-1" ? key : null),
    refused: (identity: string | null) => void refusals.push(identity),
  };
  const { address } = await server.listen({ kind: "unix", path: "/tmp/s" }, () => {}, { security });
  const client = new SimulatedNet(network, party(new Scope("client")));
  const outcomes: string[] = [];
  for (const [identity, tried] of [
    ["rank-1", key],
    ["rank-1", new Uint8Array(3)],
    ["rank-9", key],
  ] as const)
    void client.connect(address, { security: { identity, key: tried } }).then(
      () => outcomes.push(`${identity} accepted`),
      (error) => outcomes.push(`${identity} ${isFluxError(error, "EPERM") ? "EPERM" : "?"}`),
    );
  await timeline.runToQuiet(LIMIT_MS);
  assert.deepEqual(outcomes.toSorted(), ["rank-1 EPERM", "rank-1 accepted", "rank-9 EPERM"]);
  assert.deepEqual(refusals.toSorted(), ["rank-1", "rank-9"]);
});

/** A disk of a process that is dead, with what a scenario left on it. */
async function leftBy(seed: number, scenario: (disk: SimulatedDisk) => Promise<void> | void): Promise<Storage> {
  const timeline = new Timeline(new Seeded(seed));
  const storage = new Storage(timeline, new Seeded(seed));
  const scope = new Scope("p");
  const done = scenario(new SimulatedDisk(storage, scope));
  await timeline.runToQuiet(LIMIT_MS);
  await done;
  scope.end();
  return storage;
}

function textOf(storage: Storage, path: string): string | null {
  const disk = new SimulatedDisk(storage, new Scope("q"));
  return disk.info(path) === null ? null : utf8Decode(disk.readFile(path));
}

test("a log keeps what was appended when its process dies, and any part of what was not synced after power loss", async () => {
  const seen = { short: new Set<number>(), holes: 0 };
  for (let seed = 0; seed < 60; seed++) {
    const storage = await leftBy(seed, async (disk) => {
      const log = disk.openLog("/tmp/log");
      log.append(utf8Encode("durable"));
      await log.sync();
      log.append(utf8Encode("volatile".repeat(20)));
    });
    const whole = `durable${"volatile".repeat(20)}`;
    assert.equal(textOf(storage, "/tmp/log"), whole);
    const image = storage.image();
    storage.crash("none");
    assert.equal(textOf(storage, "/tmp/log"), "durable");
    storage.restore(image);
    storage.crash("all");
    assert.equal(textOf(storage, "/tmp/log"), whole);
    storage.restore(image);
    storage.crash("part");
    const text = textOf(storage, "/tmp/log")!;
    assert.ok(text.startsWith("durable") && text.length <= whole.length, text);
    if (whole.startsWith(text)) seen.short.add(text.length);
    else seen.holes++;
  }
  assert.ok(seen.short.size > 3 && seen.holes > 3, "power loss was always the same");
});

test("names that were not synced are lost with the power, the last changes first; a sync makes them safe", async () => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 30; seed++) {
    const storage = await leftBy(seed, async (disk) => {
      const first = disk.openLog("/tmp/log");
      first.append(utf8Encode("first"));
      await first.sync();
      disk.rename("/tmp/log", "/tmp/old");
      disk.openLog("/tmp/log");
      disk.remove("/tmp/old");
    });
    storage.crash("part");
    outcomes.add(`${textOf(storage, "/tmp/old")} ${textOf(storage, "/tmp/log")}`);
  }
  assert.deepEqual([...outcomes].toSorted(), ["first ", "first null", "null ", "null first"]);
  const storage = await leftBy(1, async (disk) => {
    disk.openLog("/tmp/a").append(utf8Encode("not synced"));
    disk.rename("/tmp/a", "/tmp/b");
    await disk.openLog("/tmp/c").sync();
  });
  storage.crash("none");
  assert.deepEqual([textOf(storage, "/tmp/b"), textOf(storage, "/tmp/c")], ["", ""]);
});

test("a replaced file is old or new after power loss, and new if it was synced", async () => {
  const write = (storage: Storage): void => {
    const disk = new SimulatedDisk(storage, new Scope("p"));
    disk.writeFile("/tmp/a", utf8Encode("old"), { sync: true });
    disk.writeFile("/tmp/a", utf8Encode("new"));
  };
  const storage = await leftBy(1, () => undefined);
  write(storage);
  storage.crash("none");
  assert.equal(textOf(storage, "/tmp/a"), "old");
  write(storage);
  new SimulatedDisk(storage, new Scope("p")).writeFile("/tmp/b", utf8Encode("synced"), { sync: true });
  storage.crash("none");
  assert.equal(textOf(storage, "/tmp/b"), "synced");
});

test("a full disk refuses stores with ENOSPC and still reads", () => {
  const storage = new Storage(new Timeline(new Seeded(1)), new Seeded(1));
  const disk = new SimulatedDisk(storage, new Scope("p"));
  disk.writeFile("/tmp/a", new Uint8Array(100));
  storage.capacityBytes = 150;
  assert.throws(
    () => disk.writeFile("/tmp/b", new Uint8Array(100)),
    (error) => isFluxError(error, "ENOSPC"),
  );
  assert.equal(disk.readFile("/tmp/a").length, 100);
});

test("programs run, print, end with their status and obey signals", async () => {
  const timeline = new Timeline(new Seeded(7));
  const network = new Network(timeline, new Seeded(7));
  const table = new ProcessTable(timeline, network, new Map(Object.entries(STANDARD_PROGRAMS)));
  const exec = new SimulatedExec(table, party(new Scope("parent")));
  const start = (argv: string[]): { output: string; status: number | null; kill: (signum: number) => boolean } => {
    const seen = { output: "", status: null as number | null, kill: (signum: number) => child.kill(signum) };
    const child = exec.spawn(
      { argv, env: {}, cwd: "/tmp", stdin: "null", stdout: "pipe", stderr: "pipe" },
      {
        output: (_stream, chunk) => (seen.output += chunk === null ? "" : utf8Decode(chunk)),
        exit: (status) => (seen.status = exitCodeOfStatus(status)),
      },
    );
    return seen;
  };
  const echo = start(["echo", "a", "b"]);
  const failing = start(["/bin/exit", "3"]);
  const killed = start(["sleep", "1000"]);
  const stubborn = start(["stubborn"]);
  timeline.after(100, () => killed.kill(15));
  timeline.after(100, () => stubborn.kill(15));
  timeline.after(200, () => stubborn.kill(9));
  await timeline.runToQuiet(LIMIT_MS);
  assert.deepEqual([echo.output, echo.status], ["a b\n", 0]);
  assert.equal(failing.status, 3);
  assert.equal(killed.status, 143);
  assert.equal(stubborn.status, 137);
  assert.equal(table.processes.size, 0);
  assert.throws(
    () => start(["no-such-program"]),
    (error) => isFluxError(error, "ENOENT") && error.message.includes("no-such-program"),
  );
});
