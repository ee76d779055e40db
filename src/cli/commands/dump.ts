/** `flux dump`: writes a version of the key-value store to a portable archive (flux-dump(1)). */
import { concatBytes } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { encodeTarHeader, plainMember, tarEnd, tarPaddingBytes, type TarMember } from "../../formats/tar.ts";
import { valBytes, type Treeobj, type Valref } from "../../formats/treeobj.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { inOrder } from "../../sdk/window.ts";
import { ArchiveOutput } from "../snapshots/archive-output.ts";
import { BlobStore } from "../snapshots/blobs.ts";
import { keyRecords } from "../snapshots/key-record.ts";
import { latestOption, linkDump, nextDump } from "../snapshots/latest.ts";
import { maxRequests, maxRequestsOption } from "../snapshots/options.ts";
import { Progress, progressOptions } from "../snapshots/progress.ts";
import { faultText, walkTree, type TreeEvent, type TreePath } from "../snapshots/walk.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const DEFAULT_REQUESTS = 2;
/**
 * Values that were fetched and wait to be written, in bytes. What does not fit is fetched twice: for its size, which comes
 * first in an archive, and then to be written.
 */
const HELD_BYTES_MAX = 64 * 1024 * 1024;
/** Blobs of one value under way at once. */
const BLOB_WINDOW = 8;

/** The blobs of a value, up to the first that is missing. */
type Fetched =
  /** In memory. */
  | { readonly blobs: readonly Uint8Array[]; readonly sizeBytes: number }
  /** Too long for that. */
  | { readonly blobs: null; readonly sizeBytes: number }
  | { readonly missing: number; readonly error: FluxError };

interface Dump {
  readonly context: CommandContext;
  readonly store: BlobStore;
  readonly output: ArchiveOutput;
  readonly progress: Progress;
  readonly held: { bytes: number };
  /** Time and owner of every member. */
  readonly common: Pick<TarMember, "mtime" | "uid" | "gid">;
}

async function run(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const window = maxRequests(context, DEFAULT_REQUESTS);
  const directory = options.text("latest-in");
  if (operands.length !== (directory === null ? 1 : 0)) context.failUsage();
  const now = (await context.ports()).clock.now();
  const path = directory === null ? operands[0]! : orFail(context, () => nextDump(directory, now));
  const handle = await context.open();
  const store = new BlobStore(handle, options.has("no-cache"));
  const output = orFail(context, () => ArchiveOutput.open(path));
  const progress = new Progress(context, handle, (keys) => `archived ${keys} keys`);
  const interrupted = context.onSignal("SIGINT", () => {
    output.discard();
    process.exit(130);
  });
  try {
    const { rootref, mtime } = await rootOf(context, store, now);
    const common = { mtime, uid: context.host.uid, gid: process.getgid?.() ?? 0 };
    const dump: Dump = { context, store, output, progress, held: { bytes: 0 }, common };
    const fetchValue = (object: Valref): Promise<Fetched> => fetchBlobs(dump, object.data);
    for await (const event of walkTree<Fetched>(rootref, { window, load: (ref) => store.load(ref), fetchValue }))
      await take(dump, event);
    await output.write(tarEnd());
    await output.end();
    if (directory !== null) linkDump(path);
    progress.finish();
  } catch (error) {
    output.discard();
    progress.break();
    if (isFluxError(error)) context.fail(error.message);
    throw error;
  } finally {
    interrupted.cancel();
  }
}

function orFail<T>(context: CommandContext, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (isFluxError(error)) context.fail(error.message);
    throw error;
  }
}

/** The root to dump and its time. */
async function rootOf(
  context: CommandContext,
  store: BlobStore,
  now: number,
): Promise<{ rootref: Blobref; mtime: number }> {
  const isCheckpoint = context.options.has("checkpoint");
  try {
    if (!isCheckpoint) return { rootref: (await new Kvs(store.handle).getRoot()).rootref, mtime: Math.floor(now) };
    const { rootref, timestamp } = await store.lastCheckpoint();
    return { rootref, mtime: Math.floor(timestamp ?? now) };
  } catch (error) {
    if (!isFluxError(error)) throw error;
    const what = isCheckpoint ? "checkpoints" : "current KVS root";
    throw new FluxError(error.errnum, `error fetching ${what}: ${error.message}`, { cause: error });
  }
}

async function fetchBlobs({ store, held }: Dump, refs: readonly Blobref[]): Promise<Fetched> {
  let blobs: Uint8Array[] | null = [];
  let sizeBytes = 0;
  let index = 0;
  try {
    for await (const blob of inOrder(refs, BLOB_WINDOW, (ref) => store.load(ref))) {
      if (blobs !== null) held.bytes += blob.byteLength;
      sizeBytes += blob.byteLength;
      blobs?.push(blob);
      if (blobs !== null && held.bytes > HELD_BYTES_MAX) {
        blobs = null;
        held.bytes -= sizeBytes;
      }
      index++;
    }
  } catch (error) {
    if (blobs !== null) held.bytes -= sizeBytes;
    if (isFluxError(error, "ENOENT")) return { missing: index, error };
    throw error;
  }
  return { blobs, sizeBytes };
}

async function take(dump: Dump, event: TreeEvent<Fetched>): Promise<void> {
  const { path, object } = event;
  const place = placeOf(path);
  if (event.kind === "fault") {
    const { fault, error } = event;
    const text = faultText(fault, error, `could not load content: ${error.message}`);
    return unreadable(dump, `${place}: ${text}`, error);
  }
  if (event.kind === "value") return takeValue(dump, path, event.object, event.fetched);
  if (object.type === "symlink") return writeMember(dump, path, "symlink", { target: targetOf(object) });
  if (object.type === "val") {
    const bytes = valBytes(object);
    await writeMember(dump, path, "file", { sizeBytes: bytes.byteLength });
    await dump.output.write(concatBytes([bytes, new Uint8Array(tarPaddingBytes(bytes.byteLength))]));
  }
}

async function takeValue(dump: Dump, path: TreePath, object: Valref, fetched: Fetched): Promise<void> {
  if ("missing" in fetched)
    return unreadable(
      dump,
      `${placeOf(path)}: missing blobref ${fetched.missing}: ${fetched.error.message}`,
      fetched.error,
    );
  const { output, store, held } = dump;
  const { sizeBytes } = fetched;
  await writeMember(dump, path, "file", { sizeBytes });
  const blobs = fetched.blobs ?? inOrder(object.data, BLOB_WINDOW, (ref) => store.load(ref));
  for await (const blob of blobs) await output.write(blob);
  if (fetched.blobs !== null) held.bytes -= sizeBytes;
  await output.write(new Uint8Array(tarPaddingBytes(sizeBytes)));
}

/** A key that cannot be read: a warning where that was asked for, else the end. */
function unreadable({ context, progress }: Dump, text: string, error: FluxError): void {
  if (!context.options.has("ignore-failed-read")) throw new FluxError(error.errnum, text, { cause: error });
  progress.say(text);
}

async function writeMember(
  dump: Dump,
  path: TreePath,
  kind: "file" | "symlink",
  values: Partial<TarMember>,
): Promise<void> {
  const place = placeOf(path);
  const records = keyRecords(path);
  await dump.output.write(encodeTarHeader(plainMember(kind, place, { ...dump.common, ...values, records })));
  dump.progress.add(place);
}

/** Where a key is in an archive: there names are set apart by slashes. */
function placeOf(path: TreePath): string {
  return path.join("/");
}

function targetOf({ data }: Treeobj & { readonly type: "symlink" }): string {
  return data.namespace === undefined ? data.target : `${data.namespace}::${data.target}`;
}

export const command: Command = defineCommand({
  name: "dump",
  usageProgram: "flux dump",
  dialect: "getopt",
  summary: "Dump KVS snapshot to a portable archive format",
  usage: "[OPTIONS] OUTFILE",
  options: [
    { names: ["verbose"], short: "v", help: "List keys on stderr as they are archived" },
    progressOptions.quiet,
    { names: ["checkpoint"], help: "Dump from checkpoint" },
    { names: ["no-cache"], help: "Bypass the broker content cache" },
    { names: ["ignore-failed-read"], help: "Treat content load errors as non-fatal" },
    progressOptions.sdNotify,
    maxRequestsOption(`Increase number of concurrent requests (default ${DEFAULT_REQUESTS})`),
    latestOption,
  ],
  run,
});
