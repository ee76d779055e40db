/** Start-up files of job shells in Lua: what they may say, and what comes of it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import { installRoot } from "../../host/paths.ts";
import { luaText } from "./lua-file.ts";

const skip: string | false = spawnSync("lua", ["-v"]).error === undefined ? false : "lua is not installed";

const PRELUDE: string = join(installRoot(), "libexec", "shell-initrc.lua");

/** What a file answers to the facts of a job of two tasks on one node, and to what happens then. */
function answers(t: TestContext, text: string, options: JsonObject, happenings: readonly JsonObject[]): JsonObject[] {
  const directory = fs.mkdtempSync(join(tmpdir(), "lua-initrc-"));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const path = join(directory, "rc.lua");
  fs.writeFileSync(path, text);
  const facts: JsonObject = {
    info: { jobid: 7, rank: 0, size: 1, ntasks: 2, options, jobspec: {}, R: {}, service: "1-shell-f7" },
    environment: { PATH: "/bin", OLD_ONE: "x" },
    ranks: [{ id: 0, name: "n0", broker_rank: 0, ntasks: 2, taskids: "0-1", resources: { ncores: 2, cores: "0-1" } }],
    tasks: [
      { rank: 0, localid: 0, state: "Init" },
      { rank: 1, localid: 1, state: "Init" },
    ],
    searchpath: directory,
  };
  const input = [facts, ...happenings].map((each) => `${luaText(each)}\n`).join("");
  const { stdout } = spawnSync("lua", [PRELUDE, path, "MARK"], { input, encoding: "utf8" });
  const lines = stdout.split("\n").filter((line) => line.startsWith("MARK"));
  return lines.map((line) => parseJson(line.slice(4))).filter(isJsonObject);
}

/** Its report alone. */
function run(t: TestContext, text: string, options: JsonObject = {}): JsonObject {
  return answers(t, text, options, [])[0]!;
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

test("callbacks see their task; the last plugin of a name counts", { skip }, (t) => {
  const report = run(
    t,
    `local function tell(topic) shell.log(topic) end
     plugin.register { name = "p", handlers = { { topic = "*", fn = function() error("replaced") end } } }
     plugin.register { name = "p", handlers = { { topic = "shell.*", fn = tell } } }
     plugin.register { handlers = { { topic = "task.init", fn = function()
       task.setenv("HALF", tostring(task.info.rank * 0.5)) task.unsetenv("OLD_ONE") end } } }
     plugin.register { handlers = { { topic = "task.e*", fn = function() error("heard by nobody") end } } }`,
  );
  assert.deepEqual(messages(report), ["shell.init", "shell.post-init"]);
  assert.deepEqual(report["tasks"], {
    0: { environment: { HALF: "0", OLD_ONE: false } },
    1: { environment: { HALF: "0.5", OLD_ONE: false } },
  });
  const wanted = ["shell.start", "shell.tasks-complete", "shell.finish", "shell.exit", "task.exit"];
  assert.deepEqual(Object.keys(report["topics"] as object).toSorted(), wanted.toSorted());
});

test("what happens later is answered in order: messages, failures, the wish to end", { skip }, (t) => {
  const text = `plugin.register { name = "p", handlers = {
     { topic = "task.*", fn = function(topic) shell.log(topic .. " " .. tostring(task.info.pid)) end },
     { topic = "shell.start", fn = function() return task.info end },
     { topic = "shell.finish", fn = function() return false end },
     { topic = "shell.exit", fn = function() shell.die("enough") end } } }`;
  const task = { rank: 0, localid: 0, pid: 42, state: "Running" };
  const topics = ["shell.start", "shell.finish", "shell.exit"].map((topic) => ({ topic }));
  const [, ...later] = answers(t, text, {}, [{ topic: "task.fork", task }, ...topics]);
  assert.deepEqual(
    later.map((each) => [messages(each).at(-1), each["failed"], each["refusal"]]),
    [
      ["task.fork 42", false, false],
      ["plugin 'p': shell.start failed", true, false],
      ["plugin 'p': shell.finish failed", true, false],
      [undefined, false, "enough"],
    ],
  );
  assert.match(String(messages(later[1]!)[0]), /^lua plugin p: .*rc\.lua:3: attempt to access task outside of task/);
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
  const report = run(t, 'print("{}") io.write("x") os.execute("printf {}") shell.log(shell.rankinfo.taskids)');
  assert.deepEqual(messages(report), ["0-1"]);
});

test("any JSON is a Lua expression", () => {
  assert.equal(luaText({ 'a"b': [1, true, null, "x\ny\\"] }), '{["a\\034b"]={1,true,nil,"x\\010y\\092"}}');
});
