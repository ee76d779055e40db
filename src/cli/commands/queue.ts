/** `flux queue`: what the queues accept and schedule. What the subcommands do is loaded when one runs. */
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";

type Action = "list" | "status" | "enable" | "disable" | "start" | "stop" | "drain" | "idle";

const VERBOSE: OptionSpec = {
  names: ["verbose"],
  short: "v",
  repeatable: true,
  help: "Display more detail about internal job manager state",
};
const QUEUE: OptionSpec = {
  names: ["queue"],
  short: "q",
  argument: "NAME",
  hidden: true,
  help: "Select a queue by name",
};
const ALL: OptionSpec = {
  names: ["all"],
  short: "a",
  help: "Force command to apply to all queues if none specified",
};
const QUIET: OptionSpec = { names: ["quiet"], help: "Display only errors" };
const TIMEOUT: OptionSpec = { names: ["timeout"], short: "t", argument: "DURATION", help: "timeout after DURATION" };

function message(state: string): OptionSpec {
  return { names: ["message"], short: "m", argument: "REASON", help: `Add reason that a queue is ${state}` };
}
function noCheckpoint(state: string): OptionSpec {
  return { names: ["nocheckpoint"], help: `Do not checkpoint that the queue has been ${state}` };
}

function subcommand(name: Action, summary: string, options: readonly OptionSpec[], takesQueue: boolean): Command {
  return defineCommand({
    name,
    dialect: "argparse",
    summary,
    options,
    operands: takesQueue ? [{ name: "QUEUE", arity: "?", help: `Queue to ${name}` }] : [],
    async run(context: CommandContext): Promise<number> {
      const { actions } = await import("./queue/actions.ts");
      return actions[name](context);
    },
  });
}

export const command: Command = defineCommand({
  name: "queue",
  dialect: "argparse",
  summary: "list and manipulate flux queues",
  subcommands: [
    subcommand(
      "list",
      "List queues, their defaults and limits",
      [
        {
          names: ["queue"],
          short: "q",
          argument: "QUEUE,...",
          repeatable: true,
          help: "Include only specified queues in output",
        },
        {
          names: ["format"],
          short: "o",
          argument: "FORMAT",
          help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names)",
        },
        { names: ["no-header"], short: "n", help: "Suppress header output" },
      ],
      false,
    ),
    subcommand("status", "Report the state of queues", [QUEUE, VERBOSE, { ...ALL, hidden: true }], true),
    subcommand("enable", "Let queues accept jobs", [QUEUE, ALL, QUIET, VERBOSE], true),
    subcommand(
      "disable",
      "Let queues accept no more jobs",
      [QUEUE, ALL, QUIET, VERBOSE, noCheckpoint("disabled"), message("disabled")],
      true,
    ),
    subcommand("start", "Let jobs of queues be scheduled", [QUEUE, ALL, QUIET, VERBOSE], true),
    subcommand(
      "stop",
      "Schedule no more jobs of queues",
      [QUEUE, ALL, QUIET, VERBOSE, noCheckpoint("stopped"), message("stopped")],
      true,
    ),
    subcommand("drain", "Wait until the queues are empty", [TIMEOUT], false),
    subcommand(
      "idle",
      "Wait until no job runs",
      [TIMEOUT, { names: ["quiet"], help: "Only display pending job count if nonzero" }],
      false,
    ),
  ],
});
