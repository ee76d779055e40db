/**
 * What a broker does on entering a state: start its services (rc1), run the initial program (rc2), clean up, stop its
 * services (rc3). Each ends with the event that leads on.
 */
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import type { Disk } from "../base/ports.ts";
import { EXIT_NOT_FOUND } from "../base/signals.ts";
import type { ModuleDefinition } from "../sdk/module.ts";
import type { Core } from "./core.ts";
import { loadCrontabs } from "./crontabs.ts";
import { reportFailures } from "./failures.ts";
import { postFinish, postStart } from "./start-log.ts";
import { reportMetrics } from "./metrics.ts";
import { builtinModule, type ModuleRegistry } from "./module-files.ts";
import type { PersonalityEntry } from "./personality.ts";
import { isRecovering, recoveryNotice } from "./recovery.ts";
import { isResumed, noteProgram, recallProgram, RESUMED_VARIABLE, runsAgain } from "./resume.ts";
import { comesAfterDump, comesAfterRestore, dumpSnapshot, restoreSnapshot, STORES } from "./snapshots.ts";
import { startProgram, type Program } from "./programs.ts";
import { hasSiteServices, startSiteServices, stopSiteServices } from "./site-services.ts";
import type { StateEvent } from "./state-machine.ts";

const LOG_ERR = 3;
const LOG_INFO = 6;
const ANY_EXECUTE = 0o111;
/** A service that does not stop by itself is left behind after this time. */
const STOP_TIMEOUT_MS = 30_000;
/** A script longer than this is not looked into before it is started, in bytes. */
const SCRIPT_BYTES_MAX: number = 1024 * 1024;

export interface RunLevelOptions {
  readonly core: Core;
  readonly registry: ModuleRegistry;
  readonly personality: readonly PersonalityEntry[];
  /** The initial program shares the broker's process group: a terminal's signals reach both. */
  readonly sharesGroup: boolean;
  readonly cwd: string;
  /** Whether the instance is still to run its program. */
  isRunning(): boolean;
  /** The program that runs now, to be signalled when the broker is to end. */
  running(program: Program | null): void;
  /** The script that the broker waits for. */
  script(program: Program | null): void;
  /** A script of the broker failed with this code. */
  failed(exitCode: number): void;
  stderr(text: string): void;
}

/** The entries of a personality that a rank loads; which backing store the content service gets is an attribute, and may be none. */
function entriesFor(options: RunLevelOptions): readonly PersonalityEntry[] {
  const { rank, attributes } = options.core.options;
  const backing = attributes.get("content.backing-module");
  // An instance that is made without stores has none; one that is asked for must be there.
  const wanted = attributes.isGiven("content.backing-module") ? backing : null;
  return options.personality
    .map((entry) => (entry.name === "content-sqlite" && backing !== null ? { ...entry, name: backing } : entry))
    .filter(({ name, where }) => (rank === 0 || where === "all") && (name in options.registry || name === wanted));
}

/** Starts fetching the code of the services, so that it is there when they are loaded. */
export function prefetchServices(options: RunLevelOptions): void {
  if (options.core.options.attributes.get("broker.rc1_path") !== null || hasSiteServices(options.core)) return;
  // A failure is told when the service is loaded.
  for (const { name } of entriesFor(options)) options.registry[name]?.().catch(() => undefined);
}

/** Runs a command line, or nothing where it is empty; logs its end under a name. Resolves with its exit code. */
async function runScript(options: RunLevelOptions, name: string, words: readonly string[]): Promise<number> {
  const { core, cwd, sharesGroup, running } = options;
  const { ports, environment, log, attributes } = core.options;
  const isInitialProgram = name === "rc2.0";
  const startedMs = ports.clock.monotonicMs();
  if (isInitialProgram) core.postGuard();
  const program = startProgram(ports.exec, {
    words,
    env: isInitialProgram && runsAgain(attributes) ? { ...environment, [RESUMED_VARIABLE]: "1" } : environment,
    cwd,
    isProgram: (path) => isProgram(ports.disk, path.startsWith("/") ? path : `${cwd}/${path}`),
    isScriptOfNobody: (path) => isScriptOfNobody(ports.disk, path.startsWith("/") ? path : `${cwd}/${path}`),
    ...(!isInitialProgram && {
      line: (stream: string, text: string) =>
        log.append("broker", stream === "stderr" ? LOG_ERR : LOG_INFO, `${name}: ${text}`),
    }),
    stdin: isInitialProgram ? "inherit" : "null",
    ownGroup: !isInitialProgram || !sharesGroup || attributes.get("broker.rc2_pgrp") !== null,
  });
  const tell = isInitialProgram ? running : options.script;
  tell(program);
  const { exitCode, text } = await program.ended;
  tell(null);
  const seconds = ((ports.clock.monotonicMs() - startedMs) / 1000).toFixed(1);
  const command = words.length === 0 ? (environment["SHELL"] ?? "/bin/sh") : words.join(" ");
  log.append("broker", exitCode === 0 ? LOG_INFO : LOG_ERR, `${name}: ${command} ${text} ${seconds}s`);
  return exitCode;
}

function isProgram(disk: Disk, path: string): boolean {
  const info = disk.info(path);
  return info?.kind === "file" && (info.mode & ANY_EXECUTE) !== 0;
}

/** Text that does not say (`#!`) what is to read it. */
function isScriptOfNobody(disk: Disk, path: string): boolean {
  const info = disk.info(path);
  if (info === null || info.sizeBytes > SCRIPT_BYTES_MAX) return false;
  const start = disk.readFile(path).subarray(0, 4);
  return !(start[0] === 0x23 && start[1] === 0x21) && start.every((byte) => byte >= 0x09 && byte < 0x7f);
}

/** Starts the services of this rank, or runs the user's rc1. While an instance is repaired it goes on with what there is. */
export async function runRc1(options: RunLevelOptions): Promise<StateEvent> {
  const isRepaired = isRecovering(options.core.options.attributes);
  const event = await startServices(isRepaired ? { ...options, failed: () => {} } : options);
  await reportMetrics(options.core);
  return isRepaired && event === "rc1-fail" ? "rc1-ignorefail" : event;
}

async function startServices(options: RunLevelOptions): Promise<StateEvent> {
  const { core, registry } = options;
  const path = core.options.attributes.get("broker.rc1_path");
  if (path === "") return "rc1-none";
  if (path !== null) return (await runScripts(options, "rc1", [path])) ? "rc1-success" : "rc1-fail";
  if (!hasShell(core)) {
    options.failed(EXIT_NOT_FOUND);
    core.options.log.append("broker", LOG_ERR, `rc1.0: the shell ${core.options.environment["SHELL"]} does not exist`);
    return "rc1-fail";
  }
  if (hasSiteServices(core)) {
    const exitCode = await startSiteServices(core, (words) => runScript(options, "rc1.0", words));
    if (exitCode !== 0) options.failed(exitCode);
    if (exitCode !== 0 || !(await addExtras(options))) return "rc1-fail";
    if (core.options.rank === 0) await postStart(core);
    return "rc1-success";
  }
  const startedMs = core.options.ports.clock.monotonicMs();
  let isComplete = true;
  for (const { name, args } of entriesFor(options)) {
    if (comesAfterRestore(name) && !(await restoredSnapshot(options))) return "rc1-fail";
    try {
      if (!(name in registry)) throw new FluxError("ENOENT", `no module ${name} provides content-backing`);
      const definition: ModuleDefinition = await builtinModule(registry, name);
      await core.loadModule(definition, args);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      core.options.log.append("broker", LOG_ERR, `rc1.0: load ${name}: ${error.message}`);
      // Nothing is written over what a store that does not open has.
      if (!isRecovering(core.options.attributes) || STORES.has(name)) return "rc1-fail";
      isComplete = false;
    }
  }
  if (!(await addExtras(options))) return "rc1-fail";
  logBuiltin(core, "rc1", startedMs, isComplete ? 0 : 1);
  if (core.options.rank === 0 && isComplete) await postStart(core);
  return isComplete ? "rc1-success" : "rc1-fail";
}

/** Everything that users have the instance run needs their shell: without it there is no point in starting. */
function hasShell(core: Core): boolean {
  const shell = core.options.environment["SHELL"];
  if (shell === undefined || !shell.startsWith("/")) return true;
  return core.options.ports.disk.info(shell) !== null;
}

/** What the broker did itself is told like a script's end. */
function logBuiltin(core: Core, level: "rc1" | "rc3", startedMs: number, exitCode: number): void {
  const seconds = ((core.options.ports.clock.monotonicMs() - startedMs) / 1000).toFixed(1);
  const severity = exitCode === 0 ? LOG_INFO : LOG_ERR;
  core.options.log.append("broker", severity, `${level}.0: flux modprobe ${level} Exited (rc=${exitCode}) ${seconds}s`);
}

async function restoredSnapshot(options: RunLevelOptions): Promise<boolean> {
  if (options.core.options.rank !== 0) return true;
  const exitCode = await restoreSnapshot(options.core, (words) => runScript(options, "rc1.0", words));
  if (exitCode !== 0) options.failed(exitCode);
  return exitCode === 0;
}

/** Runs scripts one after the other, up to the first that fails. Resolves with whether none did. */
async function runScripts(options: RunLevelOptions, level: string, paths: readonly string[]): Promise<boolean> {
  for (const [index, path] of paths.entries()) {
    const exitCode = await runScript(options, `${level}.${index}`, [path]);
    if (exitCode === 0) continue;
    options.failed(exitCode);
    return false;
  }
  return true;
}

/** What is done once the services run. Resolves with whether nothing went wrong. */
async function addExtras(options: RunLevelOptions): Promise<boolean> {
  const exitCode = await loadCrontabs(options.core, (words) => runScript(options, "rc1.0", words));
  if (exitCode === 0) return runScripts(options, "rc1", extraScripts(options.core, "rc1"));
  options.failed(exitCode);
  return false;
}

/** The programs in DIR/rc1.d (DIR/rc3.d) of each directory of FLUX_RC_EXTRA (flux-broker(1)). */
function extraScripts(core: Core, level: "rc1" | "rc3"): string[] {
  const { environment, ports } = core.options;
  const scripts: string[] = [];
  for (const directory of (environment["FLUX_RC_EXTRA"] ?? "").split(":")) {
    const path = `${directory}/${level}.d`;
    if (directory === "" || ports.disk.info(path)?.kind !== "directory") continue;
    scripts.push(...ports.disk.list(path).map((name) => `${path}/${name}`));
  }
  return scripts;
}

export async function runRc2(options: RunLevelOptions, words: readonly string[]): Promise<number> {
  const { attributes, log } = options.core.options;
  let program: { words: readonly string[]; cwd: string } = { words, cwd: options.cwd };
  try {
    if (words.length === 0 && isResumed(attributes)) program = (await recallProgram(options.core)) ?? program;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    log.append("broker", LOG_ERR, `rc2.0: ${error.message}`);
    return 1;
  }
  if (program.words.length === 0 && !options.sharesGroup) {
    const text = "rc2.0: stdin is not a tty: an interactive shell needs one; give an initial program";
    log.append("broker", LOG_ERR, text);
    return 1;
  }
  if (program.words.length === 0 && isRecovering(attributes)) options.stderr(recoveryNotice(attributes));
  // The instance may have been told to end while the program was looked up.
  if (!options.isRunning()) return 1;
  noteProgram(options.core, program.words, program.cwd);
  return runScript({ ...options, cwd: program.cwd }, "rc2.0", program.words);
}

/**
 * Ends what still runs in the instance: commands that users asked for, then the jobs. On the leader only. With `keepsJobs`
 * the jobs are not canceled: they end with the instance, and are started again where it goes on.
 */
export async function runCleanup(options: RunLevelOptions, keepsJobs: boolean): Promise<StateEvent> {
  const { core } = options;
  const commands = [...core.cleanupCommands];
  let failed = false;
  for (const [index, command] of commands.entries())
    if ((await runScript(options, `cleanup.${index}`, [command])) !== 0) failed = true;
  if (core.modules.find("job-manager") !== null) {
    await stopJobs(core, keepsJobs);
    options.failed(await reportFailures(core));
  } else if (commands.length === 0) return "cleanup-none";
  return failed ? "cleanup-fail" : "cleanup-success";
}

const STATE_RUN = 16;

/** Stops the queues, cancels what runs, waits until it has ended. */
async function stopJobs(core: Core, keepsJobs: boolean): Promise<void> {
  const steps: (readonly [string, object])[] = [
    ["job-manager.queue-start", { start: false, all: true, nocheckpoint: true }],
    ["resource.acquire-mute", {}],
  ];
  if (!keepsJobs)
    steps.push(
      // Epilogs of jobs that are canceled now would hold up the end; those under way go on.
      ["job-manager.jobtap", { remove: "perilog.so" }],
      [
        "job-manager.raiseall",
        { dry_run: false, userid: -1, states: STATE_RUN, severity: 0, type: "cancel", note: "the instance is ending" },
      ],
    );
  // Without the key-value store nothing is noted of a job any more, its end neither.
  const canEnd = core.modules.find("kvs") !== null;
  if (!keepsJobs && canEnd) steps.push(["job-manager.idle", {}]);
  if (!canEnd)
    core.options.log.append("broker", LOG_ERR, "cleanup: kvs is not loaded: running jobs are killed unnoted");
  for (const [topic, payload] of steps) {
    try {
      await core.handle.rpc(topic, payload);
    } catch (error) {
      const isNotThere = isFluxError(error, "ENOSYS", "ENOENT");
      if (!isNotThere) core.options.log.append("broker", LOG_ERR, `cleanup: ${topic}: ${errorText(error)}`);
    }
  }
}

/** Stops the services in the opposite order of their start, after the user's rc3 where there is one. */
export async function runRc3(options: RunLevelOptions): Promise<StateEvent> {
  const { core } = options;
  const path = core.options.attributes.get("broker.rc3_path");
  if (path === null && core.options.rank === 0) await postFinish(core);
  const scripts = path === null ? extraScripts(core, "rc3") : path === "" ? [] : [path];
  let failed = !(await runScripts(options, "rc3", scripts));
  if (path === null && hasSiteServices(core))
    failed = (await stopSiteServices((words) => runScript(options, "rc3.0", words))) !== 0 || failed;
  const startedMs = core.options.ports.clock.monotonicMs();
  let isDumped = path !== null || core.options.rank !== 0;
  for (const name of core.serviceModules.toReversed()) {
    if (!isDumped && comesAfterDump(name)) {
      isDumped = true;
      if (!(await dumpSnapshot(core, (words) => runScript(options, "rc3.0", words)))) failed = true;
    }
    if (path !== null && core.userModules.has(name)) {
      // A user's own rc3 must unload what the user has loaded.
      failed = true;
      core.options.log.append("broker", LOG_ERR, `broker module '${name}' was not properly shut down`);
    }
    const error = await stopWithin(core, name);
    if (error === null) continue;
    failed = true;
    core.options.log.append("broker", LOG_ERR, `rc3.0: remove ${name}: ${error}`);
  }
  if (path === null) logBuiltin(core, "rc3", startedMs, failed ? 1 : 0);
  if (failed) return "rc3-fail";
  return path === "" ? "rc3-none" : "rc3-success";
}

async function stopWithin(core: Core, name: string): Promise<string | null> {
  const { clock } = core.options.ports;
  return new Promise((resolve) => {
    const timer = clock.after(STOP_TIMEOUT_MS, () => resolve(`not stopped within ${STOP_TIMEOUT_MS / 1000}s`));
    core
      .removeModule(name)
      .then(
        () => resolve(null),
        (error: unknown) => resolve(errorText(error)),
      )
      .finally(() => timer.cancel());
  });
}
