/** Start-up files of job shells in Lua: what they may say, and what comes of it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { luaText, runLuaFile } from "./lua-file.ts";

const skip: string | false = spawnSync("lua", ["-v"]).error === undefined ? false : "lua is not installed";

/** The report of a file, for a job of two tasks on one node. */
function run(t: TestContext, text: string, options: JsonObject = {}): JsonObject {
  const directory = fs.mkdtempSync(join(tmpdir(), "lua-initrc-"));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const path = join(directory, "rc.lua");
  fs.writeFileSync(path, text);
  return runLuaFile(path, {
    info: { jobid: 7, rank: 0, size: 1, ntasks: 2, options, jobspec: {}, R: {}, service: "1-shell-f7" },
    environment: { PATH: "/bin", OLD_ONE: "x" },
    ranks: [{ id: 0, name: "n0", broker_rank: 0, ntasks: 2, taskids: "0-1", resources: { ncores: 2, cores: "0-1" } }],
    tasks: [
      { rank: 0, localid: 0, state: "Init" },
      { rank: 1, localid: 1, state: "Init" },
    ],
    searchpath: directory,
  });
}

const messages = (report: JsonObject): unknown[] =>
  (report["log"] as { message: string }[]).map((each) => each.message);

test("variables and options of the job", { skip }, (t) => {
  const report = run(
    t,
    `shell.setenv("NEW", "say \\"hi\\"\\n") shell.setenv("PATH", "/other", false) shell.prepend_path("PATH", "/mine")
     shell.env_strip("^OLD_") if shell.options.mode == nil then shell.options.mode = { deep = { 1, 2 } } end
     local name, version = shell.getopt_with_version("mpi") shell.log(name .. " " .. version)`,
    { mpi: "openmpi@5" },
  );
  assert.deepEqual(report["environment"], { NEW: 'say "hi"\n', PATH: "/mine:/bin", OLD_ONE: false });
  assert.deepEqual(report["options"], { mpi: "openmpi@5", mode: { deep: [1, 2] } });
  assert.deepEqual(report["log"], [{ level: 5, message: "openmpi 5" }]);
  assert.equal(report["refusal"], false);
});

test("callbacks see their task; the last plugin of a name counts; later topics are warned of", { skip }, (t) => {
  const report = run(
    t,
    `local function tell(topic) shell.log(topic) end
     plugin.register { name = "p", handlers = { { topic = "*", fn = function() error("replaced") end } } }
     plugin.register { name = "p", handlers = { { topic = "shell.*", fn = tell } } }
     plugin.register { handlers = { { topic = "task.init", fn = function()
       task.setenv("HALF", tostring(task.info.rank * 0.5)) task.unsetenv("OLD_ONE") end } } }
     plugin.register { handlers = { { topic = "task.exit", fn = tell } } }`,
  );
  assert.deepEqual(messages(report), [
    "start-up files are over when tasks run: 'task.exit' is not called",
    "shell.init",
    "shell.post-init",
  ]);
  assert.deepEqual(report["tasks"], {
    0: { environment: { HALF: "0", OLD_ONE: false } },
    1: { environment: { HALF: "0.5", OLD_ONE: false } },
  });
});

test("mistakes name the file and the line, and the job is not run", { skip }, (t) => {
  const refusal = (text: string): string => String(run(t, text)["refusal"]);
  assert.match(refusal('error("boo")'), /^loading rc file .*rc\.lua: .*rc\.lua:1: boo$/);
  assert.match(refusal("x ="), /rc\.lua:1: unexpected symbol/);
  assert.match(refusal("return task.info"), /rc\.lua:1: attempt to access task outside of task context$/);
  assert.match(refusal('\nsource("/none")'), /rc\.lua:2: source \/none: No such file or directory$/);
  assert.match(refusal('plugin.load("none.so")'), /rc\.lua:1: plugin.load: none.so: File not found$/);
  assert.match(refusal('plugin.load("rc.*")'), /shared objects for flux-core's shell cannot be loaded here$/);
  assert.match(
    refusal("plugin.register{ handlers = { { topic = 'x' } } }"),
    /Missing or invalid 'fn' in handler entry$/,
  );
  assert.equal(refusal('shell.die("closed on Sundays")'), "closed on Sundays");
  assert.equal(refusal('source_if_exists("/none") source("/none/*.lua")'), "false");
});

test("what a file and its children print is no part of the report", { skip }, (t) => {
  const report = run(t, 'print("{}") io.write("x") os.execute("echo {}") shell.log(shell.rankinfo.taskids)');
  assert.deepEqual(messages(report), ["0-1"]);
});

test("any JSON is a Lua expression", () => {
  assert.equal(luaText({ 'a"b': [1, true, null, "x\ny\\"] }), '{["a\\034b"]={1,true,nil,"x\\010y\\092"}}');
});
