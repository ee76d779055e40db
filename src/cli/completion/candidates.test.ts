import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { command as cancel } from "../commands/cancel.ts";
import { command as job } from "../commands/job.ts";
import { command as jobs } from "../commands/jobs.ts";
import { command as kvs } from "../commands/kvs.ts";
import { command as submit } from "../commands/submit.ts";
import type { Command } from "../framework/command.ts";
import { completeCommand } from "./candidates.ts";

function words(command: Command, ...line: string[]): string[] {
  return completeCommand(command, line).candidates.map(({ word }) => word);
}
function source(command: Command, ...line: string[]): string {
  return completeCommand(command, line).source;
}

describe("what may come next follows from the command's description", () => {
  test("options, with = where they take an argument", () => {
    assert.deepEqual(words(submit, "--q"), ["--queue=", "--quiet"]);
    assert.deepEqual(words(cancel, "--a"), ["--all"]);
  });
  test("an option's words, also behind its =", () => {
    assert.deepEqual(words(jobs, "-f", "ca"), ["canceled"]);
    assert.deepEqual(words(jobs, "--filter=ca"), ["--filter=canceled"]);
    assert.deepEqual(words(submit, "--urgency=h"), ["--urgency=hold"]);
    assert.deepEqual(words(submit, "--dependency", "aftero"), ["afterok:"]);
    assert.deepEqual(words(job, "wait-event", "f1", "fi"), ["finish"]);
  });
  test("subcommands, then what belongs to one of them", () => {
    assert.deepEqual(words(job, "att"), ["attach"]);
    assert.ok(words(job, "attach", "--l").includes("--label-io"));
  });
  test("job ids, queues and programs, where they belong", () => {
    assert.equal(source(cancel, ""), "jobs");
    assert.equal(source(job, "kill", ""), "jobs");
    assert.equal(source(job, "attach", ""), "known-jobs");
    assert.equal(source(submit, "--queue="), "queues");
    assert.equal(source(submit, "-q", ""), "queues");
    assert.equal(source(submit, "-n4", "hostn"), "commands");
  });
  test("what an instance, the shell or a command itself knows", () => {
    assert.equal(source(kvs, "get", "a."), "keys");
    assert.equal(source(kvs, "get", "--namespace="), "namespaces");
    assert.equal(source(kvs, "get", "--count="), "none");
    assert.equal(source(submit, "--cwd="), "directories");
    assert.equal(source(submit, "--env", ""), "environment");
    assert.equal(source(jobs, "--format="), "formats");
    assert.equal(source(jobs, "--user="), "users");
  });
  test("the last of several, separated by commas", () => {
    assert.deepEqual(words(jobs, "--filter=failed,ca"), ["--filter=failed,canceled"]);
    assert.equal(completeCommand(jobs, ["--queue=batch,de"]).prefix, "--queue=batch,");
  });
  test("words that the name of an argument consists of", () =>
    assert.deepEqual(words(job, "id", "--to=d"), ["--to=dec", "--to=dothex"]));
  test("what follows a program is the program's", () => {
    assert.deepEqual(words(submit, "-n4", "app", "--q"), []);
    assert.equal(source(submit, "-n4", "app", "in"), "files");
    assert.deepEqual(words(submit, "--", "--q"), []);
  });
  test("an argument that is given in the same word is not waited for", () => {
    assert.equal(source(submit, "-n", "4", ""), "commands");
    assert.equal(source(submit, "-n4", ""), "commands");
    assert.equal(source(submit, "--output", ""), "files");
  });
});
