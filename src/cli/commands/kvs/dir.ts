/** `flux kvs dir`: the keys under a directory and their values, a line each. */
import { latin1Decode, latin1Encode, utf8DecodeStrict, utf8Encode } from "../../../base/bytes.ts";
import { makeDirref, type Treeobj } from "../../../formats/treeobj.ts";
import { valueBytes, type Kvs } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { openKvs, orFail, rootOf, textOf, widthOf, withoutEndDots } from "./support.ts";

const DOTS = "...";

interface Listing {
  readonly context: CommandContext;
  readonly kvs: Kvs;
  /** All is looked up from one root, so that what is shown was true at one time. */
  readonly at: Treeobj;
  /** Columns, 0 for no limit. */
  readonly width: number;
}

export async function dir(context: CommandContext): Promise<void> {
  if (context.operands.length > 1) context.fail("dir: specify zero or one directory");
  const [given = "."] = context.operands;
  const kvs = await openKvs(context);
  const at = await orFail(context, given, async () => rootOf(context) ?? makeDirref((await kvs.getRoot()).rootref));
  const listing: Listing = { context, kvs, at, width: widthOf(context) };
  await list(listing, withoutEndDots(given), await entriesOf(listing, given));
}

type Entries = { readonly [name: string]: Treeobj };

function entriesOf({ context, kvs, at }: Listing, path: string): Promise<Entries> {
  return orFail(context, path, () => kvs.getDirectory(path, { at }));
}

async function list(listing: Listing, key: string, entries: Entries): Promise<void> {
  for (const name of Object.keys(entries).sort()) {
    const path = key === "." ? name : `${key}.${name}`;
    await show(listing, path, entries[name]!);
    await listing.context.flush();
  }
}

async function show(listing: Listing, path: string, entry: Treeobj): Promise<void> {
  const { context, kvs, at } = listing;
  const { options } = context;
  if (entry.type === "symlink") {
    const { namespace, target } = entry.data;
    context.out(`${path} -> ${namespace === undefined ? "" : `${namespace}::`}${target}\n`);
  } else if (entry.type === "dirref" || entry.type === "dir") {
    const entries = options.has("recursive") ? await entriesOf(listing, path) : {};
    if (Object.keys(entries).length === 0) context.out(`${path}.\n`);
    else await list(listing, path, entries);
  } else if (options.has("directory")) context.out(`${path}\n`);
  else {
    const bytes = await orFail(context, path, () =>
      entry.type === "val" ? valueBytes(entry) : kvs.getBytes(path, { at }),
    );
    context.out(lineOf(`${path} = `, bytes, listing.width));
  }
}

/** A key and its value; what is not UTF-8 is shown as the bytes that it is. */
function lineOf(label: string, bytes: Uint8Array, width: number): string | Uint8Array {
  const value = textOf(bytes);
  const text = utf8DecodeStrict(value);
  if (text !== null) return `${fitted(label, text, bytes.byteLength, width)}\n`;
  const line = fitted(latin1Decode(utf8Encode(label)), latin1Decode(value), bytes.byteLength, width);
  return latin1Encode(`${line}\n`);
}

/** One line of at most so many columns; what is left out is shown by dots, which a line has room for in any case. */
function fitted(label: string, value: string, valueBytes: number, width: number): string {
  if (width <= 0) return label + value;
  const room = Math.max(0, width - DOTS.length);
  const end = value.indexOf("\n");
  const line = label + (end < 0 ? value : value.slice(0, end));
  const isWhole = label.length + valueBytes <= room && (end < 0 || end === value.length - 1);
  return isWhole ? line : `${line.slice(0, room)}${DOTS}`;
}
