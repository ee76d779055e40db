/**
 * The services of a complete instance: which are loaded, on which ranks, in which order. They are unloaded in the
 * opposite order.
 */
import type { ModuleRegistry } from "./module-files.ts";

export interface PersonalityEntry {
  readonly name: string;
  readonly where: "all" | "leader";
  readonly args?: readonly string[];
}

/** The services that are part of every broker, in the order of loading. */
export const BUILTIN_SERVICES = ["config", "connector-local", "groups", "rexec", "overlay"] as const;

/** A service comes after those it calls when it starts. */
export const DEFAULT_PERSONALITY: readonly PersonalityEntry[] = [
  { name: "heartbeat", where: "all" },
  // Its tasks run at the same time on all nodes.
  { name: "cron", where: "leader", args: ["sync=heartbeat.pulse"] },
  { name: "content", where: "all" },
  { name: "content-sqlite", where: "leader" },
  { name: "kvs", where: "all" },
  { name: "kvs-watch", where: "all" },
  { name: "shell-agent", where: "all" },
  { name: "resource", where: "all" },
  { name: "job-manager", where: "leader" },
  { name: "job-info", where: "leader" },
  { name: "job-list", where: "leader" },
  { name: "sched-simple", where: "leader" },
  { name: "job-exec", where: "leader" },
  { name: "job-ingest", where: "all" },
];

/** Where the services' code is; each is read when it is first loaded. */
export const BUILTIN_MODULES: ModuleRegistry = {
  heartbeat: async () => (await import("../services/heartbeat/service.ts")).heartbeatModule,
  content: async () => (await import("../services/content/service.ts")).contentModule,
  "content-files": async () => (await import("../services/content-files/service.ts")).contentFilesModule,
  "content-sqlite": async () => (await import("../services/content-sqlite/service.ts")).contentSqliteModule,
  kvs: async () => (await import("../services/kvs/service.ts")).kvsModule,
  "kvs-watch": async () => (await import("../services/kvs-watch/service.ts")).kvsWatchModule,
  "shell-agent": async () => (await import("../services/shell-agent/service.ts")).shellAgentModule,
  resource: async () => (await import("../services/resource/service.ts")).resourceModule,
  "sched-simple": async () => (await import("../services/sched-simple/service.ts")).schedSimpleModule,
  "sched-fifo": async () => (await import("../services/sched-simple/service.ts")).schedFifoModule,
  "sched-backfill": async () => (await import("../services/sched-simple/service.ts")).schedBackfillModule,
  "job-manager": async () => (await import("../services/job-manager/service.ts")).jobManagerModule,
  "job-exec": async () => (await import("../services/job-exec/service.ts")).jobExecModule,
  "job-info": async () => (await import("../services/job-info/service.ts")).jobInfoModule,
  "job-list": async () => (await import("../services/job-list/service.ts")).jobListModule,
  cron: async () => (await import("../services/cron/service.ts")).cronModule,
  "job-ingest": async () => (await import("../services/job-ingest/service.ts")).jobIngestModule,
};
