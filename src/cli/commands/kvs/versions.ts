/** The subcommands of `flux kvs` about versions: getroot, version, wait, sync. */
import { makeDirref } from "../../../formats/treeobj.ts";
import { KvsTransaction } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { openKvs, orderedJson, orFail } from "./support.ts";

export async function getroot(context: CommandContext): Promise<void> {
  const { options } = context;
  if (context.operands.length > 0) context.failUsage();
  const kvs = await openKvs(context);
  const part = ["owner", "sequence", "blobref"].find((name) => options.has(name)) ?? "treeobj";
  const root = await orFail(context, `flux_kvs_getroot_get_${part}`, () => kvs.getRoot());
  const texts: Record<string, string> = {
    owner: String(root.owner),
    sequence: String(root.rootseq),
    blobref: root.rootref,
    treeobj: orderedJson(makeDirref(root.rootref)),
  };
  context.out(`${texts[part]!}\n`);
}

export async function version(context: CommandContext): Promise<void> {
  const kvs = await openKvs(context);
  context.out(`${await orFail(context, "flux_kvs_get_version", () => kvs.version())}\n`);
}

export async function wait(context: CommandContext): Promise<void> {
  const [text, ...others] = context.operands;
  if (text === undefined) context.failUsage();
  if (others.length > 0) context.fail("wait: specify a version");
  const kvs = await openKvs(context);
  // Digits up to the first character that is none, as strtoul(3) reads them.
  const rootseq = Number(/^\s*(\d+)/.exec(text)?.[1] ?? "0");
  await orFail(context, "flux_kvs_wait_version", () => kvs.waitVersion(rootseq));
}

export async function sync(context: CommandContext): Promise<void> {
  if (context.operands.length > 0) context.failUsage();
  const kvs = await openKvs(context);
  await orFail(context, "flux_kvs_commit", () => kvs.commit(new KvsTransaction(), { sync: true }));
}
