/**
 * Crontabs that an instance loads when it starts: all files in the directory that the attribute `cron.directory` names
 * (flux-broker-attributes(7)). The work is done by `flux cron tab`. A directory that does not exist holds none.
 */
import type { Core } from "./core.ts";
import type { RunCommand } from "./snapshots.ts";

const LOG_ERR = 3;

/** Loads the crontabs, on the leader. Resolves with 0, or the exit code of the first that could not be loaded. */
export async function loadCrontabs({ options }: Core, run: RunCommand): Promise<number> {
  const { attributes, ports, rank, log } = options;
  const directory = attributes.get("cron.directory");
  if (rank !== 0 || directory === null || ports.disk.info(directory)?.kind !== "directory") return 0;
  for (const name of ports.disk.list(directory)) {
    const path = `${directory}/${name}`;
    if (ports.disk.info(path)?.kind !== "file") continue;
    const exitCode = await run([ports.host.fluxPath, "cron", "tab", path]);
    if (exitCode === 0) continue;
    log.append("broker", LOG_ERR, `rc1.0: cron-load: could not load crontab: ${path}`);
    return exitCode;
  }
  return 0;
}
