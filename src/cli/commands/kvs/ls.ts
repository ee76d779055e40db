/** `flux kvs ls`: names in directories, in columns, much as ls(1) does for files. */
import { isFluxError, FluxError, type ErrnoName } from "../../../base/errors.ts";
import type { Treeobj } from "../../../formats/treeobj.ts";
import type { Kvs } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { sentenceFirst } from "../../framework/or-fail.ts";
import { openKvs, widthOf, withoutEndDots } from "./support.ts";

/** Columns between the longest name and the next. */
const GAP_COLUMNS = 4;

/** What says that a link leads to no directory. */
const NO_DIRECTORY: readonly ErrnoName[] = ["ENOTDIR", "ENOENT", "ELOOP"];

interface Named {
  readonly name: string;
  readonly object: Treeobj;
}

interface Listing {
  readonly context: CommandContext;
  readonly kvs: Kvs;
  /** Whether something has been printed, which the next section is set apart from. */
  hasOutput: boolean;
  readonly hasTitles: boolean;
  /** Told of a directory that cannot be read; the others are listed. */
  readonly cannotList: (key: string, error: unknown) => void;
}

export async function ls(context: CommandContext): Promise<number> {
  const { options } = context;
  const kvs = await openKvs(context);
  const keys = context.operands.length === 0 ? ["."] : context.operands;
  const singles: Named[] = [];
  const directories: string[] = [];
  let exitCode = 0;
  const tell = (key: string, error: unknown): string => {
    if (!isFluxError(error)) throw error;
    exitCode = 1;
    return `${withoutEndDots(key)}: ${sentenceFirst(error)}`;
  };
  for (const key of keys) {
    try {
      if (key === "") context.fail("flux_kvs_lookup: Invalid argument");
      const found = await find(context, kvs, key);
      if (found === null) directories.push(withoutEndDots(key));
      else singles.push(found);
    } catch (error) {
      context.err(`${tell(key, error)}\n`);
    }
  }
  const hasTitles = singles.length + directories.length > 1 || options.has("recursive");
  const cannotList = (key: string, error: unknown): void => context.complain(tell(key, error));
  const listing: Listing = { context, kvs, cannotList, hasOutput: singles.length > 0, hasTitles };
  print(context, singles.sort(byName), options.has("classify"));
  for (const key of directories.sort()) await listDirectory(listing, key);
  return exitCode;
}

function byName({ name: left }: Named, { name: right }: Named): number {
  return left < right ? -1 : Number(left > right);
}

/** What a key is; null where it is a directory whose content is to be listed. Throws ENOENT, ENOTDIR. */
async function find(context: CommandContext, kvs: Kvs, key: string): Promise<Named | null> {
  const { options } = context;
  const name = withoutEndDots(key);
  const object = await kvs.getTreeObject(key);
  const isDirectory = object.type === "dirref" || object.type === "dir";
  if (key !== name && key.endsWith(".") && !isDirectory) throw new FluxError("ENOTDIR");
  if (options.has("directory")) return { name, object };
  if (isDirectory) return null;
  if (object.type === "symlink" && !options.has("classify") && (await leadsToDirectory(kvs, key))) return null;
  return { name, object };
}

async function leadsToDirectory(kvs: Kvs, key: string): Promise<boolean> {
  try {
    await kvs.getDirectory(key);
    return true;
  } catch (error) {
    if (NO_DIRECTORY.some((errno) => isFluxError(error, errno))) return false;
    throw error;
  }
}

async function listDirectory(listing: Listing, key: string): Promise<void> {
  const { context, kvs } = listing;
  const entries = await kvs.getDirectory(key).catch((error: unknown) => listing.cannotList(key, error));
  if (entries === undefined) return;
  const names = Object.keys(entries).sort();
  if (listing.hasTitles) context.out(`${listing.hasOutput ? "\n" : ""}${key}:\n`);
  listing.hasOutput = true;
  print(
    context,
    names.map((name) => ({ name, object: entries[name]! })),
  );
  await context.flush();
  if (!context.options.has("recursive")) return;
  for (const name of names)
    if (entries[name]!.type === "dirref") await listDirectory(listing, key === "." ? name : `${key}.${name}`);
}

/** Names in columns, whose width leaves room for the indicators where `withIndicator` is set. */
function print(context: CommandContext, named: readonly Named[], withIndicator = false): void {
  if (named.length === 0) return;
  const { options } = context;
  const texts = named.map(({ name, object }) => name + (options.has("classify") ? indicatorOf(object) : ""));
  const longest = (withIndicator ? texts : named.map(({ name }) => name)).reduce(
    (length, text) => Math.max(length, text.length),
    0,
  );
  const column = longest + GAP_COLUMNS;
  const width = widthOf(context);
  const perRow = options.has("1") ? 1 : width === 0 ? texts.length : Math.max(1, Math.floor(width / column));
  for (let start = 0; start < texts.length; start += perRow) {
    const row = texts.slice(start, start + perRow);
    const last = row.pop()!;
    context.out(`${row.map((text) => text.padEnd(column)).join("")}${last}\n`);
  }
}

function indicatorOf(object: Treeobj): string {
  if (object.type === "symlink") return "@";
  return object.type === "dirref" || object.type === "dir" ? "." : "";
}
