import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { installRoot } from "./paths.ts";

/** A checkout with one tiny layer, the real addon's sources, and the packages of this checkout. */
const checkout = fs.mkdtempSync(join(tmpdir(), "flux-setup-"));
const at = (...parts: string[]): string => join(checkout, ...parts);
after(() => fs.rmSync(checkout, { recursive: true, force: true }));

fs.mkdirSync(at("tools"));
fs.mkdirSync(at("src/cli"), { recursive: true });
fs.copyFileSync(join(installRoot(), "tools/setup.mjs"), at("tools/setup.mjs"));
fs.cpSync(join(installRoot(), "native"), at("native"), { recursive: true });
fs.symlinkSync(join(installRoot(), "node_modules"), at("node_modules"));
fs.writeFileSync(at("package-lock.json"), JSON.stringify({ packages: { "": {} } }));
fs.writeFileSync(
  at("src/cli/tsconfig.json"),
  JSON.stringify({
    compilerOptions: { composite: true, module: "nodenext", types: [], rootDir: "..", outDir: "../../dist" },
    include: ["*.ts"],
  }),
);

async function setup(env: NodeJS.ProcessEnv = process.env): Promise<{ code: number; said: string }> {
  const child = spawn(process.execPath, [at("tools/setup.mjs")], { env, stdio: ["ignore", "inherit", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  return { code, said };
}

test("setup builds once, says so, and has nothing to do the next time", async () => {
  fs.writeFileSync(at("src/cli/main.ts"), "export const answer: number = 42;\n");
  const first = await setup();
  assert.equal(first.code, 0, first.said);
  assert.match(first.said, /compiling/);
  assert.match(fs.readFileSync(at("dist/cli/main.js"), "utf8"), /answer = 42/);
  const built = fs.statSync(at("dist/cli/main.js")).mtimeMs;
  const second = await setup();
  assert.deepEqual([second.code, second.said], [0, ""]);
  assert.equal(fs.statSync(at("dist/cli/main.js")).mtimeMs, built);
});

test("without a C compiler it says what is lost and goes on; with one the addon loads", async () => {
  const addon = at("dist/native/flux_native.node");
  const without = await setup({ ...process.env, PATH: "/nowhere" });
  assert.equal(without.code, 0);
  assert.match(without.said, /no C compiler.*start slower/);
  assert.equal(fs.existsSync(addon), false);
  const again = await setup();
  assert.equal(again.code, 0, again.said);
  if (fs.existsSync(addon)) assert.equal(typeof createRequire(import.meta.url)(addon).spawn, "function");
  else assert.match(again.said, /without the native addon/);
});

test("a changed source is compiled; an error in it fails with the compiler's words, also the next time", async () => {
  fs.writeFileSync(at("src/cli/main.ts"), 'export const answer: number = "many";\n');
  for (let round = 0; round < 2; round++) {
    const { code, said } = await setup();
    assert.equal(code, 1);
    assert.match(said, /compiling the sources failed/);
    assert.match(said, /main\.ts\(1,14\): error TS2322/);
  }
  fs.writeFileSync(at("src/cli/main.ts"), "export const answer: number = 43;\n");
  assert.equal((await setup()).code, 0);
  assert.match(fs.readFileSync(at("dist/cli/main.js"), "utf8"), /43/);
});

test("two at once do not collide, and the lock of a dead process does not block", async () => {
  fs.rmSync(at("dist"), { recursive: true });
  fs.mkdirSync(at("dist"));
  const gone = spawn("true");
  await once(gone, "close");
  fs.writeFileSync(at("dist/.setup-lock"), String(gone.pid));
  const results = await Promise.all([setup(), setup(), setup()]);
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 0, 0],
    results.map(({ said }) => said).join(""),
  );
  assert.equal(results.filter(({ said }) => said.includes("compiling")).length, 1, "one of them did the work");
  assert.deepEqual(
    fs.readdirSync(at("dist")).filter((name) => name.startsWith(".setup-lock")),
    [],
  );
});

test("another version of a package than the lock file names is not taken for up to date", async () => {
  const lock = { packages: { "": {}, "node_modules/no-such-package": { version: "1.0.0" } } };
  fs.writeFileSync(at("package-lock.json"), JSON.stringify(lock));
  const { code, said } = await setup({ ...process.env, PATH: "/nowhere" });
  assert.equal(code, 1);
  assert.match(said, /installing the packages failed \(npm install/);
});
