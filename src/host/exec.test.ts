import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { concatBytes, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { isFluxError } from "../base/errors.ts";
import type { ChildProcess, Exec, SpawnOptions } from "../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus } from "../base/signals.ts";
import { allowedCpus } from "./cpus.ts";
import { FallbackExec } from "./exec-fallback.ts";
import { NativeExec } from "./exec-native.ts";
import { nativeAddon } from "./native.ts";

const directory = mkdtempSync(join(tmpdir(), "flux-exec-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const PATH = process.env["PATH"] ?? "/usr/bin:/bin";

/** A child, with everything it said. */
class Run {
  readonly child: ChildProcess;
  readonly chunks = new Map<string, Uint8Array[]>();
  readonly ended: string[] = [];
  readonly exit: Promise<number>;
  #wake: () => void = () => undefined;

  constructor(exec: Exec, argv: readonly string[], options: Partial<SpawnOptions> = {}) {
    let inCall = true;
    const noted = (): void => assert.equal(inCall, false, "nothing is delivered inside spawn()");
    const done = Promise.withResolvers<number>();
    this.exit = done.promise;
    this.child = exec.spawn(
      { argv, env: { PATH }, cwd: directory, stdin: "null", stdout: "pipe", stderr: "pipe", ...options },
      {
        output: (stream, chunk) => {
          noted();
          if (chunk === null) this.ended.push(stream);
          else this.chunks.set(stream, [...(this.chunks.get(stream) ?? []), chunk]);
          this.#wake();
        },
        exit: (status) => {
          noted();
          done.resolve(status);
          this.#wake();
        },
      },
    );
    inCall = false;
  }

  text(stream: string = "stdout"): string {
    return utf8Decode(concatBytes(this.chunks.get(stream) ?? []));
  }

  async until(pattern: RegExp, stream: string = "stdout"): Promise<string> {
    while (!pattern.test(this.text(stream))) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.text(stream);
  }
}

const sh = (script: string): string[] => ["sh", "-c", script];

function suite(exec: Exec, name: "native" | "fallback"): void {
  const run = (argv: readonly string[], options?: Partial<SpawnOptions>): Run => new Run(exec, argv, options);

  test("exit codes and signals are told in the form of wait(2)", async () => {
    assert.equal(await run(["true"]).exit, 0);
    assert.equal(await run(sh("exit 3")).exit, 3 << 8);
    assert.equal(await run(["/bin/sh", "-c", "exit 255"]).exit, 255 << 8);
    assert.equal(signalOfStatus(await run(sh("kill -TERM $$")).exit), 15);
    assert.equal(exitCodeOfStatus(await run(sh("kill -SEGV $$")).exit), 139);
  });

  test("standard input can be a file, which is opened before the program starts", async () => {
    const path = join(directory, `input-${name}`);
    writeFileSync(path, "from a file\n");
    const cat = run(["cat"], { stdin: { path } });
    assert.equal(await cat.exit, 0);
    assert.equal(cat.text(), "from a file\n");
    assert.throws(
      () => run(["cat"], { stdin: { path: `${path}-absent` } }),
      (error) => isFluxError(error, "ENOENT"),
    );
  });

  test("standard output and error arrive apart, each with its end, before the exit", async () => {
    const child = run(sh("echo out; echo err >&2; exit 1"));
    assert.equal(await child.exit, 1 << 8);
    assert.deepEqual([child.text("stdout"), child.text("stderr")], ["out\n", "err\n"]);
    assert.deepEqual(child.ended.sort(), ["stderr", "stdout"]);
  });

  test("a program that does not exist, may not be executed, or is a directory, is named in the error", () => {
    writeFileSync(join(directory, "plain"), "no program", { mode: 0o644 });
    for (const [program, errno] of [
      ["no-such-program", "ENOENT"],
      ["/no/such/program", "ENOENT"],
      ["./plain", "EACCES"],
      ["/tmp", "EACCES"],
      ["./plain/below", "ENOTDIR"],
    ] as const) {
      assert.throws(
        () => run([program]),
        (error) => {
          assert.ok(isFluxError(error, errno), `${program}: ${error}`);
          assert.ok(error.message.startsWith(`${program}: `), error.message);
          return true;
        },
      );
    }
    assert.throws(
      () => run([]),
      (error) => isFluxError(error, "EINVAL"),
    );
  });

  test("a working directory that does not exist is told apart from a program that does not", () => {
    for (const [cwd, errno] of [
      [join(directory, "nowhere"), "ENOENT"],
      ["/etc/passwd", "ENOTDIR"],
    ] as const) {
      assert.throws(
        () => run(["true"], { cwd }),
        (error) => {
          assert.ok(isFluxError(error, errno), String(error));
          assert.ok(error.message.includes(cwd));
          return true;
        },
      );
    }
  });

  test("cwd and environment are exactly those asked for; programs are sought in the child's PATH", async () => {
    mkdirSync(join(directory, "bin"), { recursive: true });
    writeFileSync(join(directory, "bin/only-here"), "#!/bin/sh\npwd; /usr/bin/env\n", { mode: 0o755 });
    const child = run(["only-here"], {
      cwd: "/usr",
      env: { PATH: `/nowhere:${directory}/bin`, GREETING: "grüß\ngott" },
    });
    assert.equal(await child.exit, 0);
    const lines = child.text().trim().split("\n").sort();
    assert.deepEqual(
      lines.filter((line) => !/^(_|OLDPWD|SHLVL)=/.test(line)),
      ["/usr", "GREETING=grüß", "PATH=/nowhere:" + directory + "/bin", "PWD=/usr", "gott"].sort(),
    );
    assert.throws(
      () => run(["only-here"]),
      (error) => isFluxError(error, "ENOENT"),
    );
  });

  test("a script without #! is run by the shell", async () => {
    writeFileSync(join(directory, "script"), "echo ran $1\n", { mode: 0o755 });
    const child = run(["./script", "well"]);
    assert.equal(await child.exit, 0);
    assert.equal(child.text(), "ran well\n");
  });

  test("stdin is delivered and ended; a program that does not read it does no harm", async () => {
    const echo = run(["cat"], { stdin: "pipe" });
    echo.child.write("stdin", utf8Encode("one "));
    await echo.until(/one /);
    echo.child.write("stdin", utf8Encode("two"));
    echo.child.closeInput("stdin");
    assert.equal(await echo.exit, 0);
    assert.equal(echo.text(), "one two");

    const deaf = run(sh("exec <&-; echo closed; sleep 0.1"), { stdin: "pipe" });
    await deaf.until(/closed/);
    deaf.child.write("stdin", new Uint8Array(1_000_000));
    await deaf.child.drained("stdin");
    assert.equal(await deaf.exit, 0);
  });

  test("a writer is told to wait while the program does not read", async () => {
    const child = run(sh("read go; wc -c"), { stdin: "pipe" });
    const chunk = new Uint8Array(100_000).fill(65);
    child.child.write("stdin", utf8Encode("go\n"));
    let sent = 0;
    while (sent < 3_000_000) {
      sent += chunk.byteLength;
      if (!child.child.write("stdin", chunk)) await child.child.drained("stdin");
    }
    child.child.closeInput("stdin");
    assert.equal(await child.exit, 0);
    assert.equal(Number(child.text()), sent);
  });

  test("50 MB of output arrive complete, and pausing holds the program back", async () => {
    const total = 50_000_000;
    const ended = Promise.withResolvers<number>();
    const half = Promise.withResolvers<void>();
    let received = 0;
    let state: "before" | "paused" | "after" = "before";
    const argv = ["head", "-c", String(total), "/dev/zero"];
    const child = exec.spawn(
      { argv, env: { PATH }, cwd: "/", stdin: "null", stdout: "pipe", stderr: "null" },
      {
        output: (_stream, chunk) => {
          assert.notEqual(state, "paused", "delivered while paused");
          received += chunk?.byteLength ?? 0;
          if (received < total / 2 || state !== "before") return;
          state = "paused";
          child.pauseOutput("stdout");
          half.resolve();
        },
        exit: ended.resolve,
      },
    );
    await half.promise;
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(received < total);
    assert.equal(existsSync(`/proc/${child.pid}`), true, "the program waits");
    state = "after";
    child.resumeOutput("stdout");
    assert.equal(await ended.promise, 0);
    assert.equal(received, total);
  });

  test("a channel is a socket whose number the named variable holds", async () => {
    const script =
      'test "$PMI_FD" != "$OTHER_FD"; read line <&$PMI_FD; echo "got $line" >&$PMI_FD; echo other >&$OTHER_FD';
    const child = run(["bash", "-c", script], { channels: ["PMI_FD", "OTHER_FD"] });
    child.child.write("PMI_FD", utf8Encode("cmd=init\n"));
    assert.equal(await child.exit, 0);
    assert.equal(child.text("PMI_FD"), "got cmd=init\n");
    assert.equal(child.text("OTHER_FD"), "other\n");
    assert.deepEqual(child.ended.sort(), ["OTHER_FD", "PMI_FD", "stderr", "stdout"]);
  });

  test("a channel has a name of its own, that a variable can have", () => {
    const before = readdirSync("/proc/self/fd").length;
    for (const channels of [["FD", "FD"], ["stdin"], ["stdout"], ["stderr"], [""], ["A=B"], ["A\0"]])
      assert.throws(
        () => run(["true"], { channels }),
        (error) => isFluxError(error, "EINVAL"),
      );
    assert.equal(readdirSync("/proc/self/fd").length, before);
  });

  test("closing a channel's input ends it for the program, which can still answer", async () => {
    const child = run(["bash", "-c", "cat <&$FD >/dev/null; echo bye >&$FD"], { channels: ["FD"] });
    child.child.write("FD", utf8Encode("all of it"));
    child.child.closeInput("FD");
    assert.equal(await child.exit, 0);
    assert.equal(child.text("FD"), "bye\n");
  });

  test("signals reach the process, or its whole group; the ended one is gone", async () => {
    const script = "sleep 1000 & trap 'echo caught' USR1; echo ready; while :; do wait; done";
    const child = run(sh(script));
    await child.until(/ready/);
    assert.equal(child.child.kill(10), true);
    await child.until(/caught/);
    assert.equal(child.child.kill(9, { group: true }), true);
    assert.equal(signalOfStatus(await child.exit), 9);
    assert.deepEqual(child.ended.sort(), ["stderr", "stdout"], "the background program held the pipes, and was killed");
    assert.equal(child.child.kill(9), false);
    assert.equal(child.child.kill(9, { group: true }), false);
    assert.equal(exec.kill(child.child.pid, 0), false);
  });

  test("exit waits for the output of what the program left in the background", async () => {
    const child = run(["bash", "-c", "(read line <&$GATE; echo late) & echo early"], { channels: ["GATE"] });
    let exited = false;
    void child.exit.then(() => (exited = true));
    await child.until(/early/);
    while (existsSync(`/proc/${child.child.pid}`)) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(exited, false);
    child.child.write("GATE", utf8Encode("go\n"));
    assert.equal(await child.exit, 0);
    assert.equal(child.text(), "early\nlate\n");
  });

  test("a new process group is the default; without it the child stays in ours", async () => {
    const group = async (newProcessGroup?: boolean): Promise<[number, number]> => {
      const child = run(sh("cut -d' ' -f5 /proc/$$/stat"), { newProcessGroup });
      await child.exit;
      return [Number(child.text()), child.child.pid];
    };
    const [own, pid] = await group();
    assert.equal(own, pid);
    const ours = Number(readFileSync("/proc/self/stat", "utf8").split(") ")[1]!.split(" ")[2]);
    assert.equal((await group(false))[0], ours);
  });

  test("the program starts with default signals, none blocked or ignored", async () => {
    const child = run(["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]);
    await child.exit;
    assert.deepEqual(child.text().match(/[0-9a-f]{16}/g), ["0".repeat(16), "0".repeat(16)]);
  });

  test("umask, resource limits and CPU binding apply to the program alone", async () => {
    const before = process.umask();
    const cpu = allowedCpus().at(-1)!;
    const child = run(sh("umask; ulimit -S -n; ulimit -S -c; grep Cpus_allowed_list /proc/self/status"), {
      umask: 0o027,
      rlimits: { nofile: 123, core: 0 },
      cpus: [cpu],
    });
    assert.equal(await child.exit, 0, child.text("stderr"));
    assert.deepEqual(child.text().split(/\s+/).slice(0, 3), ["0027", "123", "0"]);
    assert.match(child.text(), new RegExp(`Cpus_allowed_list:\\s+${cpu}\n`));
    assert.equal(process.umask(), before);
    assert.throws(
      () => run(["true"], { rlimits: { constructor: 1 } }),
      (error) => isFluxError(error, "EINVAL"),
    );
  });

  test("a limit beyond the hard limit is brought down to it", async () => {
    const child = run(sh("ulimit -S -n; ulimit -H -n"), { rlimits: { nofile: -1 } });
    assert.equal(await child.exit, 0, child.text("stderr"));
    const [soft, hard] = child.text().trim().split("\n");
    assert.equal(soft, hard);
  });

  test("SIGKILL for the group of a process that has ended ends it, though another group holds its output", async () => {
    const run = new Run(exec, ["bash", "-c", "setsid sleep 1000 & echo $!; exit 3"]);
    const holder = Number(await run.until(/\d+\n/));
    try {
      while (run.child.kill(0)) await new Promise((resolve) => setImmediate(resolve));
      run.child.kill(9, { group: true });
      assert.equal(exitCodeOfStatus(await run.exit), 3);
      assert.deepEqual(run.ended.toSorted(), ["stderr", "stdout"]);
    } finally {
      exec.kill(holder, 9);
    }
  });

  test("a channel that a daemon of the program holds does not keep the program's exit, nor what it said last", async () => {
    const script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!; echo bye >&$FD; exit 3";
    const run = new Run(exec, ["bash", "-c", script], { channels: ["FD"] });
    const holder = Number(await run.until(/\d+\n/));
    try {
      assert.equal(exitCodeOfStatus(await run.exit), 3);
      assert.equal(run.text("FD"), "bye\n");
    } finally {
      exec.kill(holder, 9);
    }
  });

  test("a terminal: the program has one, of the size asked for, and reads what is typed", async () => {
    const script = 'test -t 0 && test -t 1 && tty >/dev/null && stty size && read line && echo "typed $line"; exit 4';
    const child = run(["bash", "-c", script], { pty: { rows: 33, columns: 101 } });
    await child.until(/33 101/);
    child.child.write("stdin", utf8Encode("hello\n"));
    assert.equal(exitCodeOfStatus(await child.exit), 4);
    assert.match(child.text(), /typed hello\r\n/);
    assert.deepEqual(child.ended, ["stdout"]);
  });

  if (name === "native") {
    test("a terminal is resized, and the program is told by SIGWINCH", async () => {
      const script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done";
      const child = run(["bash", "-c", script], { pty: { rows: 10, columns: 20 } });
      await child.until(/ready/);
      child.child.resizePty(50, 60);
      await child.exit;
      assert.match(child.text(), /50 60/);
      child.child.resizePty(1, 1);
    });

    test("no descriptor but the agreed ones reaches the program", async () => {
      const leaked = run(["cat"], { stdin: "pipe" });
      const child = run(["ls", "/proc/self/fd"], { channels: ["FD"] });
      await child.exit;
      assert.deepEqual(child.text().trim().split("\n"), ["0", "1", "2", "3", "4"], "4 is ls reading the directory");
      leaked.child.closeInput("stdin");
      await leaked.exit;
    });

    test("closing the input of a terminal ends what reads it", async () => {
      const child = run(["cat"], { pty: { rows: 10, columns: 20 } });
      child.child.write("stdin", utf8Encode("line\n"));
      await child.until(/line\r\nline\r\n/);
      child.child.closeInput("stdin");
      assert.equal(await child.exit, 0);
    });
  }

  test("200 processes at once: all end, no zombie and no descriptor is left", async () => {
    const descriptors = readdirSync("/proc/self/fd").length;
    const runs = Array.from({ length: 200 }, (_, index) => run(sh(`echo ${index}; exit ${index % 7}`)));
    const statuses = await Promise.all(runs.map((each) => each.exit));
    assert.deepEqual(
      statuses,
      runs.map((_, index) => (index % 7) << 8),
    );
    assert.deepEqual(
      runs.map((each) => each.text()),
      runs.map((_, index) => `${index}\n`),
    );
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    for (const { child } of runs) assert.equal(existsSync(`/proc/${child.pid}`), false, "reaped");
    assert.ok(readdirSync("/proc/self/fd").length <= descriptors + 2);
    assert.throws(() => run(["no-such-program"]));
    assert.throws(() => run(["true"], { cwd: "/nowhere" }));
    assert.ok(readdirSync("/proc/self/fd").length <= descriptors + 2, "a failed start leaves nothing open");
  });
}

describe("exec by child_process", { timeout: 30_000 }, () => suite(new FallbackExec(), "fallback"));
const addon = nativeAddon();
describe("exec by the native addon", { skip: addon?.canSpawn !== true, timeout: 30_000 }, () => {
  if (addon !== null) suite(new NativeExec(addon), "native");
});
