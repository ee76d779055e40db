/** `flux lsattr`: the broker's attributes, with their values on request. */
import { defineCommand, type Command } from "../framework/command.ts";
import { findAttribute } from "../../sdk/attributes.ts";

const NAME_COLUMNS = 40;

export const command: Command = defineCommand({
  name: "lsattr",
  usageProgram: "flux lsattr",
  dialect: "getopt",
  summary: "List broker attributes",
  description: "List broker attributes",
  usage: "[OPTIONS]",
  options: [{ names: ["values"], short: "v", help: "List values with attributes" }],
  run: async (context) => {
    if (context.operands.length > 0) context.failUsage();
    const handle = await context.open();
    const { names } = await handle.rpc<{ names: string[] }>("attr.list");
    // Some are listed, but not set.
    const values = await Promise.all(names.map((name) => findAttribute(handle, name)));
    const withValues = context.options.has("values");
    names.forEach((name, index) => {
      const value = values[index];
      const shown = value ?? "-";
      context.out(withValues ? `${name.padEnd(NAME_COLUMNS - 1)} ${shown}\n` : `${name}\n`);
    });
  },
});
