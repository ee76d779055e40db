/** What the subcommands of `flux kvs` share: the store to use, how errors are told, how tree objects are printed. */
import { FluxError } from "../../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../../../base/json.ts";
import { isTreeobj, makeDirref, type Treeobj } from "../../../formats/treeobj.ts";
import { Kvs, type KvsTransaction } from "../../../sdk/kvs.ts";
import { PRIMARY_NAMESPACE, type CommitAnswer } from "../../../sdk/kvs-protocol.ts";
import type { CommandContext } from "../../framework/command.ts";
import { orFail as orEnd, sentenceFirst } from "../../framework/or-fail.ts";

const NAMESPACE_OPTIONS = ["namespace", "src-namespace", "dst-namespace"];

/** The namespace of an option, else of the environment, else the primary one. */
export function namespaceOf(context: CommandContext, option = "namespace"): string {
  return context.options.text(option) ?? context.host.env["FLUX_KVS_NAMESPACE"] ?? PRIMARY_NAMESPACE;
}

export async function openKvs(context: CommandContext, option = "namespace"): Promise<Kvs> {
  return new Kvs(await context.open(), namespaceOf(context, option));
}

/** Does something; an error ends the command with what it was about. */
export function orFail<T>(context: CommandContext, about: string, action: () => T | Promise<T>): Promise<T> {
  return orEnd(context, action, (error) => `${about}: ${sentenceFirst(error)}${remedyOf(context, error)}`);
}

/** The one thing behind ENOTSUP that a user can mend: a namespace that was asked for and is not there. */
function remedyOf(context: CommandContext, error: FluxError): string {
  if (!error.is("ENOTSUP") || error.hasText) return "";
  const given = NAMESPACE_OPTIONS.map((option) => context.options.text(option)).filter((name) => name !== null);
  const [name] = given.length > 0 ? given : [namespaceOf(context)];
  if (given.length > 1 || name === PRIMARY_NAMESPACE) return "";
  return `: namespace '${name}' does not exist, see 'flux kvs namespace list'`;
}

/** A key as it is shown: as it was given, without the dots that say that it is a directory. */
export function withoutEndDots(key: string): string {
  return key.replace(/\.+$/, "") || ".";
}

/** The reference of `--at`, or undefined. Throws EINVAL where it is no directory reference. */
export function rootOf(context: CommandContext): Treeobj | undefined {
  const text = context.options.text("at");
  if (text === null) return undefined;
  let object: unknown;
  try {
    object = parseJson(text);
  } catch (error) {
    throw new FluxError("EINVAL", undefined, { cause: error });
  }
  if (isJsonObject(object) && isTreeobj(object)) return object;
  throw new FluxError("EINVAL");
}

/** JSON with the members of objects in order, as tree objects are shown. */
export function orderedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(orderedJson).join(",")}]`;
  if (!isJsonObject(value)) return stringifyJson(value);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${stringifyJson(key)}:${orderedJson((value as JsonObject)[key])}`);
  return `{${members.join(",")}}`;
}

/** A value as text: what comes before the first NUL, byte for byte, whatever its encoding. */
export function textOf(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

/** Commits as the options say, then prints what they ask for of the new root. */
export async function commit(context: CommandContext, kvs: Kvs, transaction: KvsTransaction): Promise<void> {
  const { options } = context;
  const how = { noMerge: options.has("no-merge"), sync: options.has("sync") };
  printRoot(context, await orFail(context, "flux_kvs_commit", () => kvs.commit(transaction, how)));
}

/** Prints what the options ask for of the root that a commit made. */
function printRoot(context: CommandContext, { rootref, rootseq }: CommitAnswer): void {
  const { options } = context;
  if (options.has("treeobj-root")) context.out(`${orderedJson(makeDirref(rootref))}\n`);
  else if (options.has("blobref")) context.out(`${rootref}\n`);
  else if (options.has("sequence")) context.out(`${rootseq}\n`);
}

/** Columns to print in: an option, the environment, the terminal, or 80. */
export function widthOf(context: CommandContext): number {
  const given = context.options.integer("width");
  if (given !== null) return given;
  const fromEnvironment = Number(context.host.env["COLUMNS"] ?? "");
  if (Number.isInteger(fromEnvironment) && fromEnvironment > 0) return fromEnvironment;
  return context.columns ?? 80;
}
