/** A signal to the tasks some time before the job's time limit (the shell option `signal`). */
import { isJsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import type { PluginFactory } from "../plugin.ts";

const TIMELEFT_SECONDS = 60;

export const warningSignalPlugin: PluginFactory = (shell) => {
  const { options, resources } = shell.plan;
  const choice = options.value("signal");
  if (!options.isOn("signal")) return null;
  const number = isJsonObject(choice) ? choice["signum"] : undefined;
  const signum = typeof number === "number" ? number : SIGNALS["SIGUSR1"]!;
  const timeleft = isJsonObject(choice) ? options.seconds("signal.timeleft", TIMELEFT_SECONDS) : TIMELEFT_SECONDS;
  let timer: TimerHandle | null = null;
  const arm = (expiration: number): void => {
    timer?.cancel();
    timer = null;
    const seconds = expiration - timeleft - shell.clock.now();
    if (expiration > 0 && seconds > 0) timer = shell.clock.after(seconds * 1000, () => shell.kill(signum));
  };
  return {
    name: "signal",
    started: () => arm(resources.expiration),
    expiration: arm,
    finish: () => timer?.cancel(),
    stop: () => timer?.cancel(),
  };
};
