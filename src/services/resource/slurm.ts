/**
 * What Slurm granted to an instance that it started: the CPUs of each task, from its environment, and the end of the job,
 * which may be moved while it runs and is therefore asked for again.
 *
 * Does not know: affinity and cgroups. What those leave visible is given; the environment only narrows it.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { Ports, TimerHandle } from "../../base/ports.ts";

const PERIOD_MS = 60_000;
/** What Slurm tells is a number of whole seconds: smaller changes are none. */
const JITTER_SECONDS = 3;

type Environment = Readonly<Record<string, string>>;

/** The number at an index of a list such as `2(x3),1`. */
export function repeatedAt(list: string, index: number): number | null {
  let at = 0;
  for (const part of list.split(",")) {
    const match = /^(\d+)(?:\(x(\d+)\))?$/.exec(part);
    if (match === null) return null;
    at += Number(match[2] ?? 1);
    if (index < at) return Number(match[1]);
  }
  return null;
}

/**
 * The cores of a task, by index, of those that it can see with the CPUs (hardware threads) of each: tasks of one node
 * divide what the step has there. All of them where Slurm says nothing, or has bound the task already.
 */
export function coresOfTask(env: Environment, coreCpus: readonly (readonly number[])[]): number[] {
  const all = coreCpus.map((_, core) => core);
  const granted = Number(env["SLURM_CPUS_ON_NODE"]);
  if (!(granted > 0)) return all;
  const isTask = env["SLURM_STEP_NODELIST"] !== undefined;
  const tasks = isTask
    ? (repeatedAt(env["SLURM_STEP_TASKS_PER_NODE"] ?? "1", Number(env["SLURM_NODEID"] ?? 0)) ?? 1)
    : 1;
  const place = isTask ? Number(env["SLURM_LOCALID"] ?? 0) : 0;
  const share = Math.max(1, Math.floor(granted / tasks));
  const visible = coreCpus.reduce((sum, cpus) => sum + cpus.length, 0);
  if (visible <= share) return all;
  const chosen: number[] = [];
  let before = 0;
  for (const [core, cpus] of coreCpus.entries()) {
    if (before >= place * share && before < (place + 1) * share) chosen.push(core);
    before += cpus.length;
  }
  // Steps may be given more CPUs than there are: tasks share them then.
  return chosen.length > 0 ? chosen : [all[place % all.length]!];
}

/** Seconds of a time such as `1-02:03:04`, `02:03`; Infinity for UNLIMITED; null for what is no time. */
export function slurmSeconds(text: string): number | null {
  if (text === "UNLIMITED") return Infinity;
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text.trim());
  if (match === null) return null;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

export interface SlurmLimitOptions {
  readonly ports: Ports;
  /** The end of the job in seconds since the epoch, at first and when it has moved; 0 where there is none. */
  changed(expiration: number): void;
  /** Why it cannot be known; told once. */
  unknown(reason: string): void;
}

/** Follows the end of the Slurm job that this process is part of. */
export class SlurmLimit {
  readonly #options: SlurmLimitOptions;
  readonly #job: string | null;
  #expiration = 0;
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(options: SlurmLimitOptions) {
    this.#options = options;
    const job = options.ports.host.env["SLURM_JOB_ID"] ?? "";
    this.#job = /^\d+$/.test(job) ? job : null;
  }

  /** Does nothing outside of Slurm. */
  start(): void {
    if (this.#job !== null && !this.#isStopped) this.#ask(this.#job);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #ask(job: string): void {
    const { exec, host, clock } = this.#options.ports;
    let text = "";
    const again = (): void => {
      if (!this.#isStopped) this.#timer = clock.after(PERIOD_MS, () => this.#ask(job), { background: true });
    };
    try {
      exec.spawn(
        {
          argv: ["squeue", "--noheader", `--jobs=${job}`, "--format=%L"],
          env: host.env,
          cwd: "/",
          stdin: "null",
          stdout: "pipe",
          stderr: "null",
          diesWithParent: true,
        },
        {
          output: (stream, chunk) => {
            if (stream === "stdout" && chunk !== null) text += utf8Decode(chunk);
          },
          exit: () => {
            this.#take(slurmSeconds(text.trim()));
            again();
          },
        },
      );
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#options.unknown(error.message);
    }
  }

  /** What Slurm cannot tell just now may be told the next time. */
  #take(left: number | null): void {
    if (left === null || this.#isStopped) return;
    const expiration = left === Infinity ? 0 : this.#options.ports.clock.now() + left;
    if (Math.abs(expiration - this.#expiration) < JITTER_SECONDS) return;
    this.#expiration = expiration;
    this.#options.changed(expiration);
  }
}
