/**
 * The files that a job brings along (`attributes.system.files` of RFC 14, entries of RFC 37): they are in the job's
 * temporary directory on every node before its tasks start. Batch scripts and configurations of instances come so.
 */
import { FluxError } from "../../base/errors.ts";
import { decodeArchive, type ArchiveEntry } from "../../formats/archive.ts";
import type { PluginFactory, ShellContext } from "../plugin.ts";

export const filesPlugin: PluginFactory = (shell) => {
  const files = shell.plan.jobspec.attributes.system?.["files"];
  if (files === undefined) return null;
  return {
    init() {
      for (const entry of decodeArchive(files)) extract(shell, entry);
    },
  };
};

/** Throws FluxError with the path in it. */
function extract({ tmpdir, host: { ports } }: ShellContext, entry: ArchiveEntry): void {
  const path = `${tmpdir}/${entry.path}`;
  const { disk } = ports;
  const directory = path.slice(0, path.lastIndexOf("/"));
  if (directory !== tmpdir) disk.makeDirectory(directory, { recursive: true });
  const mode = entry.mode & 0o777;
  switch (entry.kind) {
    case "directory":
      return disk.makeDirectory(path, { mode, recursive: true });
    case "bytes":
      return disk.writeFile(path, entry.bytes, { mode });
    case "empty": {
      const file = disk.openLog(path, { mode });
      file.truncate(entry.size);
      return file.close();
    }
    default:
      throw new FluxError("ENOTSUP", `files: ${entry.path}: an entry of the kind '${entry.kind}' cannot be extracted`);
  }
}
