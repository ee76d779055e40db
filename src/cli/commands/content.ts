/** `flux content`: the content store from the command line (flux-content(1)). */
import { concatBytes, EMPTY_BYTES } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { stringifyJson, type JsonObject } from "../../base/json.ts";
import { handledLater, orNull } from "../../base/promises.ts";
import { blobrefDigest, isBlobref, type Blobref } from "../../formats/blobref.ts";
import { readCheckpoint } from "../../formats/checkpoint.ts";
import { formatSize } from "../../formats/size.ts";
import type { Handle } from "../../sdk/handle.ts";
import { BlobStore, timeText } from "../snapshots/blobs.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { orFail, orFailAt, sentenceFirst } from "../framework/or-fail.ts";

/** Blobs under way at once. */
const WINDOW = 16;

function bypass(verb: string): OptionSpec {
  return {
    names: ["bypass-cache"],
    short: "b",
    help: `${verb} directly ${verb === "Load" ? "from" : "to"} rank 0 content service`,
  };
}

/** The service to ask: the cache of this rank, or the backing store of the leader. */
function service(context: CommandContext): { topic: string; options: { nodeid?: number } } {
  return context.options.has("bypass-cache")
    ? { topic: "content-backing", options: { nodeid: 0 } }
    : { topic: "content", options: {} };
}

async function load(context: CommandContext): Promise<void> {
  const given = context.operands.length > 0 ? context.operands : await inputLines(context);
  if (given.length === 0) context.fail("no blobrefs were specified");
  const handle = await context.open();
  const { topic, options } = service(context);
  for (let start = 0; start < given.length; start += WINDOW) {
    const blobs = await orFailAt(context, "error loading blob", () =>
      Promise.all(given.slice(start, start + WINDOW).map((ref) => loadOne(handle, topic, options, ref))),
    );
    for (const blob of blobs) context.out(blob);
    await context.flush();
  }
}

async function loadOne(handle: Handle, topic: string, options: { nodeid?: number }, ref: string): Promise<Uint8Array> {
  if (!isBlobref(ref)) throw new FluxError("EINVAL");
  const answer = await handle.call(`${topic}.load`, blobrefDigest(ref), options);
  return answer?.bytes ?? EMPTY_BYTES;
}

async function inputLines(context: CommandContext): Promise<string[]> {
  const text = Buffer.from(await context.readInput()).toString();
  return text.split("\n").filter((line) => line !== "");
}

async function store(context: CommandContext): Promise<void> {
  const chunkBytes = context.options.integer("chunksize") ?? 0;
  if (chunkBytes < 0 || context.operands.length > 0) context.failUsage();
  const handle = await context.open();
  const blobs = new BlobStore(handle, context.options.has("bypass-cache"));
  await orFailAt(context, "error storing blob", async () => {
    const pending: Promise<Blobref>[] = [];
    for await (const piece of piecesOf(context.inputChunks(), chunkBytes === 0 ? Infinity : chunkBytes)) {
      pending.push(handledLater(blobs.store(piece)));
      if (pending.length >= WINDOW) context.out(`${await pending.shift()!}\n`);
    }
    for (const ref of pending) context.out(`${await ref}\n`);
  });
}

/** Bytes in pieces of a length. No bytes are one piece, too. */
async function* piecesOf(chunks: AsyncIterable<Uint8Array>, pieceBytes: number): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let isFirst = true;
  for await (const chunk of chunks) {
    let rest = chunk;
    while (heldBytes + rest.byteLength >= pieceBytes) {
      const taken = rest.subarray(0, pieceBytes - heldBytes);
      yield concatBytes([...held, taken]);
      rest = rest.subarray(taken.byteLength);
      held = [];
      heldBytes = 0;
      isFirst = false;
    }
    held.push(rest);
    heldBytes += rest.byteLength;
  }
  if (heldBytes > 0 || isFirst) yield concatBytes(held);
}

/** `content.flush` and `content.dropcache`. */
function simple(name: string, usage: string, description: string): Command {
  return defineCommand({
    name,
    summary: description,
    usage,
    dialect: "getopt",
    run: async (context) => {
      if (context.operands.length > 0) context.failUsage();
      const handle = await context.open();
      await orFail(
        context,
        () => handle.rpc(`content.${name}`),
        (error) => `content.${name}: ${sentenceFirst(error)}`,
      );
    },
  });
}

async function listCheckpoints(context: CommandContext): Promise<void> {
  const { options } = context;
  if (context.operands.length > 0) context.failUsage();
  const handle = await context.open();
  const found = await orFailAt(context, "error fetching checkpoints", () => new BlobStore(handle, false).checkpoints());
  if (options.has("json")) {
    for (const each of found) context.out(`${stringifyJson(each)}\n`);
    return;
  }
  if (!options.has("no-header")) context.out(checkpointRow("Index", "Sequence", "Time", "Rootref"));
  for (const [index, each] of found.entries()) {
    const {
      sequence = 0,
      timestamp,
      rootref,
    } = await orFailAt(context, "error parsing checkpoint", () => readCheckpoint(each));
    context.out(checkpointRow(String(index), String(sequence), `${timeText(timestamp)}Z`, rootref));
  }
}

function checkpointRow(index: string, sequence: string, time: string, rootref: string): string {
  return `${index.padEnd(10)} ${sequence.padEnd(10)} ${time.padEnd(20)} ${rootref}\n`;
}

async function updateCheckpoint(context: CommandContext): Promise<void> {
  const [rootref, ...others] = context.operands;
  if (rootref === undefined || others.length > 0) context.failUsage();
  const handle = await context.open();
  const { mods } = await handle.rpc<{ mods: { name: string }[] }>("module.list");
  if (mods.some(({ name }) => name === "kvs")) context.fail("please unload kvs module before updating checkpoint");
  if (!isBlobref(rootref)) context.fail("invalid blobref specified");
  await orFailAt(context, "error updating checkpoint", async () => {
    const sequence = await lastSequence(handle);
    const timestamp = (await context.ports()).clock.now();
    const value = { version: 1, rootref, sequence: sequence + 1, timestamp };
    await handle.rpc("content.checkpoint-put", { value }, { nodeid: 0 });
  });
}

async function lastSequence(handle: Handle): Promise<number> {
  const checkpoints = await orNull(new BlobStore(handle, false).checkpoints(), "ENOENT");
  return checkpoints === null ? 0 : (readCheckpoint(checkpoints[0]).sequence ?? 0);
}

interface Statistics extends JsonObject {
  /** Blobs in the cache of the leader. */
  readonly count: number;
  /** Bytes of them. */
  readonly size: number;
  /** The backing store, in bytes; null where there is none. */
  readonly store?: {
    readonly size: number;
    readonly live: number;
    readonly free: number;
    readonly limit: number | null;
  } | null;
}

const STATISTICS_COLUMNS = 24;

async function statistics(context: CommandContext): Promise<void> {
  if (context.operands.length > 0) context.failUsage();
  const handle = await context.open();
  const found = await orFailAt(context, "content.stats-get", () =>
    handle.rpc<Statistics>("content.stats-get", {}, { nodeid: 0 }),
  );
  if (context.options.has("json")) return context.out(`${stringifyJson(found)}\n`);
  const row = (name: string, text: string): void => context.out(`${name.padEnd(STATISTICS_COLUMNS)}${text}\n`);
  const { count, size, store } = found;
  row("Cache", `${formatSize(size)} in ${count} blobs`);
  if (store === undefined || store === null) return row("Store", "none");
  row("Store", formatSize(store.size));
  row("Referred to in it", formatSize(store.live));
  row("Limit", store.limit === null ? "none" : formatSize(store.limit));
  row("Free on its disk", formatSize(store.free));
}

const checkpoint = defineCommand({
  name: "checkpoint",
  summary: "Perform checkpoint operations",
  usage: "list [OPTIONS]\n   or: flux content checkpoint update [OPTIONS] blobref",
  dialect: "getopt",
  subcommands: [
    defineCommand({
      name: "list",
      summary: "List checkpoint(s)",
      usage: "[OPTIONS]",
      dialect: "getopt",
      options: [
        { names: ["no-header"], short: "n", help: "Do not output column headers" },
        { names: ["json"], short: "j", help: "Output raw json checkpoint data" },
      ],
      run: listCheckpoints,
    }),
    defineCommand({
      name: "update",
      summary: "Update checkpoint to specified blobref",
      usage: "[OPTIONS] blobref",
      dialect: "getopt",
      run: updateCheckpoint,
    }),
  ],
});

export const command: Command = defineCommand({
  name: "content",
  usageProgram: "flux content",
  summary: "Access content store",
  description: "Access content store",
  usage:
    "load [OPTIONS] BLOBREF ...\n" +
    "   or: flux content store [OPTIONS]\n" +
    "   or: flux content dropcache [OPTIONS]\n" +
    "   or: flux content flush [OPTIONS]\n" +
    "   or: flux content checkpoint [OPTIONS]\n" +
    "   or: flux content stats [OPTIONS]",
  dialect: "getopt",
  subcommands: [
    defineCommand({
      name: "load",
      summary: "Concatenate blobs stored under BLOBREF(s) to stdout",
      usage: "[OPTIONS] BLOBREF ...",
      dialect: "getopt",
      options: [bypass("Load")],
      run: load,
    }),
    defineCommand({
      name: "store",
      summary: "Store blob from stdin, print BLOBREF(s) on stdout",
      usage: "[OPTIONS]",
      dialect: "getopt",
      options: [
        bypass("Store"),
        {
          names: ["chunksize"],
          argument: "N",
          integer: true,
          help: "Limit blob size to N bytes with 0=unlimited (default 0)",
        },
      ],
      run: store,
    }),
    simple("dropcache", "[OPTIONS]...", "Drop non-essential entries from local content cache"),
    simple("flush", "[OPTIONS]...", "Flush dirty entries from local content cache"),
    checkpoint,
    defineCommand({
      name: "stats",
      summary: "Show the sizes of cache and store on rank 0",
      usage: "[OPTIONS]",
      dialect: "getopt",
      options: [{ names: ["json"], short: "j", help: "Output raw json statistics, sizes in bytes" }],
      run: statistics,
    }),
  ],
});
