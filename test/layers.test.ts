/**
 * The compiler guards the layers. Proof: a violation planted in a copy of the tree fails to compile, and the same copy
 * without it compiles.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
let copy = "";

before(() => {
  copy = mkdtempSync(join(tmpdir(), "flux-layers-"));
  for (const part of [
    "tsconfig.base.json",
    "src/base",
    "src/formats",
    "src/protocol",
    "src/sdk",
    "src/services/tsconfig.json",
  ])
    cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  cpSync(join(root, "package.json"), join(copy, "package.json"));
});
after(() => rmSync(copy, { recursive: true, force: true }));

function compile(layer: string): { status: number | null; output: string } {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const run = spawnSync(process.execPath, [tsc, "-b", `src/${layer}`], { cwd: copy, encoding: "utf8" });
  return { status: run.status, output: run.stdout + run.stderr };
}

function withPlanted<T>(path: string, text: string, body: () => T): T {
  writeFileSync(join(copy, path), text);
  try {
    return body();
  } finally {
    rmSync(join(copy, path));
  }
}

test("the tree as it is compiles", () => {
  const { status, output } = compile("sdk");
  assert.equal(status, 0, output);
});

const violations: [string, string, string, RegExp][] = [
  [
    "a lower layer imports a higher one",
    "src/formats/planted.ts",
    'import "../sdk/handle.ts";\nexport {};\n',
    /TS6307|TS6059/,
  ],
  ["a pure layer imports Node", "src/sdk/planted.ts", 'import "node:fs";\nexport {};\n', /TS2307|TS2591|TS2882/],
  ["a pure layer starts a timer", "src/base/planted.ts", "setTimeout(() => {}, 1);\nexport {};\n", /TS2304|TS2591/],
  [
    "a pure layer reads the process",
    "src/protocol/planted.ts",
    "export const pid: number = process.pid;\n",
    /TS2304|TS2591|TS2580/,
  ],
];
for (const [what, path, text, code] of violations)
  test(`refused: ${what}`, () => {
    const { status, output } = withPlanted(path, text, () => compile(path.split("/")[1]!));
    assert.notEqual(status, 0, "the planted violation compiled");
    assert.match(output, code);
  });
