/**
 * `flux slurm-expiration-sync`: follows the end of the Slurm job that an instance runs in, which may be moved while it runs.
 * rc1 of an instance in Slurm starts it in the background; it asks `squeue` now and then and tells the resource module.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import type { Ports } from "../../base/ports.ts";
import { formatFsd } from "../../formats/duration.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const PERIOD_SECONDS = 60;
/** Slurm tells whole seconds of what is left, and it takes time to ask: smaller changes are none. */
const JITTER_SECONDS = 5;
/** A controller that restarts is none the worse for it; one that does not come back is given up. */
const FAILURES_MAX = 3;

export const command: Command = defineCommand({
  name: "slurm-expiration-sync",
  program: "slurm-expiration-sync",
  usageProgram: "flux-slurm-expiration-sync.py",
  dialect: "argparse",
  summary: "keep the end of this instance that of its Slurm job",
  description:
    "Asks Slurm now and then how much time the enclosing job has left, and tells the resource module when its end " +
    "has moved: so the jobs of this instance know how long they may run.",
  options: [
    {
      names: ["poll-interval"],
      argument: "SECONDS",
      help: `ask every SECONDS (default: ${PERIOD_SECONDS})`,
    },
    { names: ["jobid"], short: "j", argument: "JOBID", help: "the Slurm job to follow" },
    { names: ["verbose"], short: "v", help: "say what is asked and answered" },
  ],
  run: async (context) => {
    const interval = context.options.text("poll-interval") ?? `${PERIOD_SECONDS}`;
    const seconds = Number(interval);
    if (interval.trim() === "" || Number.isNaN(seconds))
      context.failUsage(`argument --poll-interval: invalid float value: '${interval}'`);
    if (!(seconds > 0)) context.fail("argument --poll-interval: must be greater than 0");
    const job = context.options.text("jobid") ?? "";
    if (!/^\d+$/.test(job)) context.fail("Invalid or missing --jobid");
    return follow(context, job, seconds);
  },
});

async function follow(context: CommandContext, job: string, periodSeconds: number): Promise<never> {
  const handle = await context.open();
  const { clock, exec, host } = await context.ports();
  const isVerbose = context.options.has("verbose");
  const debug = (text: string): void => {
    if (isVerbose) context.err(`${context.program}: DEBUG: ${text}\n`);
  };
  let known = 0;
  // The first time it has to succeed.
  let failures = FAILURES_MAX - 1;
  let wake = (): void => {};
  handle.onClose(() => wake());
  while (!handle.isClosed) {
    try {
      const left = await timeLeft(exec, host.env, job);
      failures = 0;
      const expiration = left === Infinity ? 0 : clock.now() + left;
      if (Math.abs(expiration - known) >= JITTER_SECONDS) {
        const remaining = left === Infinity ? "unlimited" : formatFsd(left);
        debug(`Slurm timeleft changed: ${remaining} remaining, expiration=${expiration.toFixed(3)}`);
        await handle.rpc("resource.expiration-update", { expiration }, { nodeid: 0 });
        debug(`expiration updated to ${expiration.toFixed(3)}`);
        known = expiration;
      }
    } catch (error) {
      if (++failures >= FAILURES_MAX) context.fail(errorText(error));
      debug(errorText(error));
    }
    await new Promise<void>((resolve) => {
      wake = resolve;
      clock.after(periodSeconds * 1000, resolve, { background: true });
    });
  }
  return context.fail("lost the connection to Flux");
}

/** Seconds until the end of a Slurm job; Infinity where it has none. */
function timeLeft(exec: Ports["exec"], env: Readonly<Record<string, string>>, job: string): Promise<number> {
  const texts = { stdout: "", stderr: "" };
  return new Promise((resolve, reject) => {
    exec.spawn(
      {
        argv: ["squeue", "--noheader", `--job=${job}`, "-o", "%L"],
        env,
        cwd: "/",
        stdin: "null",
        stdout: "pipe",
        stderr: "pipe",
        diesWithParent: true,
      },
      {
        output: (stream, chunk) => {
          if (stream in texts && chunk !== null) texts[stream as keyof typeof texts] += utf8Decode(chunk);
        },
        exit: (status) => {
          const text = texts.stdout.trim();
          if (status !== 0) reject(new FluxError("EINVAL", `squeue failed: ${texts.stderr.trim()}`));
          else resolve(slurmSeconds(text) ?? Infinity);
        },
      },
    );
  });
}

/** Seconds of a time that Slurm prints, such as `1-02:03:04`, `02:03`; null for a word: UNLIMITED, NOT_SET … */
export function slurmSeconds(text: string): number | null {
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text);
  if (match === null) return null;
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = match.slice(1).map((part) => Number(part ?? 0));
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}
