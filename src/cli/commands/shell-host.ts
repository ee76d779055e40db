/**
 * `flux shell-host`: the process of one broker that holds the job shells of that broker. Started by the broker's shell
 * agent, not by people; it ends with its broker, or on SIGTERM.
 */
import { errorText } from "../../base/errors.ts";
import { SHELL_HOST_URI } from "../../protocol/shell-host.ts";
import { startShellHost } from "../../shell/host.ts";
import { defineCommand, type Command } from "../framework/command.ts";

export const command: Command = defineCommand({
  name: "shell-host",
  dialect: "getopt",
  summary: "Run the job shells of one broker (started by the broker)",
  hidden: true,
  async run(context) {
    const [ports, handle] = await Promise.all([context.ports(), context.open(context.host.env[SHELL_HOST_URI])]);
    const shellHost = await startShellHost({ handle, ports, complain: (text) => context.complain(text) });
    for (const name of ["SIGTERM", "SIGINT"]) context.onSignal(name, () => shellHost.stop());
    try {
      await shellHost.closed;
    } catch (error) {
      context.fail(errorText(error));
    }
  },
});
