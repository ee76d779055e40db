/** Loads a module of this program by its path from `src/`, whether sources or compiled files run. */
const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf("."));

/** `path` has no extension: "cli/commands/kvs". */
export function loadModule(path: string): Promise<unknown> {
  return import(new URL(`../../${path}${EXTENSION}`, import.meta.url).href);
}
