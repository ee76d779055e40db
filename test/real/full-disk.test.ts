/** A state directory on a file system of 16 MiB that gets full, and has room again. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type FluxError, isFluxError, Kvs, openFlux } from "../../src/host/sdk.ts";
import { startInstance } from "./processes.ts";

const SIZE = "16m";
const BALLAST_BYTES = 3 * 1024 * 1024;
const VALUE_BYTES = 300_000;
/** More values than the file system can hold. */
const VALUES_MAX = 200;
const RESUME_MS = 30_000;
const GONE_MS = 10_000;

const mount = spawnSync("mount", ["--version"]).status === 0 && process.getuid?.() === 0;
const skip = mount && canMount() ? false : "needs the right to mount a tmpfs";

function canMount(): boolean {
  const directory = mkdtempSync(join(tmpdir(), "flux-mount-"));
  const isMounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", directory]).status === 0;
  if (isMounted) spawnSync("umount", [directory]);
  rmSync(directory, { recursive: true });
  return isMounted;
}

/** Bytes that do not compress, the same for the same seed. */
function noise(seed: string, length = VALUE_BYTES): Uint8Array {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Writes values until one is refused. Returns how many were acknowledged, and the refusal. */
async function fill(kvs: Kvs, prefix: string, length: number): Promise<{ count: number; refusal: FluxError }> {
  for (let count = 0; count < VALUES_MAX; count++) {
    try {
      await kvs.putBytes(`${prefix}.v${count}`, noise(`${prefix} ${count}`, length));
    } catch (error) {
      if (isFluxError(error)) return { count, refusal: error };
      throw error;
    }
  }
  throw new Error("the disk does not get full");
}

async function check(kvs: Kvs, prefix: string, count: number, length: number): Promise<void> {
  for (let index = 0; index < count; index++)
    assert.deepEqual(
      Buffer.from(await kvs.getBytes(`${prefix}.v${index}`)),
      Buffer.from(noise(`${prefix} ${index}`, length)),
      `${prefix}.v${index}`,
    );
}

function refusedOnly(error: unknown): void {
  if (!isFluxError(error, "ENOSPC")) throw error;
}

/** Writes a value as soon as that is possible again. */
async function resumed(kvs: Kvs): Promise<void> {
  const deadline = performance.now() + RESUME_MS;
  for (;;) {
    try {
      await kvs.put("resumed", true);
      return;
    } catch (error) {
      if (!isFluxError(error, "ENOSPC") || performance.now() > deadline) throw error;
    }
  }
}

test(
  "a full disk refuses writers with a sentence, readers go on, nothing is lost, work resumes",
  { skip, timeout: 120_000 },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "flux-full-"));
    assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "tmpfs", directory]).status, 0);
    const ballast = join(directory, "ballast");
    const placeBallast = (): void => writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES));
    try {
      placeBallast();
      const { run, uri, flux } = await startInstance("-s2", `-Sstatedir=${join(directory, "state")}`);
      await using _ = run;
      const handle = await openFlux(uri);
      const leaf = await openFlux(
        String((await handle.rpc("attr.get", { name: "local-uri" }, { nodeid: 1 }))["value"]),
      );
      const kvs = new Kvs(handle);
      const onLeaf = new Kvs(leaf);

      const big = await fill(kvs, "big", VALUE_BYTES);
      assert.ok(big.count > 10, `${big.count} values`);
      assert.ok(big.refusal.is("ENOSPC"), String(big.refusal));
      assert.match(big.refusal.message, /\w+ \w+/);
      const small = await fill(onLeaf, "small", 20_000);
      assert.ok(small.refusal.is("ENOSPC"), String(small.refusal));

      // What was written on another rank is there once its version is.
      await onLeaf.waitVersion(await kvs.version());
      for (const reader of [kvs, onLeaf]) {
        await check(reader, "big", big.count, VALUE_BYTES);
        await check(reader, "small", small.count, 20_000);
      }
      const typed = flux("kvs", "put", "--raw", `typed=${"x".repeat(100_000)}`);
      assert.notEqual(typed.code, 0);
      assert.match(typed.stderr, /No space left on device/);

      rmSync(ballast);
      await resumed(kvs);
      await onLeaf.waitVersion(await kvs.version());
      assert.equal(await onLeaf.get("resumed"), true);
      const more = await fill(onLeaf, "more", VALUE_BYTES);
      assert.ok(more.refusal.is("ENOSPC"), String(more.refusal));

      // Full again, and now everything dies at once.
      for (const { pid } of run.processes()) process.kill(pid, "SIGKILL");
      await run.finished;
      await run.gone(GONE_MS);
      handle.close();
      leaf.close();

      // It starts where it is full, too.
      const again = await startInstance("-s1", `-Sstatedir=${join(directory, "state")}`);
      await using last = again.run;
      const revived = await openFlux(again.uri);
      await check(new Kvs(revived), "big", big.count, VALUE_BYTES);
      await check(new Kvs(revived), "small", small.count, 20_000);
      await check(new Kvs(revived), "more", more.count, VALUE_BYTES);
      assert.equal(await new Kvs(revived).get("resumed"), true);
      revived.close();
      last.child.stdin?.end();
      assert.equal((await last.finished).code, 0, last.stderr);
    } finally {
      spawnSync("umount", ["-l", directory]);
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test(
  "jobs that go on while the disk is full: all that belongs to them arrives when there is room",
  {
    skip,
    timeout: 120_000,
  },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "flux-full-"));
    assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "tmpfs", directory]).status, 0);
    const ballast = join(directory, "ballast");
    writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES));
    const gate = join(tmpdir(), `${basename(directory)}.gate`);
    try {
      const { run, uri, flux } = await startInstance("-s1", `-Sstatedir=${join(directory, "state")}`);
      await using _ = run;
      const handle = await openFlux(uri);
      const kvs = new Kvs(handle);
      const submit = (...command: string[]): string => flux("submit", "-N1", "--exclusive", ...command).stdout.trim();
      const first = submit("sh", "-c", `until test -e ${gate}; do sleep 0.1; done; echo first`);
      const second = submit("echo", "second");
      flux("job", "wait-event", first, "start");

      for (const length of [VALUE_BYTES, 20_000, 1000]) await fill(kvs, `v${length}`, length);
      const room = new AbortController();
      const filling = (async () => {
        for (let round = 0; !room.signal.aborted; round++)
          await kvs.put(`more.v${round % 1000}`, "x".repeat(100)).catch(refusedOnly);
      })();
      try {
        writeFileSync(gate, "");
        const deadline = performance.now() + RESUME_MS;
        for (let text = ""; !/committing (R|exec eventlogs): .*; trying again/.test(text); text = flux("dmesg").stdout)
          assert.ok(performance.now() < deadline, text);
      } finally {
        room.abort();
        await filling;
        handle.close();
      }
      rmSync(ballast);
      for (const [id, text] of [
        [first, "first"],
        [second, "second"],
      ] as const) {
        assert.equal(flux("job", "wait-event", "-t30", id, "clean").code, 0);
        assert.equal(flux("job", "attach", id).stdout, `${text}\n`);
        assert.match(flux("job", "info", id, "R").stdout, /"version":1/);
        const events = flux("job", "eventlog", "-p", "exec", id).stdout;
        assert.match(events, /init[^]*starting[^]*complete[^]*done/);
      }
    } finally {
      spawnSync("umount", ["-l", directory]);
      rmSync(directory, { recursive: true, force: true });
      rmSync(gate, { force: true });
    }
  },
);
