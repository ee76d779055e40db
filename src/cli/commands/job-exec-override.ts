/** `flux job-exec-override`: starts and finishes jobs of the test execution that wait for it. */
import type { JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

async function send(context: CommandContext, event: string, rest: JsonObject): Promise<void> {
  const text = context.operands[0] ?? "";
  const jobid = tryParseFluid(text);
  if (jobid === null) return context.failUsage(`argument JOBID: invalid JobID value: '${text}'`);
  const handle = await context.open();
  await handle.rpc("job-exec.override", { jobid, event, ...rest });
}

const start: Command = {
  name: "start",
  dialect: "argparse",
  summary: "Start a job",
  operands: [{ name: "JOBID", arity: "1" }],
  run: (context) => send(context, "start", {}),
};

const finish: Command = {
  name: "finish",
  dialect: "argparse",
  summary: "Finish a job",
  operands: [
    { name: "JOBID", arity: "1" },
    { name: "STATUS", arity: "1", integer: true },
  ],
  run: (context) => send(context, "finish", { status: Number(context.operands[1]) }),
};

export const command: Command = defineCommand({
  name: "job-exec-override",
  dialect: "argparse",
  summary: "start and finish jobs of the test execution",
  subcommands: [start, finish],
});
