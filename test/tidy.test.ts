/**
 * House rules that neither the compiler nor the linter can state, as a test of the source text. Each rule names its
 * remedy; the last tests prove that every rule catches what it is for.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const FILE_LINES_MAX = 450;
const FUNCTION_LINES_MAX = 75;
const LINE_CHARACTERS_MAX = 200;
const NODE_LAYERS = ["host", "testkit", "cli"];

interface Source {
  readonly path: string;
  readonly text: string;
}

function layerOf(path: string): string {
  return path.split("/")[1] ?? "";
}

/** What is wrong with a source file, one sentence per fault. */
function faultsOf({ path, text }: Source): string[] {
  const faults: string[] = [];
  const lines = text.split("\n");
  const isTest = /\.(test|fixture)\.ts$/.test(path);
  const isPure = !NODE_LAYERS.includes(layerOf(path));
  if (!isTest && !text.startsWith("/**")) faults.push("no header: begin with what the module is and its invariants");
  if (lines.length > FILE_LINES_MAX) faults.push(`${lines.length} lines: split it where its story changes`);
  lines.forEach((line, index) => {
    const fault = faultOfLine(line, isTest, isPure);
    if (fault !== null) faults.push(`line ${index + 1}: ${fault}`);
  });
  if (!isTest) faults.push(...longFunctions(lines));
  return faults;
}

function faultOfLine(line: string, isTest: boolean, isPure: boolean): string | null {
  if (line.length > LINE_CHARACTERS_MAX) return "line too long";
  if (/\b(TODO|FIXME|XXX|HACK)\b/.test(line)) return "unfinished by its own words";
  if (/catch\s*(\([^)]*\))?\s*\{\s*\}/.test(line)) return "a swallowed error: handle it, or say why not";
  if (isTest) return null;
  if (isPure && /from "node:|import\("node:/.test(line)) return "a pure layer imports Node: take a port";
  if (isPure && /\b(Date\.now|Math\.random|setTimeout|setInterval|setImmediate)\b/.test(line))
    return "a pure layer reads the clock or the dice: take a port";
  return null;
}

/** A function is judged by its indentation: from its first line to the next closing brace in the same column. */
function longFunctions(lines: readonly string[]): string[] {
  const faults: string[] = [];
  lines.forEach((line, start) => {
    const opening = /^( *)(?:export )?(?:async )?(?:function\*? \w+|#?\w+\(.*\).*) ?.*\{$/.exec(line);
    if (opening === null || /^\s*(?:if|for|while|switch|return|class|\}|else|test|describe)\b/.test(line)) return;
    const end = lines.findIndex((other, at) => at > start && other.startsWith(`${opening[1]}}`));
    if (end - start > FUNCTION_LINES_MAX)
      faults.push(`line ${start + 1}: a function of ${end - start} lines: take parts out`);
  });
  return faults;
}

test("every source file keeps the house rules", () => {
  const paths = globSync("src/**/*.ts", { cwd: root }).filter((path) => !path.endsWith(".d.ts"));
  assert.ok(paths.length > 50, `only ${paths.length} files found: the test is looking in the wrong place`);
  const faults = paths.flatMap((path) =>
    faultsOf({ path, text: readFileSync(join(root, path), "utf8") }).map((fault) => `${path}: ${fault}`),
  );
  assert.deepEqual(faults, []);
});

test("each rule catches what it is for", () => {
  const header = "/** A module. */\n";
  const cases: [string, string, RegExp][] = [
    ["src/base/x.ts", "export const x = 1;\n", /no header/],
    ["src/base/x.ts", `${header}// TO${"DO"}: later\n`, /unfinished/],
    ["src/sdk/x.ts", `${header}try { f(); } catch (error) {}\n`, /swallowed/],
    ["src/services/x.ts", `${header}import fs from "node:fs";\n`, /imports Node/],
    ["src/broker/x.ts", `${header}const now = Date.now();\n`, /clock/],
    ["src/base/x.ts", header + "\n".repeat(FILE_LINES_MAX), /split it/],
    [
      "src/base/x.ts",
      `${header}function f(): void {\n${"  g();\n".repeat(FUNCTION_LINES_MAX + 1)}}\n`,
      /take parts out/,
    ],
  ];
  const methodOfObject = `const x = {\n  async start(context) {\n    g();\n  },\n};\n${"g();\n".repeat(FUNCTION_LINES_MAX)}`;
  assert.deepEqual(faultsOf({ path: "src/base/x.ts", text: header + methodOfObject }), []);
  for (const [path, text, expected] of cases) assert.match(faultsOf({ path, text }).join("\n"), expected, text);
  assert.deepEqual(faultsOf({ path: "src/host/x.ts", text: `${header}import fs from "node:fs";\n` }), []);
});

test("documentation and sources carry no path of a particular machine", () => {
  const paths = globSync(["src/**/*.ts", "test/**/*", "docs/**/*.md", "*.md", "bin/*", "tools/*", "examples/**/*"], {
    cwd: root,
  }).filter(
    (path) => /\.(ts|md|mjs|sh|txt|toml)$|^bin/.test(path) && path !== relative(root, fileURLToPath(import.meta.url)),
  );
  const found = paths.filter((path) =>
    /\/work\/(?:main|shared)\b|\/opt\/flux-/.test(readFileSync(join(root, path), "utf8")),
  );
  assert.deepEqual(found, []);
});
