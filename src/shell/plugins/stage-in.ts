/**
 * Archives (`flux archive`) that a job wants in its temporary directory, or in another one, before its tasks start (the
 * shell options `stage-in` in flux-shell-options(7)).
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { ARCHIVE_DEFAULT_NAME, archiveKey, matchingEntries, readArchive } from "../../sdk/archive.ts";
import { extractArchive } from "../../sdk/archive-extract.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import { unpackedText } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext } from "../plugin.ts";

const COMPONENT = "stage-in";
const KNOWN: ReadonlySet<string> = new Set(["names", "tags", "pattern", "destination", "allow-outside-links"]);

interface StageIn {
  readonly names: readonly string[];
  readonly pattern: string | null;
  readonly directory: string;
  readonly allowsOutsideLinks: boolean;
}

export const stageInPlugin: PluginFactory = (shell) => {
  if (!shell.plan.options.isOn("stage-in")) return null;
  const stageIn = stageInOf(shell);
  // A directory that all nodes share is filled by one of them.
  if (stageIn === null) return null;
  return { init: () => extractAll(shell, stageIn) };
};

/** What is wanted; null where another node does it. Throws EINVAL. */
function stageInOf(shell: ShellContext): StageIn | null {
  const value = shell.plan.options.value(COMPONENT);
  const options: JsonObject = isJsonObject(value) ? value : {};
  for (const name of Object.keys(options))
    if (!KNOWN.has(name)) throw new FluxError("EINVAL", `Error parsing stage_in shell option: ${unpackedText([name])}`);
  if (options["tags"] !== undefined && shell.isLeader)
    shell.log(ShellLogLevel.warning, "stage-in.tags is deprecated: use stage-in.names", COMPONENT);
  const names = textOf(options, "names") ?? textOf(options, "tags") ?? ARCHIVE_DEFAULT_NAME;
  const destination = /^(?:([a-z]+):)?(.*)$/s.exec(textOf(options, "destination") ?? "")!;
  const [, scope = "local", path = ""] = destination;
  if (scope !== "local" && scope !== "global")
    throw new FluxError("EINVAL", `destination prefix must be local: or global:, not ${scope}:`);
  if (scope === "global" && !shell.isLeader) return null;
  return {
    names: names.split(",").filter((name) => name !== ""),
    pattern: textOf(options, "pattern"),
    directory: path === "" ? shell.tmpdir : path,
    allowsOutsideLinks: shell.plan.options.isOn(`${COMPONENT}.allow-outside-links`),
  };
}

function textOf(options: JsonObject, name: string): string | null {
  const value = options[name];
  if (value === undefined || value === null) return null;
  if (typeof value === "string" || typeof value === "number") return String(value);
  throw new FluxError("EINVAL", `Error parsing stage_in shell option: ${name} must be a text`);
}

async function extractAll(shell: ShellContext, stageIn: StageIn): Promise<void> {
  const { handle, ports } = shell.host;
  const { directory, pattern, allowsOutsideLinks } = stageIn;
  if (ports.files.status(directory)?.kind !== "directory")
    throw new FluxError("ENOTDIR", `${COMPONENT}: destination ${directory} is no directory`);
  const kvs = new Kvs(handle, PRIMARY_NAMESPACE);
  // What was archived before the job was submitted is to be found on any node.
  const { rootseq } = await handle.rpc<{ rootseq: number }>("kvs.getroot", { namespace: kvs.namespace }, { nodeid: 0 });
  await kvs.waitVersion(rootseq);
  for (const name of stageIn.names) {
    try {
      const entries = matchingEntries(await readArchive(kvs, name), pattern);
      await extractArchive(handle, ports.files, entries, {
        directory,
        overwrites: false,
        allowsOutsideLinks,
        extracting: ({ path }) => shell.log(ShellLogLevel.trace, path, COMPONENT),
      });
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      const where = error.is("ENOENT")
        ? `could not lookup ${archiveKey(name)} in primary KVS namespace`
        : archiveKey(name);
      throw new FluxError(error.errnum, `${COMPONENT}: ${where}: ${error.message}`, { cause: error });
    }
  }
}
