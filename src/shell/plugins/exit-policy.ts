/**
 * What the first task to exit means for the others: `exit-timeout` later the job is ended, counted from when all have been
 * started, and with `exit-on-error` its failure is the job's. If a job has several nodes, the execution service looks after
 * the timeout: it knows which task of all was the first.
 */
import { FluxError } from "../../base/errors.ts";
import type { TimerHandle, WaitStatus } from "../../base/ports.ts";
import { endingText } from "../../base/signals.ts";
import { formatDuration } from "../../formats/duration.ts";
import type { TaskPlan } from "../plan.ts";
import type { PluginFactory } from "../plugin.ts";

const EXIT_TIMEOUT_SECONDS = 30;

export const exitPolicyPlugin: PluginFactory = (shell) => {
  const { options, tasks, brokerRanks } = shell.plan;
  const seconds = options.seconds("exit-timeout", EXIT_TIMEOUT_SECONDS);
  if (seconds === null) throw new FluxError("EINVAL", "exit-timeout is not a valid Flux Standard Duration");
  const about = (task: TaskPlan): string =>
    `${shell.plan.command[0] ?? ""}: task rank ${task.rank} on host ${shell.plan.host}`;
  const fail = (note: string, status: number): void => shell.die(note, "task-exit", status);
  const isAlone = brokerRanks.length === 1;
  let first: { readonly task: TaskPlan; readonly status: WaitStatus } | null = null;
  let hasStarted = false;
  let timer: TimerHandle | null = null;
  const limit = (task: TaskPlan, status: WaitStatus): void => {
    if (!isAlone || tasks.length === 1 || seconds === Infinity) return;
    const note = `${about(task)} exited (${endingText(status)}) and exit-timeout=${formatDuration(seconds)} has expired`;
    timer = shell.clock.after(seconds * 1000, () => fail(note, status));
  };
  return {
    started() {
      hasStarted = true;
      if (first !== null) limit(first.task, first.status);
    },
    exited(task, status) {
      if (first !== null) return;
      first = { task, status };
      if (options.isOn("exit-on-error") && status !== 0 && !shell.isTerminating)
        fail(`${about(task)} failed (${endingText(status)}) and exit-on-error is set`, status);
      else if (hasStarted) limit(task, status);
    },
    finish: () => timer?.cancel(),
    stop: () => timer?.cancel(),
  };
};
