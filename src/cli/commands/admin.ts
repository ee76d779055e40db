/** `flux admin`: administration of an instance (flux-admin(1)). */
import { utf8Decode } from "../../base/bytes.ts";
import { errorText } from "../../base/errors.ts";
import { defineCommand, type Command } from "../framework/command.ts";

const cleanupPush: Command = {
  name: "cleanup-push",
  dialect: "argparse",
  summary: "push command to run after completion of initial program",
  description:
    "Add a command to the list that the broker runs when the initial program has ended: the latest block first. " +
    "Without a command, lines of standard input make one block.",
  stopAtOperand: true,
  operands: [{ name: "command", arity: "...", help: "Command line to be evaluated by the shell" }],
  run: async (context) => {
    const words = context.operands;
    const lines = utf8Decode(words.length > 0 ? new Uint8Array(0) : await context.readInput()).split("\n");
    const commands = words.length > 0 ? [words.join(" ")] : lines.filter((line) => line.trim() !== "");
    if (words.length > 0 && commands[0] === "") context.fail("cannot push an empty command line");
    const handle = await context.open();
    await handle
      .rpc("runat.push", { name: "cleanup", commands: commands.toReversed() })
      .catch((error: unknown) => context.fail(`runat.push: ${errorText(error)}`));
  },
};

export const command: Command = defineCommand({
  name: "admin",
  dialect: "argparse",
  summary: "Flux administration subcommands",
  subcommands: [cleanupPush],
});
