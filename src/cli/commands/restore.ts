/** `flux restore`: reads a version of the key-value store from an archive (flux-restore(1)). */
import { concatBytes } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { TarReader } from "../../formats/tar-reader.ts";
import type { TarMember } from "../../formats/tar.ts";
import { makeDirref, makeSymlink, makeValref, type Treeobj } from "../../formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { archiveBytes } from "../snapshots/archive-input.ts";
import { BlobSink } from "../snapshots/blob-sink.ts";
import { BlobStore, isKvsLoaded } from "../snapshots/blobs.ts";
import { dumpToRestore, latestOption, unlinkDump } from "../snapshots/latest.ts";
import { maxRequests, maxRequestsOption, sizeOption } from "../snapshots/options.ts";
import { Progress, progressOptions } from "../snapshots/progress.ts";
import { recordedKey } from "../snapshots/key-record.ts";
import { inlineValue, isInline, TreeBuilder } from "../snapshots/tree-builder.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const DEFAULT_REQUESTS = 256;
/** Longer values are stored as several blobs, in bytes: a multiple of three, so that their base64 texts can be joined. */
const PIECE_BYTES = 3 * 349_525;
/** Characters of a blobref that a user needs to see. */
const SHORT_BLOBREF = 13;

interface Restore {
  readonly context: CommandContext;
  readonly progress: Progress;
  readonly sink: BlobSink;
  readonly tree: TreeBuilder;
  /** Longer values are left out, in bytes. */
  readonly sizeLimit: number | null;
  /** Values and directories stored as blobs. */
  blobs: number;
}

async function run(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const window = maxRequests(context, DEFAULT_REQUESTS);
  const sizeLimit = sizeOption(context, "size-limit");
  const directory = options.text("latest-in");
  if (operands.length !== (directory === null ? 1 : 0)) context.failUsage();
  const path = directory === null ? operands[0]! : dumpToRestore(directory);
  if (path === null) return;
  const key = options.text("key");
  const toCheckpoint = options.has("checkpoint");
  if (key === null && !toCheckpoint) context.fail("Please specify a restore target with --checkpoint or --key");
  const handle = await context.open();
  if (toCheckpoint && (await isKvsLoaded(handle))) context.fail("please unload kvs module before using --checkpoint");
  const store = new BlobStore(handle, options.has("no-cache"));
  const sink = new BlobSink(store, window);
  let restore: Restore | null = null;
  const progress = new Progress(context, handle, (keys) => `restored ${keys} keys (${restore?.blobs ?? 0} blobs)`);
  restore = { context, progress, sink, tree: new TreeBuilder(), sizeLimit, blobs: 0 };
  try {
    await readArchive(restore, path);
    const rootref = await saveTree(restore);
    progress.finish();
    await store.flush();
    if (toCheckpoint) await writeCheckpoint(context, store, rootref);
    else await writeKey(context, store, key!, rootref);
    if (directory !== null) unlinkDump(path);
  } catch (error) {
    progress.break();
    if (isFluxError(error)) context.fail(error.message);
    throw error;
  } finally {
    sink.close();
  }
}

async function readArchive(restore: Restore, path: string): Promise<void> {
  const reader = new TarReader();
  let value: Value | null = null;
  for await (const chunk of archiveBytes(path))
    for (const event of reader.push(chunk)) {
      if (event.kind === "member") value = takeMember(restore, event.member);
      else if (event.kind === "content") await value?.add(event.bytes);
      else await value?.end();
    }
  reader.finish();
}

/** Begins with a member; null where its content is not wanted. */
function takeMember(restore: Restore, member: TarMember): Value | null {
  const { progress, sizeLimit, tree } = restore;
  const { path, kind, sizeBytes } = member;
  if (kind === "directory") return null;
  const names = namesOf(member);
  if (kind === "sparse") throw new FluxError("EINVAL", `${path}: sparse files are not supported`);
  if (kind === "other") return skip(progress, `${path} is no file, directory or link, skipping`);
  if (kind === "file" && sizeLimit !== null && sizeLimit > 0 && sizeBytes > sizeLimit)
    return skip(progress, `${path} size ${sizeBytes} exceeds ${sizeLimit} limit, skipping`);
  if (kind === "file") return new Value(restore, path, names);
  if (kind === "symlink") {
    tree.put(names, linkOf(member.target));
    progress.add(`${path} -> ${member.target}`);
    return null;
  }
  const original = tree.find(namesOf({ ...member, path: member.target, records: new Map() }));
  if (original === null) return skip(progress, `${path} links to ${member.target}, which is not there, skipping`);
  tree.put(names, original);
  progress.add(path);
  return null;
}

function skip(progress: Progress, text: string): null {
  progress.say(text);
  return null;
}

/** The names of a key. Throws EINVAL where a path leads out of the archive, or nowhere. */
function namesOf({ path, records }: TarMember): string[] {
  const key = recordedKey(records);
  const parts = key === null ? path.split("/") : [key];
  if (parts.includes("..")) throw new FluxError("EINVAL", `${path}: a path with '..' is no key`);
  const names = parts.flatMap((part) => part.split(".")).filter((name) => name !== "");
  if (names.length === 0) throw new FluxError("EINVAL", `${path}: an empty path is no key`);
  return names;
}

function linkOf(target: string): Treeobj {
  const separator = target.indexOf("::");
  return separator < 0 ? makeSymlink(target) : makeSymlink(target.slice(separator + 2), target.slice(0, separator));
}

/** A value that is read piece by piece. */
class Value {
  readonly #restore: Restore;
  readonly #path: string;
  readonly #names: readonly string[];
  readonly #refs: Blobref[] = [];
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #pieces = 0;

  constructor(restore: Restore, path: string, names: readonly string[]) {
    this.#restore = restore;
    this.#path = path;
    this.#names = names;
  }

  async add(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (this.#heldBytes + rest.byteLength > PIECE_BYTES) {
      const taken = rest.subarray(0, PIECE_BYTES - this.#heldBytes);
      rest = rest.subarray(taken.byteLength);
      this.#held.push(taken);
      await this.#store();
    }
    this.#held.push(rest);
    this.#heldBytes += rest.byteLength;
  }

  async end(): Promise<void> {
    const { tree, progress } = this.#restore;
    if (this.#pieces === 0 && isInline(this.#heldBytes)) tree.put(this.#names, inlineValue(concatBytes(this.#held)));
    else {
      if (this.#heldBytes > 0) await this.#store();
      // The references come when their blobs are stored; the tree is saved after that.
      tree.put(this.#names, makeValref(this.#refs));
      this.#restore.blobs++;
    }
    progress.add(this.#path);
  }

  async #store(): Promise<void> {
    const blob = concatBytes(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    const index = this.#pieces++;
    await this.#restore.sink.add(
      blob,
      (ref) => (this.#refs[index] = ref),
      (error) => withText(`error storing blob for ${this.#path}`, error),
    );
  }
}

function withText(about: string, error: unknown): unknown {
  return isFluxError(error) ? new FluxError(error.errnum, `${about}: ${error.message}`, { cause: error }) : error;
}

async function saveTree(restore: Restore): Promise<Blobref> {
  const { sink, tree } = restore;
  await sink.settle();
  return tree.save(async (text) => {
    restore.blobs++;
    return new Promise<Blobref>((resolve, reject) => {
      const failed = (error: unknown): unknown => withText("error storing directory", error);
      sink.add(text, resolve, (error) => (reject(failed(error)), failed(error))).catch(reject);
    });
  });
}

async function writeCheckpoint(context: CommandContext, store: BlobStore, rootref: Blobref): Promise<void> {
  tell(context, rootref, "checkpoint for next KVS start");
  try {
    await store.putCheckpoint(rootref, (await context.ports()).clock.now());
  } catch (error) {
    throw withText("error updating checkpoint", error);
  }
}

async function writeKey(context: CommandContext, store: BlobStore, key: string, rootref: Blobref): Promise<void> {
  tell(context, rootref, `KVS key '${key}'`);
  try {
    const namespace = context.host.env["FLUX_KVS_NAMESPACE"];
    await new Kvs(store.handle, namespace).commit(new KvsTransaction().putTreeObject(key, makeDirref(rootref)));
  } catch (error) {
    throw withText(`error updating ${key}`, error);
  }
}

function tell(context: CommandContext, rootref: Blobref, place: string): void {
  if (context.options.has("quiet")) return;
  context.complain(`writing snapshot ${rootref.slice(0, SHORT_BLOBREF)} to ${place}`);
}

export const command: Command = defineCommand({
  name: "restore",
  usageProgram: "flux restore",
  dialect: "getopt",
  summary: "Restore KVS snapshot from a portable archive format",
  usage: "[OPTIONS] INFILE",
  options: [
    { names: ["verbose"], short: "v", help: "List keys on stderr as they are restored" },
    progressOptions.quiet,
    { names: ["checkpoint"], help: "Restore to checkpoint" },
    { names: ["key"], argument: "KEY", help: "Restore to KVS key" },
    { names: ["no-cache"], help: "Bypass the broker content cache" },
    { names: ["size-limit"], argument: "SIZE", help: "Do not restore blobs greater than SIZE bytes" },
    maxRequestsOption(`Max concurrent content store requests (default ${DEFAULT_REQUESTS})`),
    progressOptions.sdNotify,
    latestOption,
  ],
  run,
});
