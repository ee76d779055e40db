/** The subcommands of `flux kvs` that commit: put, unlink, link, mkdir, copy, move. */
import { EMPTY_BYTES, utf8Decode, utf8Encode } from "../../../base/bytes.ts";
import { FluxError, isFluxError } from "../../../base/errors.ts";
import { parseTreeobj, type Treeobj } from "../../../formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { namespaceOf, openKvs, orFail, printRoot } from "./support.ts";

export async function put(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction();
  const input = { isRead: false };
  for (const operand of operands) {
    const equals = operand.indexOf("=");
    if (equals < 0) context.fail("put: you must specify a value as key=value");
    const key = operand.slice(0, equals);
    await orFail(context, key, async () => {
      if (key === "") throw new FluxError("EINVAL");
      const value = await valueOf(context, operand.slice(equals + 1), input);
      if (options.has("treeobj")) transaction.putTreeObject(key, treeObjectOf(value));
      else if (options.has("append")) transaction.append(key, value);
      else transaction.putBytes(key, value);
    });
  }
  await commit(context, kvs, transaction);
}

/** A value of the command line; "-" stands for standard input, which is read once. */
async function valueOf(context: CommandContext, text: string, input: { isRead: boolean }): Promise<Uint8Array> {
  const { options } = context;
  if (text !== "-" || !(options.has("raw") || options.has("treeobj"))) return utf8Encode(text);
  if (input.isRead) return EMPTY_BYTES;
  input.isRead = true;
  return context.readInput();
}

function treeObjectOf(value: Uint8Array): Treeobj {
  try {
    return parseTreeobj(utf8Decode(value));
  } catch (error) {
    // Which of its parts is wrong is for who wrote it to see: the reference's one word is what scripts look for.
    throw new FluxError("EPROTO", undefined, { cause: error });
  }
}

async function commit(context: CommandContext, kvs: Kvs, transaction: KvsTransaction): Promise<void> {
  const { options } = context;
  const how = { noMerge: options.has("no-merge"), sync: options.has("sync") };
  printRoot(context, await orFail(context, "flux_kvs_commit", () => kvs.commit(transaction, how)));
}

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

export async function link(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const [target, name] = operands;
  if (target === undefined || name === undefined || operands.length > 2)
    context.fail("link: specify target and link_name");
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction().symlink(name, target, options.text("target-namespace") ?? undefined);
  await commit(context, kvs, transaction);
}

export async function mkdir(context: CommandContext): Promise<void> {
  if (context.operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction();
  for (const key of context.operands) transaction.mkdir(key);
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

export async function move(context: CommandContext): Promise<void> {
  const { source, destination, from, to } = await endsOf(context);
  await orFail(context, "flux_kvs_move", async () => {
    const object = await source.getTreeObject(from);
    const transaction = new KvsTransaction().putTreeObject(to, object);
    if (source.namespace === destination.namespace) await destination.commit(transaction.unlink(from));
    else {
      await destination.commit(transaction);
      await source.commit(new KvsTransaction().unlink(from));
    }
  });
}
