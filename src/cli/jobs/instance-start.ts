/**
 * Waits until a new instance takes jobs: what `flux alloc --bg` does. Says on the way what the job waits for, where that
 * is wanted, and in the end why it came to nothing.
 */
import { errorText, isFluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { CommandContext } from "../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob } from "./attach.ts";
import { jobIdText, watchEventlog } from "./client.ts";
import { JobOutcome } from "./outcome.ts";

/** What is said of the job after an event. */
const STAGES: Readonly<Record<string, string>> = {
  submit: "waiting for resources",
  alloc: "resources allocated",
  start: "waiting for instance",
};

interface Progress {
  readonly outcome: JobOutcome;
  /** Time of submission, in seconds. */
  submitted: number;
  /** Where the instance is; null where it ended before it said so. */
  uri: string | null;
}

/** Resolves with the command's exit code, when the instance takes jobs or is over. Throws FluxError. */
export async function awaitInstance(
  context: CommandContext,
  handle: Handle,
  id: Integer,
  isVerbose: boolean,
): Promise<number> {
  const name = jobIdText(id);
  const say = (text: string): void => context.err(`${name}: ${text}\n`);
  let interrupts = 0;
  const { cancel } = context.onSignal("SIGINT", () => {
    if (++interrupts > 1) return process.exit(1);
    say("Interrupt: canceling job");
    const payload = { id, type: "cancel", severity: 0, note: "interrupted by ctrl-C" };
    handle.rpc("job-manager.raise", payload).catch((error: unknown) => say(errorText(error)));
  });
  const progress: Progress = { outcome: new JobOutcome(), submitted: 0, uri: null };
  const announce = (text: string, since: number): void => {
    if (isVerbose) say(`${Math.max(0, since).toFixed(3).padStart(6)}s: ${text}`);
  };
  try {
    await untilAnnounced(context, handle, id, progress, announce);
    if (progress.uri === null) return await failed(context, handle, id, progress.outcome);
    if (!(await takesJobs(context, progress.uri)) && (await finalStatus(handle, id)) !== 0)
      return await failed(context, handle, id, progress.outcome);
    announce("ready", Date.now() / 1000 - progress.submitted);
    context.out(`${name}\n`);
    return 0;
  } finally {
    cancel();
  }
}

/** Follows the job's events until the memo with the URI, or the end. */
function untilAnnounced(
  context: CommandContext,
  handle: Handle,
  id: Integer,
  progress: Progress,
  announce: (text: string, since: number) => void,
): Promise<void> {
  const { outcome } = progress;
  return new Promise((resolve, reject) => {
    const stream = watchEventlog(handle, id, "eventlog", {
      event: (event) => {
        outcome.apply(event);
        if (event.name === "submit") progress.submitted = event.timestamp;
        const since = event.timestamp - progress.submitted;
        const stage = STAGES[event.name];
        if (stage !== undefined) announce(stage, since);
        if (event.name === "exception") {
          const { type, severity, note } = event.context ?? {};
          const about = `type=${String(type)} severity=${String(severity)} ${String(note ?? "")}`;
          context.err(`${since.toFixed(3)}s: job.exception ${jobIdText(id)} ${about}\n`);
        }
        const uri = event.name === "memo" ? event.context?.["uri"] : undefined;
        if (typeof uri !== "string") return;
        progress.uri = uri;
        stream.cancel();
        resolve();
      },
      end: (error) => (error === null ? resolve() : reject(error)),
    });
  });
}

/** False where the instance is ending already, or cannot be asked. */
async function takesJobs(context: CommandContext, uri: string): Promise<boolean> {
  try {
    const child = await context.open(uri);
    await child.rpc("state-machine.wait");
    return true;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    return false;
  }
}

/** The wait status of the job when it is over. */
function finalStatus(handle: Handle, id: Integer): Promise<number | null> {
  const outcome = new JobOutcome();
  return new Promise((resolve, reject) =>
    watchEventlog(handle, id, "eventlog", {
      event: (event) => outcome.apply(event),
      end: (error) => (error === null ? resolve(outcome.waitStatus) : reject(error)),
    }),
  );
}

/** What the brokers had to say is the best reason there is. */
async function failed(context: CommandContext, handle: Handle, id: Integer, outcome: JobOutcome): Promise<number> {
  if (outcome.started) await attachJob(context, handle, id, { ...ATTACH_DEFAULTS, readOnly: true, quiet: true });
  const canceled = outcome.exception !== null;
  context.complain(
    `${jobIdText(id)}: ${outcome.started && !canceled ? "instance startup failed" : "unexpectedly exited"}`,
  );
  return 1;
}
