/** `flux kvs readlink`. */
import type { CommandContext } from "../../framework/command.ts";
import { openKvs, orFail, rootOf } from "./support.ts";

export async function readlink(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  for (const key of operands) {
    const { target, namespace } = await orFail(context, key, () => {
      const at = rootOf(context);
      return kvs.readLink(key, at === undefined ? {} : { at });
    });
    if (namespace === undefined) context.out(`${target}\n`);
    else if (options.has("namespace-only")) context.out(`${namespace}\n`);
    else context.out(options.has("key-only") ? `${target}\n` : `${namespace}::${target}\n`);
  }
}
