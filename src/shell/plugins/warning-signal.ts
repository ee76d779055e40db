/** A signal to the tasks some time before the job's time limit (the shell option `signal`). */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { SIGNALS, signalName } from "../../base/signals.ts";
import { ShellLogLevel, type PluginFactory } from "../plugin.ts";

const TIMELEFT_SECONDS = 60;
const SIGNAL_MAX = 64;

export const warningSignalPlugin: PluginFactory = (shell) => {
  const { options, resources } = shell.plan;
  const choice = options.value("signal");
  if (!options.isOn("signal")) return null;
  const number = isJsonObject(choice) ? choice["signum"] : undefined;
  const signum = number ?? SIGNALS["SIGUSR1"]!;
  if (typeof signum !== "number" || !Number.isInteger(signum) || signum < 1 || signum > SIGNAL_MAX)
    throw new FluxError("EINVAL", `error in shell \`signal' option: signum=${String(number)} is no signal number`);
  const timeleft = isJsonObject(choice) ? options.seconds("signal.timeleft", TIMELEFT_SECONDS) : TIMELEFT_SECONDS;
  const send = (): void => {
    const left = Math.max(0, expires - shell.clock.now());
    if (shell.isLeader)
      shell.log(
        ShellLogLevel.notice,
        `job will expire in ${left.toFixed(1)}s, sending ${signalName(signum)} to job`,
        "signal",
      );
    shell.kill(signum);
  };
  let expires = 0;
  let timer: TimerHandle | null = null;
  const arm = (expiration: number): void => {
    timer?.cancel();
    timer = null;
    expires = expiration;
    const seconds = expiration - timeleft - shell.clock.now();
    if (expiration > 0 && seconds > 0) timer = shell.clock.after(seconds * 1000, send);
  };
  return {
    name: "signal",
    started: () => arm(resources.expiration),
    expiration: arm,
    finish: () => timer?.cancel(),
    stop: () => timer?.cancel(),
  };
};
