/** `flux kvs namespace`: create, remove, list. */
import type { CommandContext } from "../../framework/command.ts";
import { openKvs, orFail } from "./support.ts";

const NAME_COLUMNS = 36;
const NUMBER_COLUMNS = 10;

export async function create(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const ownerText = options.text("owner");
  if (ownerText !== null && !/^\d+$/.test(ownerText)) context.fail("--owner requires an unsigned integer argument");
  const rootref = options.text("rootref");
  const kvs = await openKvs(context);
  for (const name of operands)
    await orFail(context, name, () =>
      kvs.createNamespace(name, {
        ...(ownerText === null ? {} : { owner: Number(ownerText) }),
        ...(rootref === null ? {} : { rootref }),
      }),
    );
}

export async function remove(context: CommandContext): Promise<void> {
  if (context.operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  for (const name of context.operands) await orFail(context, name, () => kvs.removeNamespace(name));
}

export async function list(context: CommandContext): Promise<void> {
  if (context.operands.length > 0) context.failUsage();
  const kvs = await openKvs(context);
  const namespaces = await orFail(context, "flux_rpc_get_unpack", () => kvs.listNamespaces());
  context.out(row("NAMESPACE", "OWNER", "FLAGS"));
  for (const { namespace, owner, flags } of namespaces)
    context.out(row(namespace, String(owner), `0x${flags.toString(16).padStart(8, "0")}`));
}

function row(name: string, owner: string, flags: string): string {
  return `${name.padEnd(NAME_COLUMNS)} ${owner.padStart(NUMBER_COLUMNS)} ${flags.padStart(NUMBER_COLUMNS)}\n`;
}
