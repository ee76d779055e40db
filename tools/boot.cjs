// Starts one command of `flux` from its bundle: `bin/flux` runs this where the bundles are newer than the compiled
// files, else dist/cli/main.js. `tools/bundle.mjs` makes the bundles, and puts a copy of this file beside them.
//
// A bundle's first line names its content; what V8 has compiled of exactly that content lies beside it. Where V8 does not
// take it (other flags, another Node) it compiles anew: slower, never wrong.
"use strict";
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { pathToFileURL } = require("node:url");
const { Script } = require("node:vm");

/** By the word after `flux`, the bundle; filled in by bundle.mjs. */
const BUNDLES = {};
const DIGEST = { start: 2, end: 18 };

function start(name, words) {
  const file = `${__dirname}/${BUNDLES[name]}.js`;
  const source = readFileSync(file, "latin1");
  const cache = `${file.slice(0, -3)}.${source.slice(DIGEST.start, DIGEST.end)}.cache`;
  const script = new Script(source, { filename: file, cachedData: compiledIn(cache) });
  if (process.env.FLUX_BUNDLE_TRAINING !== undefined) train(script, cache);
  const module = { exports: {} };
  script.runInThisContext()(require, module, pathToFileURL(file).href);
  void module.exports.run(name, words).then((exitCode) => process.exit(exitCode));
}

function compiledIn(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** Keeps what this run compiles, for the runs to come. */
function train(script, cache) {
  const v8 = require("node:v8");
  if (script.cachedDataRejected === true) console.error(`V8 does not take ${cache}`);
  v8.setFlagsFromString("--no-flush-bytecode");
  process.on("exit", () => {
    // V8 takes compiled code only under the flags that it was compiled with.
    v8.setFlagsFromString("--flush-bytecode");
    const fresh = `${cache}.${process.pid}`;
    writeFileSync(fresh, script.createCachedData());
    renameSync(fresh, cache);
  });
}

/** Left to itself, Node opens its debugger. A command that does not listen to the signal is ended by it, as any program. */
function endByUser1() {
  if (process.listenerCount("SIGUSR1") > 1) return;
  process.off("SIGUSR1", endByUser1);
  process.kill(process.pid, "SIGUSR1");
}

process.on("SIGUSR1", endByUser1);
const [name, ...words] = process.argv.slice(2);
// A directory of programs that go before the installed commands is for main.js to look into.
const isReplaced = (process.env.FLUX_EXEC_PATH_PREPEND ?? "") !== "";
if (Object.hasOwn(BUNDLES, name) && !isReplaced) start(name, words);
else void import("../cli/main.js");
