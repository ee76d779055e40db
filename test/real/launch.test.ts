/** The ways an instance comes up: under another launcher by PMI-1, and from a configuration with keys. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Run, flux } from "./processes.ts";

const hasHydra = spawnSync("mpiexec.hydra", ["--version"]).status === 0;
const skip = hasHydra ? false : "MPICH's mpiexec is not installed";

test("mpiexec starts one instance of all its processes", { skip }, async () => {
  const script = "flux getattr size; flux getattr broker.boot-method; flux run -N4 hostname | wc -l";
  await using run = new Run(["mpiexec.hydra", "-n", "4", flux, "start", "bash", "-c", script]);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "4\nsimple\n4\n");
  await run.gone(10_000);
});

test("the exit code of the initial program is handed on to mpiexec", { skip }, async () => {
  await using run = new Run(["mpiexec.hydra", "-n", "2", flux, "start", "sh", "-c", "exit 3"]);
  assert.equal((await run.finished).code, 3);
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("brokers of a configuration find each other with the key they share, and refuse one with another key", async () => {
  const directory = mkdtempSync(join(tmpdir(), "flux-boot-"));
  try {
    const port = await freePort();
    for (const name of ["key", "wrong"]) {
      assert.equal(spawnSync(flux, ["keygen", join(directory, name)]).status, 0);
      assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, "a key is its owner's alone");
      const endpoint = `tcp://127.0.0.1:${port}`;
      const hosts = `[[bootstrap.hosts]]\nhost = "one"\nbind = "${endpoint}"\nconnect = "${endpoint}"\n[[bootstrap.hosts]]\nhost = "two"\n`;
      writeFileSync(join(directory, `${name}.toml`), `[bootstrap]\ncurve_cert = "${join(directory, name)}"\n${hosts}`);
    }
    const broker = (name: string, host: string, ...command: string[]): Run =>
      new Run([flux, "broker", "-c", join(directory, `${name}.toml`), `-Shostname=${host}`, ...command]);
    await using leader = broker("key", "one", "sh", "-c", "flux getattr size; flux overlay status");
    await using stranger = broker("wrong", "two");
    const refused = await stranger.finished;
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /refused|key/i);
    await using follower = broker("key", "two");
    const { code, stdout, stderr } = await leader.finished;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^2\n0 one: full\n└─ 1 two: full\n$/);
    assert.equal((await follower.finished).code, 0);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
