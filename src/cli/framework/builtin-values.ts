/**
 * What is fixed by where Flux is installed (BUILTIN VALUES of flux-config(1)), and the environment that `flux` gives its
 * sub-commands from it (flux-environment(7)).
 *
 * Each search path is: what FLUX_..._PREPEND names, the installed directories, what the variable held before; no directory
 * twice. Directories are named whether they exist or not: what is put there is found.
 */
import { join } from "node:path";
import { fluxCommandPath, installRoot, pmiLibraryPath } from "../../host/paths.ts";
import { tidyPathLists } from "../../broker/environment.ts";

const CONFIG_DIRECTORY = "/etc/flux";

/** By the names of `flux config builtin`. */
export function builtinValues(): Readonly<Record<string, string>> {
  const root = installRoot();
  return {
    rc1_path: "flux modprobe rc1",
    rc3_path: "flux modprobe rc3",
    shell_path: fluxCommandPath(),
    shell_pluginpath: join(root, "lib", "flux", "shell", "plugins"),
    shell_initrc: join(CONFIG_DIRECTORY, "shell", "initrc.ts"),
    jobtap_pluginpath: join(root, "lib", "flux", "job-manager", "plugins"),
    rundir: "/run/flux",
    confdir: CONFIG_DIRECTORY,
    libexecdir: join(root, "libexec"),
    lua_cpath_add: join(root, "lib", "lua", "5.1", "?.so"),
    lua_path_add: join(root, "share", "lua", "5.1", "?.lua"),
    python_path: join(root, "lib", "flux", "python3"),
    man_path: join(root, "share", "man"),
    exec_path: join(root, "libexec"),
    connector_path: join(root, "lib", "flux", "connectors"),
    module_path: join(root, "lib", "flux", "modules"),
    pmi_library_path: pmiLibraryPath(),
    cmdhelp_pattern: join(root, "share", "flux", "help.d", "*.json"),
    datadir: join(root, "share", "flux"),
    upmi_pluginpath: join(root, "lib", "flux", "upmi", "plugins"),
    no_docs_path: join(root, "share", "flux", ".nodocs"),
  };
}

/** The value; null where there is none of that name. */
export function builtinValue(name: string): string | null {
  const values = builtinValues();
  return Object.hasOwn(values, name) ? values[name]! : null;
}

type Environment = Record<string, string | undefined>;

/** Variable, its PREPEND variable, the key of the installed part, and what stands between entries. */
const SEARCH_PATHS = [
  ["LUA_PATH", "FLUX_LUA_PATH_PREPEND", "lua_path_add", ";"],
  ["FLUX_EXEC_PATH", "FLUX_EXEC_PATH_PREPEND", "exec_path", ":"],
  ["LUA_CPATH", "FLUX_LUA_CPATH_PREPEND", "lua_cpath_add", ";"],
  ["FLUX_CONNECTOR_PATH", "FLUX_CONNECTOR_PATH_PREPEND", "connector_path", ":"],
  ["FLUX_MODULE_PATH", "FLUX_MODULE_PATH_PREPEND", "module_path", ":"],
] as const;

/** The variables that `flux -v` and `flux env` show, in this order. */
export const SHOWN_VARIABLES: readonly string[] = [
  "LUA_PATH",
  "FLUX_EXEC_PATH",
  "LUA_CPATH",
  "FLUX_CONNECTOR_PATH",
  "MANPATH",
  "FLUX_MODULE_PATH",
];

/** Sets what sub-commands find in their environment. Doing so again changes nothing. */
export function prepareEnvironment(environment: Environment): void {
  const values = builtinValues();
  for (const [name, prepend, key, separator] of SEARCH_PATHS) {
    const path = joinLists(separator, environment[prepend], values[key], environment[name]);
    // Lua adds its own directories at two separators.
    environment[name] = separator === ";" ? `${path};;;` : path;
  }
  // A colon at the end: where the user names no directories of manuals, the system's own count.
  environment["MANPATH"] = `${values["man_path"]}:${environment["MANPATH"] ?? ""}`;
  tidyPathLists(environment);
  const { FLUX_PYTHONPATH_PREPEND: prepend } = environment;
  if (prepend !== undefined) environment["PYTHONPATH"] = joinLists(":", prepend, environment["PYTHONPATH"]);
}

/** PYTHONPATH for programs in Python that use Flux. */
export function pythonPath(environment: Environment): string {
  return joinLists(
    ":",
    environment["FLUX_PYTHONPATH_PREPEND"],
    builtinValue("python_path")!,
    environment["PYTHONPATH"],
  );
}

/** The entries of lists, one after the other; of an entry that comes again only the first stays. */
function joinLists(separator: string, ...lists: readonly (string | undefined)[]): string {
  const entries = lists.flatMap((list) => (list ?? "").split(separator)).filter((entry) => entry !== "");
  return [...new Set(entries)].join(separator);
}
