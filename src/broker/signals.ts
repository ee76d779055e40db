/**
 * What a broker does with a signal: SIGINT, SIGTERM and the like end the instance, and its initial program is asked to go
 * first; SIGUSR1 and SIGUSR2 are for the jobs that run in it.
 *
 * An instance that is a job is signalled as the processes of any job are (`flux job kill`, `--signal`, a cancellation, a
 * time limit): its initial program, which has a process group of its own, gets the same signal.
 */
import { errorText } from "../base/errors.ts";
import { SIGNALS } from "../base/signals.ts";
import type { Handle } from "../sdk/handle.ts";
import { killAll } from "../sdk/jobs.ts";
import type { Attributes } from "./attributes.ts";
import type { Program } from "./programs.ts";

const ALL_USERS = -1;
/** How long the initial program has for what a job's signal asks of it, before it gets SIGHUP. */
const GRACE_MS = 1000;
/** How long it may take to end after SIGHUP, and again after SIGTERM, before SIGKILL. */
const PATIENCE_MS = 5000;

export function isForJobs(signum: number): boolean {
  return signum === SIGNALS["SIGUSR1"] || signum === SIGNALS["SIGUSR2"];
}

/** Whether the instance is a job of another one. */
export function isJob(attributes: Attributes): boolean {
  return attributes.get("parent-uri") !== null;
}

/** Signals all running jobs. */
export async function signalJobs(handle: Handle, signum: number, complain: (text: string) => void): Promise<void> {
  try {
    await killAll(handle, { userid: ALL_USERS, signum });
  } catch (error) {
    complain(`job-manager.killall: ${errorText(error)}`);
  }
}

/** Asks a program to end by a signal, then by harder ones; `after` calls back as long as the program runs. */
export function endProgram(
  program: Program,
  signum: number,
  after: (delayMs: number, callback: () => void) => void,
): void {
  let atMs = 0;
  if (signum !== SIGNALS["SIGHUP"]) {
    program.kill(signum);
    atMs = GRACE_MS;
  }
  for (const name of ["SIGHUP", "SIGTERM", "SIGKILL"]) {
    if (atMs === 0) program.kill(SIGNALS[name]!);
    else after(atMs, () => program.kill(SIGNALS[name]!));
    atMs += PATIENCE_MS;
  }
}
