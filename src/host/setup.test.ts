import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { installRoot } from "./paths.ts";

/** A checkout with one tiny layer, the real addon's sources, and the packages of this checkout. */
const checkout = fs.mkdtempSync(join(tmpdir(), "flux-setup-"));
const at = (...parts: string[]): string => join(checkout, ...parts);
after(() => fs.rmSync(checkout, { recursive: true, force: true }));

fs.mkdirSync(at("src/cli"), { recursive: true });
fs.cpSync(join(installRoot(), "tools"), at("tools"), { recursive: true });
fs.cpSync(join(installRoot(), "bin"), at("bin"), { recursive: true, verbatimSymlinks: true });
fs.cpSync(join(installRoot(), "native"), at("native"), { recursive: true });
fs.symlinkSync(join(installRoot(), "node_modules"), at("node_modules"));
fs.writeFileSync(at("package-lock.json"), JSON.stringify({ packages: { "": {} } }));
fs.writeFileSync(at("package.json"), JSON.stringify({ type: "module" }));
fs.writeFileSync(at("src/cli/tsconfig.json"), tsconfig({ types: [] }));

function tsconfig(options: Record<string, unknown>): string {
  const folders = { rootDir: "..", outDir: "../../dist", tsBuildInfoFile: "../../dist/cli.tsbuildinfo" };
  const modules = { module: "nodenext", rewriteRelativeImportExtensions: true };
  return JSON.stringify({
    compilerOptions: { composite: true, ...folders, ...modules, ...options },
    include: ["**/*.ts"],
  });
}

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

/** A command line with two commands: one says which file runs it, the other is what training starts. */
function writeCommands(greeting: string): void {
  const command = `export const commands = { hello: { hello: "${greeting}", file: import.meta.url }, start: { hello: "", file: "" } };\n`;
  const files: Record<string, string> = {
    "main.ts": `import { commands } from "./commands/hello.ts";\nimport { runCommand } from "./framework/run.ts";\nawait runCommand(commands.hello);\n`,
    "registry.ts": `export const COMMANDS = { hello: { file: "hello" }, start: { file: "hello" }, later: { file: "later" } };\n`,
    "framework/run.ts": `export async function runCommand(c: { hello: string; file: string }) {\n  if (c.hello !== "") console.log(c.hello, c.file.split("/").slice(-2).join("/"));\n  return 0;\n}\n`,
    "framework/command-file.ts": `export const commandIn = (file: any, name: string) => file.commands[name];\n`,
    "commands/hello.ts": command,
  };
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(dirname(at("src/cli", name)), { recursive: true });
    fs.writeFileSync(at("src/cli", name), text);
  }
}

function flux(...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(at("bin/flux"), words, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return stdout;
}

test("flux runs a bundle while it is newer than what was compiled, and what was compiled else", async () => {
  fs.writeFileSync(at("src/cli/tsconfig.json"), tsconfig({ types: ["node"] }));
  writeCommands("one");
  const made = await setup();
  assert.deepEqual([made.code, /without bundles/.test(made.said)], [0, false], made.said);
  assert.equal(flux("hello"), "one bundle/hello.js\n");
  const compiler = [at("node_modules/typescript/bin/tsc"), "-b", at("src/cli")];
  writeCommands("two");
  assert.equal(spawnSync(process.execPath, compiler).status, 0);
  assert.equal(flux("hello"), "two commands/hello.js\n", "nobody has bundled what is new");
  assert.equal((await setup()).code, 0);
  assert.equal(flux("hello"), "two bundle/hello.js\n");
});

test("V8 takes the compiled code that lies beside a bundle", () => {
  const [, digest] = /^\/\/([0-9a-f]+)\n/.exec(fs.readFileSync(at("dist/bundle/hello.js"), "utf8"))!;
  // A training run complains where it is refused, and writes it anew.
  const env = { ...process.env, FLUX_BUNDLE_TRAINING: "1" };
  const trained = (): string => spawnSync(at("bin/flux"), ["hello"], { env, encoding: "utf8" }).stderr;
  assert.equal(trained(), "");
  fs.writeFileSync(at(`dist/bundle/hello.${digest}.cache`), "not what V8 has written");
  assert.match(trained(), /V8 does not take/);
  assert.equal(trained(), "");
  const kept = fs.readdirSync(at("dist/bundle")).sort();
  assert.deepEqual(kept, ["flux.cjs", `hello.${digest}.cache`, "hello.js"], "what came before is gone");
});

test("a command runs where compiled code is missing or broken", () => {
  const cache = fs.readdirSync(at("dist/bundle")).find((name) => name.endsWith(".cache"))!;
  fs.writeFileSync(at("dist/bundle", cache), "not what V8 has written");
  assert.equal(flux("hello"), "two bundle/hello.js\n");
  fs.rmSync(at("dist/bundle", cache));
  assert.equal(flux("hello"), "two bundle/hello.js\n");
});

test("flux finds its checkout from anywhere, through links to it or to a folder above it", () => {
  const links = fs.mkdtempSync(join(tmpdir(), "flux-links-"));
  try {
    fs.symlinkSync(at("bin/flux"), join(links, "flux"));
    fs.symlinkSync(at("bin"), join(links, "bin"));
    fs.symlinkSync(checkout, join(links, "checkout"));
    const said = (command: string, cwd: string): string => {
      const { stdout, stderr } = spawnSync("/bin/sh", ["-c", `${command} hello`], { cwd, encoding: "utf8" });
      return stdout + stderr;
    };
    const expected = "two bundle/hello.js\n";
    for (const name of ["flux", "bin/flux", "checkout/bin/flux"]) assert.equal(said(join(links, name), "/"), expected);
    for (const command of [
      "./bin/flux",
      "bin/flux",
      "sh bin/flux",
      "../$(basename $PWD)/bin/flux",
      "PATH=bin:$PATH flux",
    ])
      assert.equal(said(command, checkout), expected, command);
    assert.equal(said("sh flux", at("bin")), expected);
  } finally {
    fs.rmSync(links, { recursive: true });
  }
});

test("packages are installed without a home that can be written to", async () => {
  const lock = { packages: { "": {}, "node_modules/no-such-package": { version: "1.0.0" } } };
  fs.writeFileSync(at("package-lock.json"), JSON.stringify(lock));
  const programs = at("programs");
  fs.mkdirSync(programs);
  fs.writeFileSync(join(programs, "npm"), "#!/bin/sh\necho $@ >&2; exit 1\n", { mode: 0o755 });
  fs.writeFileSync(at("file"), "");
  for (const [home, cache] of [
    [at("file/home"), at("dist/npm-cache")],
    [at("home"), at("home/.npm")],
  ] as const) {
    const { said } = await setup({ HOME: home, PATH: `${programs}:/bin:/usr/bin` });
    assert.ok(said.includes(`--cache ${cache}`), said);
  }
});

test("another version of a package than the lock file names is not taken for up to date", async () => {
  const lock = { packages: { "": {}, "node_modules/no-such-package": { version: "1.0.0" } } };
  fs.writeFileSync(at("package-lock.json"), JSON.stringify(lock));
  const { code, said } = await setup({ ...process.env, PATH: "/nowhere" });
  assert.equal(code, 1);
  assert.match(said, /installing the packages failed \(npm install/);
});
