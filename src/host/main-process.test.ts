import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

const prologue = `const { mainProcess } = await import(${JSON.stringify(new URL("./main-process.ts", import.meta.url).href)});`;
const argumentsFor = (program: string): string[] => ["--input-type=module", "-e", prologue + program];

test("output that was not taken yet is not lost at exit", async () => {
  const program = `mainProcess.write("stdout", "x".repeat(1_000_000)); await mainProcess.exit(3);`;
  const child = spawn(process.execPath, argumentsFor(program), { stdio: ["ignore", "pipe", "inherit"] });
  let length = 0;
  child.stdout.on("data", (chunk: Buffer) => (length += chunk.byteLength));
  const [code] = (await once(child, "close")) as [number];
  assert.deepEqual([length, code], [1_000_000, 3]);
});

test("a reader that went away is no error", () => {
  const program = `for (let i = 0; i < 100; i++) await mainProcess.write("stdout", "x".repeat(100_000)); await mainProcess.exit(0);`;
  const command = `"$0" "$@" | head -c 10; echo " \${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", command, process.execPath, ...argumentsFor(program)], {
    encoding: "utf8",
  });
  assert.deepEqual([stdout, stderr], ["xxxxxxxxxx 0\n", ""]);
});

test("standard input is read to its end", () => {
  const program = `const input = await mainProcess.readInput(); await mainProcess.write("stdout", input.length + "\\n"); await mainProcess.exit(0);`;
  const { stdout } = spawnSync(process.execPath, argumentsFor(program), { input: "12345", encoding: "utf8" });
  assert.equal(stdout, "5\n");
});

test("signals are told by number; the process can still end as by that signal", async () => {
  const program = `
    const subscription = mainProcess.onSignals([2, 15], async (signum) => {
      await mainProcess.write("stdout", "got " + signum);
      subscription.cancel();
      await mainProcess.endBySignal(signum);
    });
    setInterval(() => undefined, 1000);
    await mainProcess.write("stdout", "ready ");`;
  const child = spawn(process.execPath, argumentsFor(program), { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    if (text === "ready ") child.kill("SIGTERM");
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.deepEqual([text, code, signal], ["ready got 15", null, "SIGTERM"]);
});
