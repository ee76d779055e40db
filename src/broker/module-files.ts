/**
 * Where the code of a module is (flux-module(1)): a part of this program, by its name, or a file, by its path or in
 * FLUX_MODULE_PATH. What runs a file is told by its suffix.
 */
import { FluxError, isFluxError } from "../base/errors.ts";
import type { Disk, FileInfo } from "../base/ports.ts";
import type { ModuleDefinition } from "../sdk/module.ts";
import type { ModuleFile } from "./module-host.ts";

/** The services that a broker can load, by name; each is fetched when it is first wanted. */
export type ModuleRegistry = Readonly<Record<string, () => Promise<ModuleDefinition>>>;

/** Commands of `flux` that run a module, and the files that each is for. */
const LOADERS: readonly (readonly [string, RegExp])[] = [
  ["module-exec", /\.so(\.\d+)*$/],
  ["module-python-exec", /\.py$/],
  ["module-node-exec", /\.[mc]?[jt]s$/],
];

/** `/usr/lib/flux/modules/kvs.so` is `kvs`. */
export function moduleNameOf(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  const suffix = LOADERS.map(([, suffixes]) => suffixes.exec(file)?.[0]).find((found) => found !== undefined) ?? "";
  const name = file.slice(0, file.length - suffix.length);
  // Without a loader of ours, what is behind the last dot is no part of the name either.
  return suffix === "" && path.includes("/") ? name.replace(/(?<=.)\.[^.]*$/, "") : name;
}

export async function builtinModule(registry: ModuleRegistry, name: string): Promise<ModuleDefinition> {
  if (!Object.hasOwn(registry, name)) throw new FluxError("ENOENT", "module not found in search path");
  return registry[name]!();
}

export interface ModuleRequest {
  readonly path: string;
  /** What runs the file, where the suffix is not to say so. */
  readonly loader: string | null;
}

/** The file of a module; null: it is part of this program. Throws FluxError where there is none, or nothing runs it. */
export function findModuleFile(
  request: ModuleRequest,
  registry: ModuleRegistry,
  disk: Disk,
  searchPath: readonly string[],
): ModuleFile | null {
  const { path, loader } = request;
  const isPath = path.includes("/");
  const isBuiltin = Object.hasOwn(registry, moduleNameOf(path));
  if (!isPath && isBuiltin) return null;
  const found = isPath ? (disk.info(path)?.kind === "file" ? path : null) : searchIn(disk, searchPath, path);
  // The path of a module in another installation of Flux names what is here.
  if (found === null && isBuiltin) return null;
  if (found === null)
    throw isPath
      ? new FluxError("ENOENT", `${path}: No such file`)
      : new FluxError("ENOENT", "module not found in search path");
  const fitting = loader ?? LOADERS.find(([, suffixes]) => suffixes.test(found))?.[0];
  if (fitting === undefined) throw new FluxError("EINVAL", "could not determine loader from path suffix");
  return { path: found, loader: fitting };
}

/**
 * What starts a loader: a program of that path, `flux-LOADER` (perhaps in Python) in a directory, or a command of `flux`
 * itself. Not by `flux`, where there is a program: it would not hand the channel on.
 */
export function loaderCommand(
  loader: string,
  fluxPath: string,
  disk: Disk,
  env: Readonly<Record<string, string>>,
): readonly string[] {
  const directories = [env["FLUX_EXEC_PATH"], env["PATH"]].flatMap((list) => (list ?? "").split(":"));
  if (loader.includes("/")) return [loader];
  for (const directory of directories) {
    if (directory === "") continue;
    const program = `${directory}/flux-${loader}`;
    if (kindOf(disk, program) === "file") return [program];
    if (kindOf(disk, `${program}.py`) === "file") return [env["FLUX_PYTHON"] ?? "python3", `${program}.py`];
  }
  return [fluxPath, loader];
}

/** A directory of a search path that we may not look into has nothing for us. */
function kindOf(disk: Disk, path: string): FileInfo["kind"] | null {
  try {
    return disk.info(path)?.kind ?? null;
  } catch (error) {
    if (isFluxError(error, "EACCES")) return null;
    throw error;
  }
}

function searchIn(disk: Disk, directories: readonly string[], name: string): string | null {
  for (const directory of directories) {
    if (directory === "" || kindOf(disk, directory) !== "directory") continue;
    const file = disk
      .list(directory)
      .find((each) => moduleNameOf(each) === name && LOADERS.some(([, suffixes]) => suffixes.test(each)));
    if (file !== undefined && disk.info(`${directory}/${file}`)?.kind === "file") return `${directory}/${file}`;
  }
  return null;
}
