/** `flux setattr`: changes a broker attribute. */
import { defineCommand, type Command } from "../framework/command.ts";

export const command: Command = defineCommand({
  name: "setattr",
  usageProgram: "flux setattr",
  dialect: "getopt",
  summary: "Set broker attribute",
  description: "Set broker attribute",
  usage: "name value",
  // A value may begin with a dash, as -1 does.
  stopAtOperand: true,
  options: [{ names: ["force"], short: "f", help: "force update of attribute that doesn't support runtime changes" }],
  operands: [
    { name: "name", arity: "1" },
    { name: "value", arity: "1" },
  ],
  run: async (context) => {
    const [name, value, ...rest] = context.operands;
    if (name === undefined || value === undefined || rest.length > 0) context.failUsage();
    const handle = await context.open();
    const force = context.options.has("force");
    await handle
      .rpc("attr.set", { name, value, force })
      .catch((error: Error) => context.fail(`${name}: ${error.message}`));
  },
});
