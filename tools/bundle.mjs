// Makes `dist/bundle/`: each command of `flux` as one file, with what V8 has compiled of it. A start-up then reads three
// files where it would find, read and compile some sixty to two hundred and fifty.
//
// `bin/flux` takes the bundles only while they are newer than everything that tsc has built: who compiles without
// bundling runs what was compiled. The time of the bundles is that at which their making *began*, so that nothing built
// meanwhile is missed.
//
// Runs after tsc, under the checkout's Node, with the flags that `bin/flux` gives it.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Script } from "node:vm";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const at = (...parts) => join(root, ...parts);
const folder = at("dist/bundle");
const work = join(folder, `.work-${process.pid}`);
/** These load other files, of commands or of users, that share code with them: they stay as they were compiled. */
const UNBUNDLED = ["help", "completion", "module-node-exec"];
/** What boot.cjs expects of the first line. */
const DIGEST_LENGTH = 16;
const NOT_ASCII = /[^\0-\x7f]+/g;
/** Coarser than the clock of any file system. */
const CLOCK_MS = 20;
const TRAINING_MS = 120_000;

async function main() {
  const began = waitForClock();
  const { COMMANDS } = await import(pathToFileURL(at("dist/cli/registry.js")).href);
  const fileOf = Object.fromEntries(
    Object.entries(COMMANDS)
      .filter(([name, { file }]) => !UNBUNDLED.includes(name) && fs.existsSync(at(`dist/cli/commands/${file}.js`)))
      .map(([name, { file }]) => [name, file]),
  );
  fs.mkdirSync(work, { recursive: true });
  try {
    const kept = [...bundle([...new Set(Object.values(fileOf))]).flatMap(keep), ...bundleThreads()];
    for (const name of fs.readdirSync(folder))
      if (/\.(js|cache)$/.test(name) && !kept.includes(name)) fs.rmSync(join(folder, name));
    writeBoot(fileOf, began);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  train();
  checkCompiledCode();
}

/** V8 refuses code that was compiled under other flags, and says nothing: then all of this was for nothing. */
function checkCompiledCode() {
  const refused = fs.readdirSync(folder).filter((file) => {
    const [, name] = /^(.*)\.[0-9a-f]+\.cache$/.exec(file) ?? [];
    if (name === undefined) return false;
    const source = fs.readFileSync(join(folder, `${name}.js`), "latin1");
    return new Script(source, { cachedData: fs.readFileSync(join(folder, file)) }).cachedDataRejected;
  });
  if (refused.length > 0)
    throw new Error(`V8 does not take what it has compiled (does something set flags of V8 at run time?): ${refused}`);
}

/** Waits until files written now are newer than all that was compiled. Returns the time for the bundles, in seconds. */
function waitForClock() {
  const built = fs.readdirSync(at("dist")).filter((name) => name.endsWith(".tsbuildinfo"));
  const last = Math.max(0, ...built.map((name) => fs.statSync(at("dist", name)).mtimeMs));
  while (Date.now() < last + 2 * CLOCK_MS) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, CLOCK_MS);
  return (Date.now() - CLOCK_MS) / 1000;
}

/** The text of the bundles of some files in `commands/`. */
function bundle(names) {
  const entries = names.map((name) => {
    const entry = join(work, `${name}.mjs`);
    fs.writeFileSync(
      entry,
      `import { commandIn } from "../../cli/framework/command-file.js";
import { runCommand } from "../../cli/framework/run.js";
import * as file from "../../cli/commands/${name}.js";
export const run = (name, words) => runCommand(commandIn(file, name), words);
`,
    );
    return entry;
  });
  const wrapping = ["--banner:js=(function (require, module, fileUrl) {", "--footer:js=})"];
  const inside = ["--format=cjs", "--supported:dynamic-import=false", "--define:import.meta.url=fileUrl"];
  runBundler([...wrapping, ...inside, ...entries]);
  return names.map((name) => ({ name, text: fs.readFileSync(join(work, `${name}.js`), "latin1") }));
}

/** Threads are modules that their starters look for beside themselves. Returns the names of the files. */
function bundleThreads() {
  const folder = at("dist/host");
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith("-worker.js")) : [];
  if (names.length > 0) runBundler(["--format=esm", ...names.map((name) => join(folder, name))]);
  for (const name of names) replace(name, fs.readFileSync(join(work, name)));
  return names;
}

function runBundler(args) {
  const paths = ["linux-x64", "linux-arm64"].map((name) => at("node_modules/@esbuild", name, "bin/esbuild"));
  const bundler = paths.find((path) => fs.existsSync(path));
  if (bundler === undefined) throw new Error("there is no esbuild for this platform");
  // Not made smaller: functions keep their names and lines, which is what a stack trace shows.
  run(bundler, ["--bundle", "--platform=node", "--log-level=warning", `--outdir=${work}`, ...args]);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, encoding: "utf8", ...options });
  if (result.error !== undefined || result.status !== 0)
    throw new Error(`${command} failed: ${result.error?.message ?? result.stdout + result.stderr}`);
}

/** Puts a bundle in its place, with what V8 compiles of it when it is loaded. Returns the names of the files. */
function keep({ name, text: bundled }) {
  // boot.cjs reads bytes as characters. The bundler has escaped all but what is in comments.
  const text = bundled.replace(/^ *(\/\*\*| \*|\/\/).*$/gm, (comment) => comment.replace(NOT_ASCII, "?"));
  if (NOT_ASCII.test(text)) throw new Error(`the bundle of ${name} is not ASCII`);
  const digest = createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH);
  const source = `//${digest}\n${text}`;
  const path = join(folder, `${name}.js`);
  const script = new Script(source, { filename: path });
  script.runInThisContext()(createRequire(path), { exports: {} }, pathToFileURL(path).href);
  const files = [
    [`${name}.js`, source],
    [`${name}.${digest}.cache`, script.createCachedData()],
  ];
  for (const [file, content] of files) replace(file, content);
  return files.map(([file]) => file);
}

/** A process that starts meanwhile finds the old file or the new one. */
function replace(name, content, time = null) {
  const fresh = join(work, `fresh-${name}`);
  fs.writeFileSync(fresh, content);
  if (time !== null) fs.utimesSync(fresh, time, time);
  fs.renameSync(fresh, join(folder, name));
}

function writeBoot(fileOf, began) {
  const text = fs.readFileSync(at("tools/boot.cjs"), "utf8");
  const filled = text.replace("const BUNDLES = {};", `const BUNDLES = ${JSON.stringify(fileOf)};`);
  if (filled === text) throw new Error("tools/boot.cjs has no place for the names of the bundles");
  replace("flux.cjs", filled, began);
}

/** Runs what users run most, so that V8 keeps what that compiles. Start-up is slower where it fails, not wrong. */
function train() {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(FLUX|PMI|SLURM)/.test(name)));
  const options = { env: { ...env, FLUX_BUNDLE_TRAINING: "1" }, timeout: TRAINING_MS };
  // A single broker is another bundle than one of several.
  run(at("bin/flux"), ["start", at("tools/training.sh"), "short"], options);
  run(at("bin/flux"), ["start", "-s2", at("tools/training.sh"), "long"], options);
}

await main();
