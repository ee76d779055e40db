/** The content store of real instances: space comes back by itself, what readers hold stays, and whose directory it is. */
import assert from "node:assert/strict";
import { createCipheriv, createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Kvs, KvsTransaction, openFlux, type Handle } from "../../src/host/sdk.ts";
import { flux, Run, startInstance } from "./processes.ts";

const MIB = 1024 * 1024;
const VALUE_BYTES = 20_000;
const VALUES = 500;
const ROUNDS = 4;
const SETTLED_MS = 60_000;
const POLL_MS = 100;

interface StoreStats {
  readonly object_count: number;
  readonly live_size: number;
  readonly collector: { readonly cycles: number; readonly running: boolean; readonly removed_count: number };
}

/** Bytes that do not compress, the same for the same seed. */
function noise(seed: string): Uint8Array {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(VALUE_BYTES));
}

function sizeOf(directory: string): number {
  return readdirSync(directory).reduce((total, name) => total + statSync(join(directory, name)).size, 0);
}

async function write(kvs: Kvs, round: number): Promise<void> {
  for (let first = 0; first < VALUES; first += 50) {
    const transaction = new KvsTransaction();
    for (let number = first; number < first + 50; number++)
      transaction.putBytes(`values.${number}`, noise(`${round} ${number}`));
    await kvs.commit(transaction, { sync: true });
  }
}

/** Waits until the directory is as small as promised. Resolves with what the store says. */
async function settled(handle: Handle, directory: string, liveBytes: number): Promise<StoreStats> {
  const deadline = performance.now() + SETTLED_MS;
  for (;;) {
    const stats = await handle.rpc<StoreStats>("content-sqlite.stats-get");
    const size = sizeOf(directory);
    if (stats.collector.cycles > 0 && size <= 2 * liveBytes + 8 * MIB) return stats;
    if (performance.now() > deadline) assert.fail(`${size} bytes after a minute: ${JSON.stringify(stats)}`);
    await delay(POLL_MS);
  }
}

async function check(kvs: Kvs, round: number, at?: object): Promise<void> {
  for (let number = 0; number < VALUES; number += 10) {
    const bytes = await kvs.getBytes(`values.${number}`, at === undefined ? {} : { at: at as never });
    assert.deepEqual(Buffer.from(bytes), Buffer.from(noise(`${round} ${number}`)), `values.${number}`);
  }
}

test("values that are rewritten and removed leave the disk by themselves; a version that is read stays", async () => {
  const directory = mkdtempSync(join(tmpdir(), "flux-store-"));
  try {
    const { run, uri } = await startInstance(`-Sstatedir=${directory}`);
    await using _ = run;
    const handle = await openFlux(uri);
    const kvs = new Kvs(handle);
    for (let round = 0; round <= ROUNDS; round++) await write(kvs, round);
    const live = VALUES * VALUE_BYTES;
    const full = await settled(handle, directory, live);
    await check(kvs, ROUNDS);

    const removal = new KvsTransaction();
    for (let number = 0; number < VALUES; number++) if (number % 10 !== 0) removal.unlink(`values.${number}`);
    await kvs.commit(removal, { sync: true });
    const stats = await settled(handle, directory, live / 10);
    assert.ok(stats.collector.removed_count > full.collector.removed_count, JSON.stringify(stats));
    await handle.rpc("content.dropcache");
    await check(kvs, ROUNDS);

    // A reader asks for the present version, and reads it while it is superseded many times.
    const reader = await openFlux(uri);
    const { rootref } = await reader.rpc<{ rootref: string }>("kvs.getroot", { namespace: "primary", flags: 0 });
    for (let round = ROUNDS + 1; round <= 2 * ROUNDS; round++) await write(kvs, round);
    await settled(handle, directory, live + live / 10);
    await reader.rpc("content.dropcache");
    await check(new Kvs(reader), ROUNDS, { ver: 1, type: "dirref", data: [rootref] });
    await check(kvs, 2 * ROUNDS);
    reader.close();
    handle.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a state directory that the broker has made is its own, too, until it ends", async () => {
  const parent = mkdtempSync(join(tmpdir(), "flux-store-"));
  const directory = join(parent, "new");
  try {
    const { run, flux: command } = await startInstance(`-Sstatedir=${directory}`);
    await using _ = run;
    assert.match(await refusal(directory), /state directory .* is in use by another broker/);
    assert.equal(command("kvs", "put", "--sync", "a=1").code, 0, "who was there first goes on");
    run.child.stdin?.end();
    await run.finished;
    assert.ok(!existsSync(directory), "who made it removes it");
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
});

async function refusal(directory: string): Promise<string> {
  await using run = new Run([flux, "start", `-Sstatedir=${directory}`, "true"]);
  const { code, stderr } = await run.finished;
  assert.notEqual(code, 0);
  return stderr;
}

test("a state directory that another broker uses, and one of another version, are refused with a sentence", async () => {
  const directory = mkdtempSync(join(tmpdir(), "flux-store-"));
  try {
    const { run, flux: command } = await startInstance(`-Sstatedir=${directory}`);
    await using _ = run;
    assert.match(await refusal(directory), /state directory .* is in use by another broker/);
    assert.equal(command("kvs", "put", "--sync", "a=1").code, 0, "who was there first goes on");
    // However a broker ends, its lock ends with it.
    for (const { pid } of run.processes()) process.kill(pid, "SIGKILL");
    await run.finished;
    const again = await startInstance(`-Sstatedir=${directory}`);
    {
      await using _ = again.run;
      assert.equal(again.flux("kvs", "get", "a").stdout, "1\n");
      again.run.child.stdin?.end();
      await again.run.finished;
    }
    const database = new DatabaseSync(join(directory, "content.sqlite"));
    database.exec("ALTER TABLE objects RENAME COLUMN size TO length");
    database.close();
    assert.match(
      await refusal(directory),
      /content.sqlite is of another version: its table objects has no column size/,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
