/** Every command that is listed exists, describes itself, and gives help that shows all of its options. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { COMMANDS, HEADINGS } from "../registry.ts";
import type { Command } from "./command.ts";
import { editDistance, nearest, unknownCommandText } from "./external.ts";
import { frontPageText } from "./front-page.ts";
import { helpText, topicText, usageText } from "./help.ts";
import { loadCommand } from "./load.ts";
import { manualText } from "./manual.ts";
import type { CommandPath } from "./names.ts";
import { optionsOf } from "./parse.ts";

async function allPaths(): Promise<CommandPath[]> {
  const paths: CommandPath[] = [];
  const add = (path: CommandPath): void => {
    paths.push(path);
    for (const sub of path.at(-1)!.subcommands ?? []) add([...path, sub] as unknown as CommandPath);
  };
  for (const [name, entry] of Object.entries(COMMANDS)) {
    try {
      add([await loadCommand(name, entry)]);
    } catch (error) {
      test(`${name} has a file`, () => {
        throw error;
      });
    }
  }
  return paths;
}

const paths = await allPaths();

describe("every command", () => {
  for (const path of paths) {
    const command: Command = path.at(-1)!;
    const title = path.map(({ name }) => name).join(" ");
    test(title, async () => {
      assert.notEqual(command.summary, "", "has a summary");
      assert.ok(command.run !== undefined || command.subcommands !== undefined, "does something");
      const text = helpText(path);
      assert.match(text, /^[Uu]sage: flux/, "names itself");
      if (command.unparsed !== true)
        for (const option of optionsOf(command))
          if (option.hidden !== true && option.shortOnly !== true)
            assert.ok(text.includes(`--${option.names[0]}`), `shows --${option.names[0]}`);
      assert.ok(text.endsWith("\n"));
      assert.ok(usageText(path).length > 0);
      const manual = await manualText(path);
      assert.ok(manual.includes(text));
      for (const [topic, words] of Object.entries((await command.topics?.()) ?? {})) {
        const lines = topicText(words).trimEnd().split("\n");
        assert.ok(manual.includes(lines[0]!), `tells of ${topic}`);
        assert.ok(command.epilogue?.includes(topic), `the help names ${topic}`);
        assert.deepEqual(
          lines.filter((line) => line.length > 80),
          [],
          `${topic} fits a terminal`,
        );
      }
    });
    test(`${title}: no two options share a name`, () => {
      const options = optionsOf(command);
      const names = options.flatMap((option) => (option.shortOnly === true ? [] : [...option.names]));
      const letters = options.flatMap((option) => (option.short === undefined ? [] : [option.short]));
      assert.deepEqual([...new Set(names)], names);
      assert.deepEqual([...new Set(letters)], letters);
    });
  }
});

describe("the front page", () => {
  test("lists commands that exist", () => {
    for (const name of HEADINGS.flatMap(({ names }) => names))
      for (const each of name.split("/")) assert.ok(Object.hasOwn(COMMANDS, each), each);
    assert.match(frontPageText(), /^ {3}submit {13}submit a job to a Flux instance$/m);
  });
});

describe("an unknown command", () => {
  test("is told with the nearest ones", () => {
    assert.equal(
      unknownCommandText("submits", ["submit", "run", "jobs"]),
      "flux: `submits' is not a flux command.  See 'flux --help'\nflux: The most similar command is\nflux: \tsubmit\n",
    );
    assert.deepEqual(nearest("jbos", ["job", "jobs", "run"]), ["jobs"]);
    assert.deepEqual(nearest("frobnicate", ["run", "job"]), []);
  });
  test("neighbours that changed places are one step", () => assert.equal(editDistance("rnu", "run"), 1));
});
