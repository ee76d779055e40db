/**
 * A guard outside a process: when the process dies, however it dies, the guard kills what it has started and what that
 * has started in turn, in whatever process groups. They are known by their environment: the URI of their broker, and a job
 * id where they belong to a job, or else the same URI as that of the broker which started them.
 *
 * Invariants: the guard is a process that only waits, so it costs nothing until the end. Once dismissed it kills nothing.
 * Programs that the broker did not start and that only talk to it (an editor in a terminal with FLUX_URI set) are left alone.
 */
import { isFluxError } from "../base/errors.ts";
import { SIGNALS } from "../base/signals.ts";
import type { ChildProcess, Exec } from "../base/ports.ts";

/** In the environment of what a broker starts, with the broker's own URI. */
export const GUARDED_VARIABLE = "FLUX_GUARDED_BY";

/**
 * Arguments: the URI, `jobs` or `programs`. Its standard input ends when the process that it guards has died. A process may
 * fork while it is being killed: hence the rounds.
 */
const SCRIPT = `
read -r _
round=0
while [ $round -lt 20 ]; do
  found=
  for file in $(grep -lszxF -- "FLUX_URI=$1" /proc/[0-9]*/environ); do
    of=
    if grep -qsz '^FLUX_JOB_ID=' "$file"; then of=jobs
    elif grep -qszxF -- "${GUARDED_VARIABLE}=$1" "$file"; then of=programs; fi
    [ $of = "$2" ] || continue
    pid=\${file#/proc/}
    kill -s KILL "\${pid%/environ}" 2>/dev/null && found=1
  done
  [ -n "$found" ] || exit 0
  round=$((round + 1))
  sleep 0.1
done`;

export class Guard {
  readonly #exec: Exec;
  readonly #of: "jobs" | "programs";
  #process: ChildProcess | null = null;

  /** `programs`: what a broker started, and belongs to no job; `jobs`: what belongs to a job. */
  constructor(exec: Exec, of: "jobs" | "programs") {
    this.#exec = exec;
    this.#of = of;
  }

  /** Starts the guard. On a machine without a shell there is none. */
  post(uri: string, path: string): void {
    if (this.#process !== null) return;
    try {
      this.#process = this.#exec.spawn(
        {
          argv: ["/bin/sh", "-c", SCRIPT, "flux-guard", uri, this.#of],
          // Its own environment must not match what it kills.
          env: { PATH: path },
          cwd: "/",
          stdin: "pipe",
          stdout: "null",
          stderr: "null",
          newProcessGroup: true,
        },
        { output: () => {}, exit: () => {} },
      );
    } catch (error) {
      if (!isFluxError(error)) throw error;
    }
  }

  /** The guarded process ends in order: nothing is to be killed. */
  dismiss(): void {
    this.#process?.kill(SIGNALS["SIGKILL"]!);
    this.#process = null;
  }
}
