/**
 * The modules that come with Flux, for `flux modprobe`: who needs whom, and in which order they start. What a site adds
 * is read from `modprobe.toml` and `modprobe.d/*.toml` of the search path, and from the broker's configuration.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { modprobePath } from "../../broker/site-services.ts";
import { parseToml } from "../../formats/toml.ts";
import { unitOf, UnitTable } from "./units.ts";

const MODULES: readonly JsonObject[] = [
  { name: "heartbeat" },
  { name: "cron", ranks: "0", args: ["sync=heartbeat.pulse"], requires: ["heartbeat"], after: ["heartbeat"] },
  { name: "content", requires: ["heartbeat", "content-backing"] },
  { name: "content-sqlite", ranks: "0", provides: ["content-backing"], after: ["content"] },
  { name: "content-files", ranks: "0", provides: ["content-backing"], after: ["content"], priority: 50 },
  { name: "kvs", requires: ["content", "heartbeat"], after: ["content-backing", "content"] },
  { name: "kvs-watch", requires: ["kvs"], after: ["kvs"] },
  { name: "shell-agent", requires: ["kvs"], after: ["kvs"] },
  { name: "resource", requires: ["kvs-watch"], after: ["kvs-watch"] },
  { name: "job-manager", ranks: "0", requires: ["resource", "kvs"], after: ["resource", "kvs"] },
  { name: "job-info", ranks: "0", requires: ["kvs-watch", "kvs"], after: ["job-manager"] },
  { name: "job-list", ranks: "0", requires: ["job-manager"], after: ["job-manager"] },
  {
    name: "sched-simple",
    ranks: "0",
    provides: ["sched", "feasibility"],
    requires: ["job-manager", "resource"],
    after: ["job-manager", "resource"],
    priority: 50,
  },
  ...["sched-fifo", "sched-backfill"].map((name) => ({
    name,
    ranks: "0",
    provides: ["sched", "feasibility"],
    requires: ["job-manager", "resource"],
    after: ["job-manager", "resource"],
    priority: 40,
  })),
  {
    name: "job-exec",
    ranks: "0",
    requires: ["kvs", "job-manager", "shell-agent"],
    after: ["job-manager", "shell-agent"],
  },
  { name: "job-ingest", ranks: "all", requires: ["kvs", "job-manager"], after: ["job-manager"] },
];

/** The files of a directory with an ending, sorted by name. None where there is no such directory. */
export function filesIn(directory: string, ending: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** All modules: those of Flux, of the search path, of the broker's configuration. Throws EINVAL for a bad file. */
export function readCatalog(
  env: Readonly<Record<string, string>>,
  config: JsonObject,
  told: (text: string) => void,
): UnitTable {
  const table = new UnitTable();
  for (const module of MODULES) table.add(unitOf(module, "module"));
  for (const directory of modprobePath(env)) {
    const files = [
      ...filesIn(directory, ".toml").filter((path) => path.endsWith("/modprobe.toml")),
      ...filesIn(join(directory, "modprobe.d"), ".toml"),
    ];
    for (const path of files) {
      told(`loading ${path}`);
      table.configure(parseToml(readFileSync(path, "utf8"), path));
    }
  }
  const { modules } = config;
  if (isJsonObject(modules)) table.configure(modules);
  return table;
}
