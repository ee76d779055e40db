/** Candidates that only an instance knows: its jobs, queues, modules, keys. Without an instance there are none. */
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { STATES_ACTIVE } from "../../formats/job-states.ts";
import type { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { Kvs } from "../../sdk/kvs.ts";
import { connect } from "../framework/connect.ts";
import { jobIdText } from "../jobs/client.ts";
import { listRecords } from "../jobs/listing.ts";
import { schedulerView } from "../resource/view.ts";
import type { Candidate } from "./candidates.ts";
import type { Source } from "./vocabulary.ts";

/** A user who presses a key does not wait longer than this. */
const PATIENCE_MS = 1500;
const JOBS_MAX = 200;

/** `current`: what stands in the word already. */
type Reader = (handle: Handle, current: string) => Promise<Candidate[]>;

const OWN = { userid: [process.getuid?.() ?? 0] };

const READERS: Readonly<Partial<Record<Source, Reader>>> = {
  jobs: (handle) => jobs(handle, { and: [OWN, { states: [STATES_ACTIVE] }] }),
  "known-jobs": (handle) => jobs(handle, OWN),
  "job-names": async (handle) => {
    const records = await listRecords(handle, { attrs: ["name"], constraint: OWN, maxEntries: JOBS_MAX });
    return names([...new Set(records.map((job) => job.text("name")))]);
  },
  queues: async (handle) => names(await configuredQueues(handle)),
  modules: async (handle) => {
    const { mods } = await handle.rpc<{ mods: readonly { name: string }[] }>("module.list", { service: "broker" });
    return names(mods.map(({ name }) => name));
  },
  attributes: async (handle) => names(await attributes(handle)),
  "attribute-settings": async (handle) => names((await attributes(handle)).map((name) => `${name}=`)),
  "config-keys": async (handle) => names(dottedKeys(await handle.rpc<JsonObject>("config.get"))),
  "cron-ids": async (handle) => {
    const { entries } = await handle.rpc<{ entries: readonly { id: number; name: string; command: string }[] }>(
      "cron.list",
      {},
      { nodeid: 0 },
    );
    return entries.map(({ id, name, command }) => ({ word: String(id), description: `${name}: ${command}` }));
  },
  keys: async (handle, current) => {
    const directory = current.slice(0, current.lastIndexOf(".") + 1);
    const entries = Object.entries(await new Kvs(handle).getDirectory(directory.slice(0, -1) || "."));
    return names(entries.map(([name, { type }]) => `${directory}${name}${type.startsWith("dir") ? "." : ""}`));
  },
  namespaces: async (handle) => {
    const { namespaces } = await handle.rpc<{ namespaces: readonly { namespace: string }[] }>("kvs.namespace-list");
    return names(namespaces.map(({ namespace }) => namespace));
  },
  archives: async (handle) => names(Object.keys(await new Kvs(handle).getDirectory("archive"))),
  hosts: async (handle) => {
    const set = await resources(handle);
    return names([...set.ranks].flatMap((rank) => set.node(rank)?.host ?? []));
  },
  ranks: async (handle) => names([...(await resources(handle)).ranks, "all"].map(String)),
  properties: async (handle) => names([...(await resources(handle)).properties.keys()]),
  plugins: async (handle) => {
    const { plugins } = await handle.rpc<{ plugins: readonly string[] }>("job-manager.jobtap", { query_only: true });
    return names(plugins);
  },
};

async function jobs(handle: Handle, constraint: JsonObject): Promise<Candidate[]> {
  const records = await listRecords(handle, { attrs: ["name", "state", "result"], constraint, maxEntries: JOBS_MAX });
  return records.map((job) => ({ word: jobIdText(job.id), description: `${job.text("name")} (${job.status})` }));
}

async function configuredQueues(handle: Handle): Promise<string[]> {
  const { queues } = await handle.rpc<JsonObject>("config.get");
  return isJsonObject(queues) ? Object.keys(queues) : [];
}

async function attributes(handle: Handle): Promise<readonly string[]> {
  return (await handle.rpc<{ names: readonly string[] }>("attr.list")).names;
}

async function resources(handle: Handle): Promise<ResourceSet> {
  return (await schedulerView(handle)).all;
}

/** The paths of all values and tables of a configuration. */
function dottedKeys(config: JsonObject, prefix = ""): string[] {
  return Object.entries(config).flatMap(([key, value]) => [
    prefix + key,
    ...(isJsonObject(value) ? dottedKeys(value, `${prefix}${key}.`) : []),
  ]);
}

function names(words: readonly string[]): Candidate[] {
  return words.map((word) => ({ word, description: "" }));
}

/** What an instance knows for a word; nothing where there is no instance, or it takes too long. */
export async function instanceCandidates(source: Source, current: string): Promise<Candidate[]> {
  const read = READERS[source];
  const uri = process.env["FLUX_URI"] ?? null;
  if (read === undefined) return [];
  const late = new Promise<Candidate[]>((resolve) => setTimeout(() => resolve([]), PATIENCE_MS).unref());
  return Promise.race([late, ask(read, uri, current)]);
}

async function ask(read: Reader, uri: string | null, current: string): Promise<Candidate[]> {
  try {
    const handle = await connect(uri);
    try {
      return await read(handle, current);
    } finally {
      handle.close();
    }
  } catch (error) {
    // A key that completes nothing is no place for complaints.
    if (isFluxError(error)) return [];
    throw error;
  }
}
