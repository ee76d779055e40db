/** `flux broker`: one broker of an instance; what `flux start` and parallel launchers start. */
import { runBrokerProcess } from "../start/broker-process.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

/** Reads `ATTR=VAL` words. */
function attributesFrom(context: CommandContext, words: readonly string[]): Record<string, string> {
  const attributes: Record<string, string> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    // As the reference has it, an attribute without a value is set to nothing.
    if (equals === 0) context.fail(`--setattr: '${word}' has no attribute name; use ATTR=VAL`);
    attributes[equals < 0 ? word : word.slice(0, equals)] = equals < 0 ? "" : word.slice(equals + 1);
  }
  return attributes;
}

/** `-v` shows on standard error, on whatever broker, what is logged for information, `-vv` what helps to find errors. */
function loudness(level: number): Record<string, string> {
  return level === 0 ? {} : { "log-stderr-mode": "local", "log-stderr-level": level === 1 ? "6" : "7" };
}

export const command: Command = defineCommand({
  name: "broker",
  dialect: "getopt",
  summary: "Flux message broker daemon",
  usage: "[OPTIONS] [initial-program [args...]]",
  stopAtOperand: true,
  options: [
    { names: ["verbose"], short: "v", repeatable: true, help: "Be annoyingly chatty" },
    { names: ["setattr"], short: "S", argument: "ATTR=VAL", repeatable: true, help: "Set broker attribute" },
    {
      names: ["config-path"],
      short: "c",
      argument: "PATH",
      help: "Set broker configuration from PATH (default: none)",
    },
    { names: ["conf"], argument: "VALUE", repeatable: true, help: "Update the broker configuration from VALUE" },
  ],
  operands: [{ name: "initial-program", arity: "..." }],
  run: (context) =>
    runBrokerProcess(context, {
      attributes: {
        ...loudness(context.options.count("verbose")),
        ...attributesFrom(context, context.options.list("setattr")),
      },
      configPath: context.options.text("config-path"),
      conf: context.options.list("conf"),
      initialProgram: context.operands,
    }),
});
