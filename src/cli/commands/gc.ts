/** `flux gc`: collects the blobs that nothing refers to, in a running instance (flux-gc(1)). */
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonValue } from "../../base/json.ts";
import { isBlobref, type Blobref } from "../../formats/blobref.ts";
import { checkCheckpoint, type Checkpoint } from "../../formats/checkpoint.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { BlobStore } from "../snapshots/blobs.ts";
import { maxRequests, maxRequestsOption } from "../snapshots/options.ts";
import { faultText, walkTree } from "../snapshots/walk.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { orFailAt } from "../framework/or-fail.ts";

const DEFAULT_REQUESTS = 2;
/** Blobrefs in one request. */
const MARK_BATCH = 1000;
/** Blobs that one request may delete, and rows that it may look at. */
const DELETE_CAP = 1000;
const SWEEP_WINDOW = 100_000;

const LEADER = { nodeid: 0 };

interface Collection {
  readonly context: CommandContext;
  readonly store: BlobStore;
  readonly window: number;
  /** Blobs that are older, and not marked, go. */
  readonly epoch: number;
  /** Rows beyond are newer than this collection. */
  readonly highWater: number;
  readonly seen: Set<Blobref>;
  /** Blobrefs to be marked with the next request. */
  batch: Blobref[];
  marked: number;
}

async function run(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const window = maxRequests(context, DEFAULT_REQUESTS);
  if (operands.length > 0) context.failUsage();
  const handle = await context.open();
  const store = new BlobStore(handle, options.has("no-cache"));
  const { current_epoch: epoch, high_water: highWater } = await orFailAt(context, "failed to fetch gc-info", () =>
    handle.rpc<{ current_epoch: number; high_water: number }>("content-backing.gc-info", { epoch: 0 }, LEADER),
  );
  say(context, `froze epoch at ${epoch}, high-water rowid ${highWater}`);
  const collection: Collection = { context, store, window, epoch, highWater, seen: new Set(), batch: [], marked: 0 };
  for (const rootref of await roots(context, store)) await markTree(collection, rootref);
  await markBatch(collection);
  say(context, "mark phase complete");
  if (options.has("test-mark-only")) return context.complain("stopping after mark phase");
  const deleted = await sweep(collection);
  context.complain(`gc complete: marked ${collection.marked}, reclaimed ${deleted} blobs (horizon epoch ${epoch})`);
}

function say(context: CommandContext, text: string, level = 1): void {
  if (context.options.count("verbose") >= level) context.complain(text);
}

/** Every version that somebody may still read. */
async function roots(context: CommandContext, store: BlobStore): Promise<Blobref[]> {
  const checkpoints = await orFailAt(context, "failed to fetch checkpoints", () => checkpointRoots(store));
  say(context, `enumerated ${checkpoints.length} checkpoint roots`);
  const namespaces = await namespaceRoots(context, store);
  if (namespaces === null) say(context, "kvs not loaded; skipping live private namespace roots");
  else say(context, `enumerated ${namespaces.length} private namespace roots`);
  const primary = namespaces === null ? null : await rootOf(context, store, PRIMARY_NAMESPACE);
  if (primary === null) say(context, "kvs not loaded; skipping live primary root");
  else say(context, "enumerated live primary root");
  const all = [...checkpoints.flatMap(rootsOf), ...(namespaces ?? []), ...(primary === null ? [] : [primary])];
  say(context, `enumerated ${all.length} total roots`);
  return all;
}

async function checkpointRoots(store: BlobStore): Promise<Checkpoint[]> {
  const backing = new BlobStore(store.handle, true);
  try {
    return (await backing.checkpoints()).map(checkCheckpoint);
  } catch (error) {
    if (isFluxError(error, "ENOENT")) return [];
    throw error;
  }
}

/** What a checkpoint refers to: its root, the namespaces besides, versions that readers hold. */
function rootsOf({ rootref, log }: Checkpoint): Blobref[] {
  if (!isJsonObject(log)) return [rootref];
  const { namespaces, held } = log;
  return [rootref, namespaces, ...(Array.isArray(held) ? (held as JsonValue[]) : [])].filter(isBlobref);
}

/** Null where there is no key-value store. */
async function namespaceRoots(context: CommandContext, store: BlobStore): Promise<Blobref[] | null> {
  let names: string[];
  try {
    names = (await new Kvs(store.handle).listNamespaces()).map(({ namespace }) => namespace);
  } catch (error) {
    if (isFluxError(error, "ENOSYS")) return null;
    if (isFluxError(error)) context.fail(`failed to list namespaces: ${error.message}`);
    throw error;
  }
  await delayForTest(context);
  const found: Blobref[] = [];
  for (const name of names) {
    const root = name === PRIMARY_NAMESPACE ? null : await rootOf(context, store, name);
    if (root !== null) found.push(root);
  }
  return found;
}

async function delayForTest(context: CommandContext): Promise<void> {
  const seconds = context.options.integer("test-delay-after-list");
  if (seconds === null) return;
  const { clock } = await context.ports();
  await new Promise<void>((resolve) => clock.after(seconds * 1000, resolve));
}

/** Null where the namespace is gone. */
async function rootOf(context: CommandContext, store: BlobStore, namespace: string): Promise<Blobref | null> {
  try {
    return (await new Kvs(store.handle, namespace).getRoot()).rootref;
  } catch (error) {
    if (isFluxError(error, "ENOENT", "ENOTSUP")) return null;
    if (isFluxError(error)) context.fail(`failed to get the root of namespace ${namespace}: ${error.message}`);
    throw error;
  }
}

/** Marks all that a root reaches. Ends the command where something cannot be read: what is below it would be lost. */
async function markTree(collection: Collection, rootref: Blobref): Promise<void> {
  const { context, store, window, seen } = collection;
  say(context, `marking from root ${rootref}`);
  if (seen.has(rootref)) return;
  await mark(collection, rootref);
  const options = {
    window,
    load: (ref: Blobref) => store.load(ref),
    fetchValue: () => Promise.resolve(null),
    // Blobs that another root reaches, too, have been walked already.
    isWanted: (ref: Blobref) => !seen.has(ref),
  };
  await orFailAt(context, "mark", async () => {
    for await (const event of walkTree(rootref, options)) {
      const { object } = event;
      if (event.kind === "fault") {
        const { fault, error } = event;
        const text = faultText(fault, error, `could not load content: ${error.message}`);
        context.fail(`${event.path.join(".")}: ${text}`);
      }
      if (event.kind === "entry" && (object.type === "dirref" || object.type === "valref"))
        for (const ref of object.data) await mark(collection, ref);
    }
  });
}

async function mark(collection: Collection, ref: Blobref): Promise<void> {
  if (collection.seen.has(ref)) return;
  collection.seen.add(ref);
  collection.batch.push(ref);
  if (collection.batch.length >= MARK_BATCH) await markBatch(collection);
}

async function markBatch(collection: Collection): Promise<void> {
  const { context, store, epoch, batch } = collection;
  if (batch.length === 0) return;
  collection.batch = [];
  const answer = await orFailAt(context, "failed to mark", () =>
    store.handle.rpc<{ marked: number }>("content-backing.mark", { epoch, hashes: batch }, LEADER),
  );
  collection.marked += answer.marked;
  say(context, `marked ${answer.marked} blobs`, 2);
}

/** Deletes what is older than the epoch, some at a time. Resolves with the number of blobs. */
async function sweep(collection: Collection): Promise<number> {
  const { context, store, epoch, highWater } = collection;
  say(context, "starting sweep phase");
  let deleted = 0;
  let cursor = 0;
  while (cursor < highWater) {
    const limits = { high_water: highWater, delete_cap: DELETE_CAP, window: SWEEP_WINDOW };
    const payload = { epoch, cursor, ...limits, spare_leased: true };
    const answer = await orFailAt(context, "failed to sweep", () =>
      store.handle.rpc<{ deleted: number; cursor: number }>("content-backing.sweep", payload, LEADER),
    );
    deleted += answer.deleted;
    say(context, `swept ${answer.deleted} blobs, cursor ${answer.cursor}/${highWater}`, 2);
    if (answer.cursor <= cursor) break;
    cursor = answer.cursor;
  }
  say(context, `sweep complete: deleted ${deleted} blobs`);
  return deleted;
}

export const command: Command = defineCommand({
  name: "gc",
  program: "flux",
  usageProgram: "flux gc",
  dialect: "getopt",
  summary: "Online garbage collection for KVS content",
  usage: "[OPTIONS]",
  options: [
    { names: ["no-cache"], help: "Bypass broker content cache" },
    maxRequestsOption(
      `Increase number of concurrent content requests during the mark phase (default ${DEFAULT_REQUESTS})`,
    ),
    { names: ["verbose"], short: "v", repeatable: true, help: "Increase verbosity" },
    { names: ["test-mark-only"], hidden: true, help: "Stop after the mark phase" },
    {
      names: ["test-delay-after-list"],
      argument: "SECONDS",
      integer: true,
      hidden: true,
      help: "Wait between listing namespaces and looking at them",
    },
  ],
  run,
});
