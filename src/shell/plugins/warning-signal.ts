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
  const fault = (what: string): FluxError => new FluxError("EINVAL", `error in shell \`signal' option: ${what}`);
  if (typeof choice === "string") throw fault("Expected object, got string");
  const number = isJsonObject(choice) ? choice["signum"] : undefined;
  if (typeof number === "string") throw fault("Expected integer, got string");
  const signum = number ?? SIGNALS["SIGUSR1"]!;
  if (typeof signum !== "number" || !Number.isInteger(signum) || signum < 1 || signum > SIGNAL_MAX)
    throw fault(`signum=${String(number)} is no signal number`);
  const timeleft = isJsonObject(choice) ? options.seconds("signal.timeleft", TIMELEFT_SECONDS) : TIMELEFT_SECONDS;
  if (timeleft === null)
    throw new FluxError("EINVAL", `signal.timeleft=${String(options.value("signal.timeleft"))} is invalid`);
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
  /** The warning that is given holds, unless more time is. */
  let warnedFor = 0;
  const sendOnce = (): void => {
    if (warnedFor < expires) send();
    warnedFor = Math.max(warnedFor, expires);
  };
  let expires = 0;
  let timer: TimerHandle | null = null;
  const arm = (expiration: number): void => {
    timer?.cancel();
    timer = null;
    expires = expiration;
    const seconds = expiration - timeleft - shell.clock.now();
    if (expiration <= 0) return;
    shell.log(ShellLogLevel.debug, `Will send ${signalName(signum)} to job in ${seconds.toFixed(2)}s`, "signal");
    timer = shell.clock.after(Math.max(0, seconds) * 1000, sendOnce);
  };
  return {
    started() {
      arm(resources.expiration);
      if (resources.expiration > 0 || !shell.isLeader) return;
      const text = `job has no expiration, ${signalName(signum)} will not be sent`;
      shell.log(ShellLogLevel.notice, text, "signal");
    },
    expiration(expiration) {
      if (shell.isLaunched) arm(expiration);
    },
    finish: () => timer?.cancel(),
    stop: () => timer?.cancel(),
  };
};
