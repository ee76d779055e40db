/**
 * Where somebody has said by files of flux-modprobe(1), or by the table `modules` of the configuration, which services start
 * and what is done beside that, `flux modprobe rc1` starts them and `flux modprobe rc3` stops them. Without any of that the
 * broker does the same by itself, and faster.
 */
import { isJsonObject } from "../base/json.ts";
import type { Disk } from "../base/ports.ts";
import type { Core } from "./core.ts";
import { restoreSnapshot, type RunCommand } from "./snapshots.ts";

const DEFAULT_PATH = "/etc/flux/modprobe";
const FILES = ["modprobe.toml", "rc1.py", "rc3.py"];
const DIRECTORIES = [
  ["modprobe.d", ".toml"],
  ["rc1.d", ".py"],
  ["rc3.d", ".py"],
] as const;

/** The directories of the configuration, later ones overriding earlier ones. */
export function modprobePath(env: Readonly<Record<string, string>>): string[] {
  const path = env["FLUX_MODPROBE_PATH"] ?? DEFAULT_PATH;
  return `${path}:${env["FLUX_MODPROBE_PATH_APPEND"] ?? ""}`.split(":").filter((directory) => directory !== "");
}

export function hasSiteServices({ options, config }: Core): boolean {
  if (isJsonObject(config["modules"])) return true;
  return modprobePath(options.environment).some((directory) => hasFiles(options.ports.disk, directory));
}

function hasFiles(disk: Disk, directory: string): boolean {
  if (disk.info(directory)?.kind !== "directory") return false;
  if (FILES.some((name) => disk.info(`${directory}/${name}`) !== null)) return true;
  return DIRECTORIES.some(([name, ending]) => {
    const path = `${directory}/${name}`;
    return disk.info(path)?.kind === "directory" && disk.list(path).some((file) => file.endsWith(ending));
  });
}

/** Resolves with the exit code of what failed, or 0. */
export async function startSiteServices(core: Core, run: RunCommand): Promise<number> {
  const { attributes, rank } = core.options;
  if (rank === 0 && (attributes.get("content.restore") ?? "") !== "") {
    const loaded = await run(["flux", "modprobe", "load", "content"]);
    const restored = loaded === 0 ? await restoreSnapshot(core, run) : loaded;
    if (restored !== 0) return restored;
  }
  return run(["flux", "modprobe", "rc1"]);
}

/** Stops all but what keeps the blobs: of these a dump may be wanted first. */
export function stopSiteServices(run: RunCommand): Promise<number> {
  return run(["flux", "modprobe", "rc3", "--keep-content"]);
}
