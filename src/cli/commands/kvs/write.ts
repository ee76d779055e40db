/** The subcommands of `flux kvs` that commit, but for put: unlink, link, mkdir, copy, move. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import { Kvs, KvsTransaction } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { normalizeKey } from "../../../sdk/kvs-protocol.ts";
import { commit, namespaceOf, openKvs, orFail } from "./support.ts";

export async function unlink(context: CommandContext): Promise<void> {
  const { operands } = context;
  if (operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction();
  for (const key of operands) {
    await orFail(context, `cannot unlink '${key}'`, () => checkUnlink(context, kvs, key));
    transaction.unlink(key);
  }
  await commit(context, kvs, transaction);
}

/** Throws ENOENT, ENOTEMPTY where the options do not allow the removal. */
async function checkUnlink(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const { options } = context;
  try {
    const object = await kvs.getTreeObject(key);
    if (object.type !== "dirref" || options.has("recursive")) return;
    if (Object.keys(await kvs.getDirectory(".", { at: object })).length > 0) throw new FluxError("ENOTEMPTY");
  } catch (error) {
    if (!isFluxError(error, "ENOENT") || !options.has("force")) throw error;
  }
}

/** Throws EINVAL for a key that is no key, told under its own name before anything is sent. */
function checkKey(context: CommandContext, key: string): Promise<void> {
  return orFail(context, key, () => {
    if (key === "") throw new FluxError("EINVAL");
  });
}

export async function link(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const [target, name] = operands;
  if (target === undefined || name === undefined || operands.length > 2)
    context.fail("link: specify target and link_name");
  const kvs = await openKvs(context);
  await checkKey(context, name);
  const transaction = new KvsTransaction().symlink(name, target, options.text("target-namespace") ?? undefined);
  await commit(context, kvs, transaction);
}

export async function mkdir(context: CommandContext): Promise<void> {
  if (context.operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction();
  for (const key of context.operands) {
    await checkKey(context, key);
    transaction.mkdir(key);
  }
  await commit(context, kvs, transaction);
}

interface Ends {
  readonly source: Kvs;
  readonly destination: Kvs;
  readonly from: string;
  readonly to: string;
}

async function endsOf(context: CommandContext): Promise<Ends> {
  const [from, to] = context.operands;
  if (from === undefined || to === undefined || context.operands.length > 2)
    context.fail(`${context.command.name}: specify srckey dstkey`);
  const handle = await context.open();
  const source = new Kvs(handle, namespaceOf(context, "src-namespace"));
  return { source, destination: source.in(namespaceOf(context, "dst-namespace")), from, to };
}

export async function copy(context: CommandContext): Promise<void> {
  const { source, destination, from, to } = await endsOf(context);
  await orFail(context, "flux_kvs_copy", async () => {
    const object = await source.getTreeObject(from);
    await destination.commit(new KvsTransaction().putTreeObject(to, object));
  });
}

/** Whether a key is another one, or below it. */
function contains(outer: string, inner: string): boolean {
  return `${normalizeKey(inner)}.`.startsWith(`${normalizeKey(outer)}.`);
}

export async function move(context: CommandContext): Promise<void> {
  const { source, destination, from, to } = await endsOf(context);
  await orFail(context, "flux_kvs_move", async () => {
    if (source.namespace === destination.namespace && contains(from, to))
      throw new FluxError("EINVAL", `${to} is ${from} itself or below it, and would go with it`);
    const object = await source.getTreeObject(from);
    const transaction = new KvsTransaction().putTreeObject(to, object);
    if (source.namespace === destination.namespace) await destination.commit(transaction.unlink(from));
    else {
      await destination.commit(transaction);
      await source.commit(new KvsTransaction().unlink(from));
    }
  });
}
