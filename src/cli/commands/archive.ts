/** `flux archive`: files in the key-value store, for all nodes of an instance (flux-archive(1)). */
import { resolve } from "node:path";
import { statSync } from "node:fs";
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, stringifyJson, type JsonValue } from "../../base/json.ts";
import { decodeArchive, type ArchiveEntry } from "../../formats/archive.ts";
import { parseFsd } from "../../formats/duration.ts";
import { nodeCodec } from "../../host/codec.ts";
import { nodeFileTree } from "../../host/file-tree.ts";
import {
  ARCHIVE_DEFAULT_NAME,
  archiveExists,
  archiveKey,
  matchingEntries,
  readArchiveList,
  removeArchive,
} from "../../sdk/archive.ts";
import { CHUNK_BYTES, createArchive, SMALL_FILE_BYTES } from "../../sdk/archive-create.ts";
import { extractArchive } from "../../sdk/archive-extract.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { orFail } from "../framework/or-fail.ts";
import { sizeOption } from "../snapshots/options.ts";

const SIZE_MAX: number = 2 ** 31 - 1;

const notPrimary: OptionSpec = {
  names: ["no-force-primary"],
  help: "Do not force archive to be in the primary KVS namespace",
};
const verbose: OptionSpec = {
  names: ["verbose"],
  short: "v",
  argument: "LEVEL",
  optionalArgument: true,
  bareShort: true,
  help: "Show filenames on stderr",
};

function named(help: string): OptionSpec {
  return { names: ["name"], short: "n", argument: "NAME", help: `${help} NAME (default ${ARCHIVE_DEFAULT_NAME})` };
}

/** What `flux filemap` called `--name`. */
export const OLD_NAME_OPTION: OptionSpec = { names: ["tags"], short: "T", argument: "NAME", hidden: true, help: "" };

function nameOf(context: CommandContext): string {
  return context.options.text("name") ?? context.options.text(OLD_NAME_OPTION.names[0]!) ?? ARCHIVE_DEFAULT_NAME;
}

/** Archives are for the whole instance, unless the job's own namespace is asked for. */
async function openKvs(context: CommandContext): Promise<Kvs> {
  const own = context.options.has("no-force-primary") ? context.host.env["FLUX_KVS_NAMESPACE"] : undefined;
  return new Kvs(await context.open(), own ?? PRIMARY_NAMESPACE);
}

function directoryOf(context: CommandContext): string {
  const given = context.options.text("directory");
  const directory = resolve(context.host.cwd, given ?? ".");
  try {
    if (statSync(directory).isDirectory()) return directory;
    return context.fail(`chdir ${given}: Not a directory`);
  } catch (error) {
    return context.fail(
      `chdir ${given}: ${errorText(error).includes("ENOENT") ? "No such file or directory" : errorText(error)}`,
    );
  }
}

function size(context: CommandContext, option: string, fallback: number): number {
  return sizeOption(context, option, `flux archive ${context.command.name}: ${context.command.name}`) ?? fallback;
}

export const create: Command = {
  name: "create",
  dialect: "getopt",
  summary: "Create a KVS file archive",
  usage: "[-n NAME] [-C DIR] [--preserve] PATH ...",
  options: [
    named("Write to archive"),
    notPrimary,
    { names: ["directory"], short: "C", argument: "DIR", help: "Change to DIR before reading files" },
    { ...verbose, help: "List files as they are added" },
    { names: ["overwrite"], help: "Overwrite existing archive" },
    { names: ["append"], help: "Append to existing archive" },
    { names: ["preserve"], help: "Accepted: data is always kept as long as the archive" },
    { names: ["mmap"], help: "Leave larger files in place; rank 0 reads them on demand" },
    { names: ["chunksize"], argument: "N", help: "Limit the size of blobs to N bytes (default 1M; 0: no limit)" },
    { names: ["small-file-threshold"], argument: "N", help: "Store files up to N bytes in the archive (default 1K)" },
  ],
  run: (context) => createFromOptions(context, context.options.has("mmap")),
};

export async function createFromOptions(context: CommandContext, isMapped: boolean): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) return context.failUsage();
  if (options.has("overwrite") && options.has("append"))
    context.fail("--overwrite and --append cannot be used together");
  if (isMapped && options.has("preserve")) context.fail("--mmap cannot work with --preserve");
  if (isMapped && options.has("no-force-primary")) context.fail("--mmap cannot work with --no-force-primary");
  const chunkBytes = size(context, "chunksize", CHUNK_BYTES);
  const smallFileBytes = size(context, "small-file-threshold", SMALL_FILE_BYTES);
  const directory = directoryOf(context);
  const kvs = await openKvs(context);
  const existing = options.has("overwrite") ? "overwrite" : options.has("append") ? "append" : "refuse";
  const wording = (error: FluxError): string => (error.is("ENOTSUP") ? "kvs commit: " : "") + error.message;
  const creating = (): Promise<void> =>
    createArchive(
      kvs,
      { files: nodeFileTree(), codec: nodeCodec() },
      {
        name: nameOf(context),
        paths: operands,
        directory,
        existing,
        chunkBytes,
        smallFileBytes,
        isMapped,
        added: (path) => {
          if (options.has("verbose")) context.out(`${path}\n`);
        },
      },
    );
  await orFail(context, creating, wording);
}

/** What an archive holds, after waiting for it where that is wanted. */
async function listOf(context: CommandContext, kvs: Kvs): Promise<Awaited<ReturnType<typeof readArchiveList>>> {
  const name = nameOf(context);
  try {
    if (context.options.has("waitcreate")) await waitFor(context, kvs, archiveKey(name));
    return await readArchiveList(kvs, name);
  } catch (error) {
    if (isFluxError(error, "EINVAL")) return context.fail(error.message);
    if (error instanceof FluxError) return context.fail(`KVS lookup ${archiveKey(name)}: ${error.message}`);
    throw error;
  }
}

async function waitFor(context: CommandContext, kvs: Kvs, key: string): Promise<void> {
  const text = context.options.text("waitcreate");
  const arrival = kvs.waitCreate(key);
  if (text === null) return void (await arrival);
  const seconds = await orFail(
    context,
    () => parseFsd(text),
    () => "could not parse --waitcreate timeout: Invalid argument",
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new FluxError("ETIMEDOUT")), Math.min(seconds * 1000, SIZE_MAX));
  });
  try {
    await Promise.race([arrival, late]);
  } catch (error) {
    if (isFluxError(error, "ETIMEDOUT")) context.fail(`${key}: key was not created within timeout window`);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What is asked for of an archive, as `decode` has it. */
async function chosen<Entry extends { readonly path: string }>(
  context: CommandContext,
  kvs: Kvs,
  decode: (list: readonly JsonValue[]) => readonly Entry[],
): Promise<readonly Entry[]> {
  if (context.operands.length > 1) return context.failUsage();
  const pattern = context.operands[0] ?? null;
  const list = await listOf(context, kvs);
  const entries = await orFail(context, () => Promise.resolve(list).then(decode));
  const matching = matchingEntries(entries, pattern);
  if (matching.length === 0 && pattern !== null) context.complain(`No files matched pattern '${pattern}'`);
  return matching;
}

/** The entries as they are stored, also those that no archive should have. */
function storedEntries(list: readonly JsonValue[]): readonly { path: string; stored: JsonValue }[] {
  return list.map((stored) => ({ path: isJsonObject(stored) ? String(stored["path"]) : "", stored }));
}

export const list: Command = {
  name: "list",
  dialect: "getopt",
  summary: "List KVS file archive contents",
  usage: "[-n NAME] [PATTERN]",
  options: [
    named("Read from archive"),
    notPrimary,
    { names: ["long"], short: "l", help: "Show file type, mode, size" },
    { names: ["raw"], help: "Show raw RFC 37 file system object without decoding" },
  ],
  run: async (context) => {
    const kvs = await openKvs(context);
    if (context.options.has("raw")) {
      for (const { stored } of await chosen(context, kvs, storedEntries)) context.out(`${stringifyJson(stored)}\n`);
      return;
    }
    for (const entry of await chosen(context, kvs, decodeArchive))
      context.out(`${context.options.has("long") ? longLine(entry) : entry.path}\n`);
  },
};

const LETTERS: Readonly<Record<ArchiveEntry["kind"], string>> = {
  directory: "d",
  symlink: "l",
  bytes: "f",
  empty: "f",
  blobs: "f",
};

function longLine(entry: ArchiveEntry): string {
  const bytes = entry.kind === "bytes" ? entry.bytes.byteLength : "size" in entry ? entry.size : 0;
  const mode = (entry.mode & 0o777).toString(8).padStart(4, "0");
  return `${LETTERS[entry.kind]} ${mode} ${String(bytes).padStart(8)} ${entry.path}`;
}

export const extract: Command = {
  name: "extract",
  dialect: "getopt",
  summary: "Extract KVS file archive contents",
  usage: "[-n NAME] [--overwrite] [-C DIR] [PATTERN]",
  options: [
    named("Read from archive"),
    verbose,
    { names: ["directory"], short: "C", argument: "DIR", help: "Change to DIR before extracting" },
    { names: ["overwrite"], help: "Overwrite existing files when extracting" },
    {
      names: ["waitcreate"],
      argument: "FSD",
      optionalArgument: true,
      help: "Wait for KVS archive key to appear (timeout optional)",
    },
    notPrimary,
    { names: ["list-only"], short: "t", help: "List table of contents without extracting" },
    { names: ["allow-outside-links"], help: "Extract symbolic links that lead out of DIR, too" },
  ],
  run: (context) => extractFromOptions(context, context.options.has("allow-outside-links")),
};

export async function extractFromOptions(context: CommandContext, allowsOutsideLinks: boolean): Promise<void> {
  const { options } = context;
  const directory = directoryOf(context);
  const kvs = await openKvs(context);
  const entries = await chosen(context, kvs, decodeArchive);
  if (options.has("list-only")) {
    for (const entry of entries) context.out(`${options.has("verbose") ? longLine(entry) : entry.path}\n`);
    return;
  }
  await orFail(context, () =>
    extractArchive(kvs.handle, nodeFileTree(), entries, {
      directory,
      overwrites: options.has("overwrite"),
      allowsOutsideLinks,
      extracting: (entry) => {
        if (options.has("verbose")) context.err(`${entry.path}\n`);
      },
    }),
  );
}

export const remove: Command = {
  name: "remove",
  dialect: "getopt",
  summary: "Remove a KVS file archive",
  usage: "[-n NAME] [-f]",
  options: [
    named("Remove archive"),
    notPrimary,
    { names: ["force"], short: "f", help: "Ignore a nonexistent archive" },
  ],
  run: async (context) => {
    if (context.operands.length > 0) context.failUsage();
    const kvs = await openKvs(context);
    const name = nameOf(context);
    await orFail(context, async () => {
      if (!context.options.has("force") && !(await archiveExists(kvs, name)))
        throw new FluxError("ENOENT", `${archiveKey(name)} does not exist`);
      await removeArchive(kvs, name);
    });
  },
};

export const command: Command = defineCommand({
  name: "archive",
  usageProgram: "flux archive",
  dialect: "getopt",
  summary: "Flux KVS file archive utility",
  description: "Flux KVS file archive utility",
  listsUsages: true,
  subcommands: [create, remove, extract, list],
});
