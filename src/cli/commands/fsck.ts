/**
 * `flux fsck`: checks that what a version of the key-value store refers to is in the content store, and can be read
 * (flux-fsck(1)); repairs it on demand.
 */
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import { isBlobref, type Blobref } from "../../formats/blobref.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { Valref } from "../../formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import { BlobStore, isKvsLoaded, timeText } from "../snapshots/blobs.ts";
import { Repair } from "../snapshots/repair.ts";
import { faultText, walkTree, type TreePath } from "../snapshots/walk.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

/** Requests under way at once. */
const WINDOW = 16;
/** Blobs of one value that are asked for at once. */
const VALUE_WINDOW = 64;
/** Where a checkpoint's directory of namespaces has their roots. */
const NAMESPACE_ROOTS = "roots";

interface Check {
  readonly context: CommandContext;
  readonly store: BlobStore;
  readonly repair: Repair | null;
  errors: number;
}

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  if (operands.length > 0) context.failUsage();
  const given = options.text("rootref");
  if (given !== null && !isBlobref(given)) context.fail("invalid blobref specified");
  const handle = await context.open();
  const isRepair = options.has("repair");
  if (isRepair && (await isKvsLoaded(handle))) context.fail("please unload kvs module before using flux-fsck --repair");
  const store = new BlobStore(handle, true);
  const checkpoint = given === null ? await lastCheckpoint(context, store) : null;
  const rootref = given ?? checkpoint!.rootref;
  if (checkpoint !== null) context.out(`Checking integrity of checkpoint from ${timeText(checkpoint.timestamp)}\n`);
  const repair = isRepair ? await openRepair(context, store, rootref) : null;
  const check: Check = { context, store, repair, errors: 0 };
  await checkTree(check, rootref, (path) => path.join("."), repair);
  if (checkpoint !== null) await checkNamespaces(check, checkpoint);
  if (check.errors > 0 || options.has("verbose")) context.complain(`Total errors: ${check.errors}`);
  await repair?.finish();
  return check.errors > 0 ? 1 : 0;
}

async function lastCheckpoint(context: CommandContext, store: BlobStore): Promise<Checkpoint> {
  try {
    return await store.lastCheckpoint().catch((error: unknown) => firstCheckpoint(store, error));
  } catch (error) {
    if (isFluxError(error)) context.fail(`error fetching checkpoints: ${error.message}`);
    throw error;
  }
}

/** Before the first checkpoint of an instance, the key-value store is asked for one. */
async function firstCheckpoint(store: BlobStore, error: unknown): Promise<Checkpoint> {
  if (!isFluxError(error, "ENOENT")) throw error;
  try {
    await new Kvs(store.handle).commit(new KvsTransaction(), { sync: true });
  } catch (reason) {
    if (isFluxError(reason, "ENOSYS")) throw error;
    throw reason;
  }
  return store.lastCheckpoint();
}

async function openRepair(context: CommandContext, store: BlobStore, rootref: Blobref): Promise<Repair> {
  try {
    return await Repair.open(context, store, rootref);
  } catch (error) {
    if (isFluxError(error)) context.fail("blobref does not refer to a valid RFC 11 tree object");
    throw error;
  }
}

/** Checks one tree; `nameOf` gives the name under which a key is told. */
async function checkTree(
  check: Check,
  rootref: Blobref,
  nameOf: (path: TreePath) => string,
  repair: Repair | null,
): Promise<void> {
  const { context, store } = check;
  const options = {
    window: WINDOW,
    load: (ref: Blobref) => store.load(ref),
    fetchValue: (object: Valref) => missingBlobs(store, object),
  };
  try {
    for await (const event of walkTree<number[]>(rootref, options)) {
      const { path } = event;
      if (event.kind === "entry") {
        if (context.options.has("verbose") && !context.options.has("quiet")) context.complain(nameOf(path));
      } else if (event.kind === "fault") {
        check.errors++;
        context.complain(`${nameOf(path)}: ${faultText(event.fault, event.error, "missing dirref blobref")}`);
        if (path.length > 0) await repair?.directory(path, event.object);
      } else if (event.fetched.length > 0) {
        check.errors++;
        tellMissing(context, nameOf(path), event.fetched);
        await repair?.value(path, event.object, event.fetched);
      }
    }
  } catch (error) {
    if (isFluxError(error)) context.fail(error.message);
    throw error;
  }
}

function tellMissing(context: CommandContext, name: string, missing: readonly number[]): void {
  if (!context.options.has("verbose")) context.complain(`${name}: missing blobref(s)`);
  else for (const index of missing) context.complain(`${name}: missing blobref index=${index}`);
}

/** The positions of the blobs of a value that the store lacks. */
async function missingBlobs(store: BlobStore, { data }: Valref): Promise<number[]> {
  const missing: number[] = [];
  for (let start = 0; start < data.length; start += VALUE_WINDOW) {
    const refs = data.slice(start, start + VALUE_WINDOW);
    const found = await Promise.all(refs.map((ref) => store.isStored(ref)));
    found.forEach((isThere, index) => isThere || missing.push(start + index));
  }
  return missing;
}

/** The other namespaces that a checkpoint keeps: they are checked, not repaired. */
async function checkNamespaces(check: Check, checkpoint: Checkpoint): Promise<void> {
  const log = checkpoint["log"];
  const ref = isJsonObject(log) ? log["namespaces"] : null;
  if (!isBlobref(ref)) return;
  const nameOf = ([part, namespace, ...names]: TreePath): string =>
    part === NAMESPACE_ROOTS && namespace !== undefined ? `${namespace}::${names.join(".")}` : "(namespaces)";
  await checkTree(check, ref, nameOf, null);
}

export const command: Command = defineCommand({
  name: "fsck",
  usageProgram: "flux fsck",
  dialect: "getopt",
  summary: "check integrity of content store data",
  usage: "[OPTIONS]",
  options: [
    { names: ["verbose"], short: "v", help: "List keys as they are being validated" },
    { names: ["quiet"], short: "q", help: "Reduce output to essential information." },
    { names: ["rootref"], short: "r", argument: "BLOBREF", help: "Check integrity starting with BLOBREF" },
    { names: ["repair"], short: "R", help: "Repair recoverable keys and place in lost+found" },
    { names: ["job-aware"], short: "j", help: "Move all job data to lost+found if errors found" },
  ],
  run,
});
