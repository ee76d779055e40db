/** `flux getattr`: the value of a broker attribute. */
import { throughProxy } from "../framework/connect.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { getAttribute } from "../../sdk/attributes.ts";

export const command: Command = defineCommand({
  name: "getattr",
  usageProgram: "flux getattr",
  dialect: "getopt",
  summary: "Get broker attribute",
  description: "Get broker attribute",
  usage: "name",
  operands: [{ name: "name", arity: "1" }],
  run: async (context) => {
    const [name, ...rest] = context.operands;
    if (name === undefined || rest.length > 0) context.failUsage();
    const attribute = name as string;
    const handle = await context.open();
    const value = await getAttribute(handle, attribute).catch((error: Error) =>
      context.fail(`${name}: ${error.message}`),
    );
    context.out(`${throughProxy(attribute, value)}\n`);
  },
});
