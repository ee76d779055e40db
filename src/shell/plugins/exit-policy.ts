/**
 * What the first task to exit means for the others: after `exit-timeout` they are too late, and with `exit-on-error` its
 * failure is the job's.
 */
import type { TimerHandle } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "../../base/signals.ts";
import type { PluginFactory } from "../plugin.ts";

const EXIT_TIMEOUT_SECONDS = 30;

export const exitPolicyPlugin: PluginFactory = (shell) => {
  const { options, tasks } = shell.plan;
  const seconds = options.seconds("exit-timeout", EXIT_TIMEOUT_SECONDS);
  let isFirst = true;
  let timer: TimerHandle | null = null;
  return {
    name: "exit-policy",
    exited(task, status) {
      if (!isFirst) return;
      isFirst = false;
      if (options.isOn("exit-on-error") && status !== 0)
        shell.exception(0, "exec", `task ${task.rank}: ${ending(status)} and exit-on-error is set`);
      else if (tasks.length > 1 && seconds < Infinity)
        timer = shell.clock.after(seconds * 1000, () =>
          shell.exception(
            0,
            "exec",
            `task ${task.rank} exited and exit-timeout=${String(options.value("exit-timeout") ?? "30s")} has expired`,
          ),
        );
    },
    finish: () => timer?.cancel(),
    stop: () => timer?.cancel(),
  };
};

function ending(status: number): string {
  const signum = signalOfStatus(status);
  return signum === 0 ? `exited with exit code ${exitCodeOfStatus(status)}` : signalSentence(signum);
}
