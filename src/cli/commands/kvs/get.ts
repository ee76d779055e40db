/** `flux kvs get`. */
import { FluxError } from "../../../base/errors.ts";
import type { Treeobj } from "../../../formats/treeobj.ts";
import { valueBytes, watchFlags, type Kvs } from "../../../sdk/kvs.ts";
import { LookupFlag } from "../../../sdk/kvs-protocol.ts";
import type { CommandContext } from "../../framework/command.ts";
import { openKvs, orderedJson, orFail, rootOf, textOf } from "./support.ts";

export async function get(context: CommandContext): Promise<void> {
  if (context.operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const getKey = (key: string): Promise<void> => orFail(context, key, () => getOne(context, kvs, key));
  // Watches go on, all at the same time.
  if (context.options.has("watch")) await Promise.all(context.operands.map(getKey));
  else for (const key of context.operands) await getKey(key);
}

async function getOne(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const { options } = context;
  const goesOn = options.has("watch") || options.has("stream") || options.has("waitcreate");
  if (options.has("watch") && options.has("stream")) throw new FluxError("EINVAL");
  if (options.has("at") && goesOn) throw new FluxError("EINVAL");
  if (options.has("watch")) return watch(context, kvs, key);
  if (options.has("stream") && !options.has("treeobj")) return stream(context, kvs, key);
  if (options.has("raw") && !options.has("treeobj") && !options.has("waitcreate")) return raw(context, kvs, key);
  const flags =
    (options.has("treeobj") ? LookupFlag.TreeObject : 0) | (options.has("waitcreate") ? LookupFlag.WaitCreate : 0);
  const at = rootOf(context);
  print(context, key, await kvs.lookup(key, flags, at === undefined ? {} : { at }));
}

/** The bytes of a value of any length. */
async function raw(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const at = rootOf(context);
  let isFirst = true;
  for await (const piece of kvs.getStream(key, at === undefined ? {} : { at })) {
    if (isFirst && context.options.has("label")) context.out(`${key}=`);
    isFirst = false;
    context.out(piece);
    await context.flush();
  }
}

async function watch(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const { options } = context;
  const flags = watchFlags({
    waitCreate: options.has("waitcreate"),
    full: options.has("full"),
    uniq: options.has("uniq"),
    append: options.has("append"),
  });
  const limit = options.integer("count") ?? 0;
  let count = 0;
  for await (const object of kvs.watchObjects(key, flags | (options.has("treeobj") ? LookupFlag.TreeObject : 0))) {
    if (object !== null) print(context, key, object);
    await context.flush();
    if (++count === limit) return;
  }
}

/** The pieces of a value one after the other: as if it had come whole. */
async function stream(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const { options } = context;
  let isEmpty = true;
  if (options.has("label")) context.out(`${key}=`);
  for await (const piece of kvs.stream(key, { waitCreate: options.has("waitcreate") })) {
    context.out(options.has("raw") ? piece : textOf(piece));
    await context.flush();
    isEmpty &&= piece.byteLength === 0;
  }
  if (!isEmpty && !options.has("raw")) context.out("\n");
}

function print(context: CommandContext, key: string, object: Treeobj): void {
  const { options } = context;
  const text = options.has("treeobj") ? null : valueBytes(object);
  if (options.has("label")) context.out(`${key}=`);
  if (text === null) context.out(`${orderedJson(object)}\n`);
  else if (options.has("raw")) context.out(text);
  else if (text.byteLength > 0) {
    context.out(textOf(text));
    context.out("\n");
  }
}
