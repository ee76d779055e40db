/**
 * `flux shell JOBID` (flux-shell(1)): the job shell of one job on one node as a process, where a job or the configuration
 * wants a program of its own in the place of the built-in one and that hands the job on to us: a wrapper.
 */
import { errorText } from "../../base/errors.ts";
import { exitCodeOfStatus, SIGNALS } from "../../base/signals.ts";
import { ownShellService, type HostEvent, type ShellStart } from "../../protocol/shell-host.ts";
import { startShellHost } from "../../shell/host.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { parseJobId } from "../jobs/client.ts";
import { getAttribute } from "../../sdk/attributes.ts";

const FORWARDED = ["SIGINT", "SIGTERM", "SIGALRM"] as const;

export const command: Command = defineCommand({
  name: "shell",
  dialect: "getopt",
  summary: "Run the tasks of a job on one node (started in the place of the built-in job shell)",
  hidden: true,
  options: [{ names: ["reconnect"], help: "Attempt to reconnect if broker connection is lost" }],
  operands: [{ name: "JOBID", arity: "1" }],
  async run(context) {
    const [operand] = context.operands;
    if (operand === undefined) return context.failUsage();
    const id = parseJobId(operand);
    const [ports, handle] = await Promise.all([context.ports(), context.open()]);
    const exec = <T>(method: string, payload: object): Promise<T> =>
      handle.rpc<T>(`job-exec.${method}`, { id, ...payload }, { nodeid: 0 });
    const start = await exec<ShellStart>("shell-start", {});
    const rank = Number(await getAttribute(handle, "rank"));
    const ended = Promise.withResolvers<number>();
    let told: Promise<unknown> = Promise.resolve();
    const report = (events: readonly HostEvent[]): void => {
      told = exec("shell-report", { rank, events });
      told.catch((error: unknown) => context.complain(errorText(error)));
      for (const event of events) if (event.type === "exit") ended.resolve(event.status);
    };
    const complain = (text: string): void => context.complain(text);
    const host = await startShellHost({ handle, ports, complain, single: { service: ownShellService(id), report } });
    for (const name of FORWARDED) context.onSignal(name, () => host.terminate(SIGNALS[name]!));
    host.startJob(start);
    const status = await ended.promise;
    await told;
    // The first shell is there for the others until they have ended, too.
    await exec("shell-barrier", { rank }).catch(() => {});
    await host.settle();
    host.stop();
    return exitCodeOfStatus(status);
  },
});
