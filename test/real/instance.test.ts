/** Instances of real processes: what is left behind, what survives, who is refused. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { Run, flux, startInstance } from "./processes.ts";

const GONE_MS = 10_000;

test("two instances of eight brokers at once; nothing is left of either", async () => {
  const runs = [1, 2].map(() => new Run([flux, "start", "-s8", "flux", "getattr", "size"]));
  for (const run of runs) {
    const { code, stdout, stderr } = await run.finished;
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "8\n");
    await run.gone(GONE_MS);
    assert.deepEqual(run.leftFiles(), []);
    await run[Symbol.asyncDispose]();
  }
});

test("the exit status of the initial program is that of flux start, 128+n for signals", async () => {
  for (const [command, expected] of [
    ["exit 3", 3],
    ["kill -TERM $$", 143],
    ["true", 0],
  ] as const) {
    await using run = new Run([flux, "start", "-s2", "bash", "-c", command]);
    assert.equal((await run.finished).code, expected, command);
  }
});

test("Ctrl-C and SIGTERM end an instance with running jobs, cleanly and soon", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await using run = new Run([
      flux,
      "start",
      "-s2",
      "bash",
      "-c",
      "flux submit -n2 sleep 1000; flux job wait-event $(flux job last) start; echo READY; sleep 1000",
    ]);
    await run.seen(/READY/);
    run.child.kill(signal);
    const { code, stderr } = await run.finished;
    assert.notEqual(code, 0, stderr);
    await run.gone(GONE_MS);
    assert.deepEqual(run.leftFiles(), []);
  }
});

test("kill -9 of flux start leaves nothing running", async () => {
  await using run = new Run([flux, "start", "-s3", "bash", "-c", "flux submit sleep 1000; echo READY; sleep 1000"]);
  await run.seen(/READY/);
  run.child.kill("SIGKILL");
  await run.finished;
  await run.gone(GONE_MS);
});

test("kill -9 of an instance of one broker leaves nothing of its initial program, what that started included", async () => {
  await using run = new Run([flux, "start", "bash", "-c", "sleep 1000 & sleep 1000 & echo READY; wait"]);
  await run.seen(/READY/);
  run.child.kill("SIGKILL");
  await run.gone(GONE_MS);
});

test("kill -9 of a broker leaves nothing that its initial program started, in whatever group, on a terminal too", async () => {
  const program = "bash -c 'sleep 1000 & setsid sleep 1000 & echo PID $(flux getattr broker.pid) READY; cat'";
  await using run = new Run(["script", "-qec", `${flux} start ${program}`, "/dev/null"], { input: "" });
  const [, pid] = await run.seen(/PID (\d+) READY/);
  process.kill(Number(pid), "SIGKILL");
  await run.finished;
  await run.gone(GONE_MS);
});

test("kill -9 of a shell host fails its jobs, leaves none of their processes, and the next job gets another", async () => {
  const { run, flux: command } = await startInstance("-s1");
  await using _ = run;
  const id = command("submit", "bash", "-c", "sleep 1001 & setsid sleep 1002 & wait").stdout.trim();
  command("job", "wait-event", "-p", "guest.exec.eventlog", id, "shell.start");
  const host = run.processes().find(({ command: line }) => line.endsWith(" shell-host"))!;
  process.kill(host.pid, "SIGKILL");
  assert.match(
    command("job", "wait-event", "-t", "30", id, "exception").stdout,
    /type="exec".*shell rank 0 \(on .*\): Killed/,
  );
  assert.equal(command("job", "wait-event", "-t", "30", id, "clean").code, 0);
  await run.gone(GONE_MS, /^sleep 100/);
  assert.equal(command("run", "true").code, 0);
});

test("kill -9 of a broker ends what flux exec started there, and nothing that came from elsewhere", async () => {
  const { run, flux: command } = await startInstance("-s2");
  await using _ = run;
  const pid = Number(command("exec", "-r", "1", flux, "getattr", "broker.pid").stdout);
  command("exec", "--bg", "-r", "1", "bash", "-c", "sleep 1003 & setsid sleep 1004 & $0 kvs put ready=1; wait", flux);
  assert.equal(command("kvs", "get", "--waitcreate", "ready").stdout, "1\n");
  // As an editor in a terminal of its own, where somebody has set FLUX_URI.
  const uri = command("exec", "-r", "1", flux, "getattr", "local-uri").stdout.trim();
  const outsider = spawn("cat", { env: { PATH: process.env["PATH"], FLUX_URI: uri } });
  process.kill(pid, "SIGKILL");
  await run.gone(GONE_MS, /^sleep 100/);
  outsider.stdin.end("still here");
  assert.equal(await text(outsider.stdout), "still here");
});

test("kill -9 of a leaf broker costs only the jobs on it", async () => {
  const { run, flux: command } = await startInstance("-s4", "-Stbon.topo=kary:2");
  await using _ = run;
  const pid = Number(command("exec", "-r", "3", flux, "getattr", "broker.pid").stdout);
  assert.ok(pid > 1);
  const doomed = command("submit", "-N1", "--requires=rank:3", "sleep", "1000").stdout.trim();
  const safe = command("submit", "-N1", "--requires=rank:2", "sleep", "1000").stdout.trim();
  for (const id of [doomed, safe]) assert.equal(command("job", "wait-event", id, "start").code, 0);
  process.kill(pid, "SIGKILL");
  const { stdout } = command("job", "wait-event", "-t", "30", doomed, "exception");
  assert.match(stdout, /type="exec".*node failure on .* \(rank 3\)/);
  assert.match(command("overlay", "status").stdout, /lost/);
  assert.equal(command("run", "-N1", "true").code, 0);
  assert.match(command("jobs", "-no", "{id} {state}", safe).stdout, /RUN/);
  command("cancel", safe);
});

test("kill -9 of rank 0: nothing is left running, and its statedir has every commit and job that was acknowledged", async () => {
  const statedir = mkdtempSync(join(tmpdir(), "flux-state-"));
  try {
    const { run, flux: command } = await startInstance("-s3", `-Sstatedir=${statedir}`);
    const done = command("submit", "true").stdout.trim();
    assert.equal(command("job", "wait-event", done, "clean").code, 0);
    for (let index = 0; index < 5; index++) assert.equal(command("kvs", "put", `survives.k${index}=${index}`).code, 0);
    const held = command("submit", "--urgency=hold", "true").stdout.trim();
    const pid = Number(command("getattr", "broker.pid").stdout);
    assert.ok(pid > 1);
    process.kill(pid, "SIGKILL");
    await run.finished;
    await run.gone(GONE_MS);
    await run[Symbol.asyncDispose]();

    const again = await startInstance("-s2", `-Sstatedir=${statedir}`);
    await using _ = again.run;
    for (let index = 0; index < 5; index++)
      assert.equal(again.flux("kvs", "get", `survives.k${index}`).stdout, `${index}\n`);
    assert.match(again.flux("jobs", "-ano", "{id} {status}", done).stdout, /COMPLETED/);
    assert.equal(again.flux("job", "urgency", held, "16").code, 0);
    assert.equal(again.flux("job", "wait-event", "-t", "30", held, "clean").code, 0);
  } finally {
    rmSync(statedir, { recursive: true, force: true });
  }
});

test("kill -9 of rank 0 leaves no directory behind: flux start removes them, or the next start does", async () => {
  const tell = "echo AT $(flux getattr statedir) $(flux getattr broker.pid) END; sleep 1000";
  for (const size of ["-s2", "-s1"]) {
    await using run = new Run([flux, "start", size, "bash", "-c", tell]);
    const [, statedir, pid] = await run.seen(/AT (\S+) (\d+) END/);
    process.kill(Number(pid), "SIGKILL");
    await run.finished;
    assert.equal(existsSync(statedir!), false, statedir);
    assert.deepEqual(run.leftFiles(), []);
  }
  await using alone = new Run([flux, "start", "bash", "-c", tell.replace("1000", "2")]);
  const [, statedir] = await alone.seen(/AT (\S+) (\d+) END/);
  alone.child.kill("SIGKILL");
  await alone.finished;
  // Any instance that this user starts from now on sweeps it away, another test's too.
  await using next = new Run([
    flux,
    "start",
    "bash",
    "-c",
    `while test -e ${statedir}; do sleep 0.1; done; echo SWEPT`,
  ]);
  await next.seen(/SWEPT/);
});

test("garbage on the socket costs that connection only", async () => {
  const { run, uri, flux: command } = await startInstance("-s1");
  await using _ = run;
  const path = uri.replace("local://", "");
  for (const bytes of [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.from("1200eeffffffffff", "hex"),
    Buffer.from("1200eeff0000000100", "hex"),
  ]) {
    const socket = connect(path);
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()).on("error", () => undefined));
    socket.once("data", () => socket.write(bytes));
    await closed;
  }
  assert.equal(command("getattr", "size").stdout, "1\n");
});

test("the socket and its directory are the owner's alone", async () => {
  const { run, flux: command } = await startInstance("-s2");
  await using _ = run;
  const rundir = command("getattr", "rundir").stdout.trim();
  assert.equal(statSync(rundir).mode & 0o777, 0o700);
});
