/** Runs every script of this folder: each is one test, in an instance of its own. */
import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { formatScript, matches, parseScript, root, Session, TIMED_OUT } from "./runner.ts";

const folder = join(root, "test", "scripts");
const only = process.env["SCRIPT"];
const names = globSync("*.txt", { cwd: folder })
  .toSorted()
  .filter((name) => only === undefined || name.includes(only));
assert.ok(names.length > 0, "no scripts found");

for (const name of names)
  test(`script ${name}`, { timeout: 180_000 }, async () => {
    const path = join(folder, name);
    const text = readFileSync(path, "utf8");
    const script = parseScript(text);
    assert.ok(script.steps.length > 0, "a script without a command");
    const session = new Session(script.options);
    const results: string[][] = [];
    const faults: string[] = [];
    for (const step of script.steps) {
      const actual = await session.run(step.command.join("\n"));
      const isRight = matches(step.expected, actual);
      results.push(isRight ? step.expected : actual);
      if (!isRight)
        faults.push(
          `$ ${step.command.join("\n> ")}\n--- expected\n${step.expected.join("\n")}\n--- printed\n${actual.join("\n")}`,
        );
      if (actual.at(-1) === TIMED_OUT) break;
    }
    const code = await session.end();
    if (process.env["UPDATE"] === "1") writeFileSync(path, formatScript(script, results));
    else assert.equal(faults.join("\n\n"), "");
    assert.equal(code, 0, "the instance ended with an error");
  });
