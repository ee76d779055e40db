/** Candidates that only an instance knows: its jobs, queues, modules, attributes. Without an instance there are none. */
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { STATES_ACTIVE } from "../../formats/job-states.ts";
import type { Handle } from "../../sdk/handle.ts";
import { connect } from "../framework/connect.ts";
import { jobIdText } from "../jobs/client.ts";
import { listRecords } from "../jobs/listing.ts";
import type { Candidate, Source } from "./candidates.ts";

/** Who presses a key does not wait longer. */
const PATIENCE_MS = 1500;
const JOBS_MAX = 200;

type Reader = (handle: Handle) => Promise<Candidate[]>;

const READERS: Readonly<Partial<Record<Source, Reader>>> = {
  jobs: async (handle) => {
    const constraint = { and: [{ userid: [process.getuid?.() ?? 0] }, { states: [STATES_ACTIVE] }] };
    const jobs = await listRecords(handle, { attrs: ["name", "state"], constraint, maxEntries: JOBS_MAX });
    return jobs.map((job) => ({ word: jobIdText(job.id), description: `${job.text("name")} (${job.status})` }));
  },
  queues: async (handle) => {
    const config = await handle.rpc<JsonObject>("config.get");
    return names(isJsonObject(config["queues"]) ? Object.keys(config["queues"]) : []);
  },
  modules: async (handle) => {
    const { mods } = await handle.rpc<{ mods: readonly { name: string }[] }>("module.list", { service: "broker" });
    return names(mods.map(({ name }) => name));
  },
  attributes: async (handle) => names((await handle.rpc<{ names: readonly string[] }>("attr.list")).names),
};

function names(words: readonly string[]): Candidate[] {
  return words.map((word) => ({ word, description: "" }));
}

/** What an instance knows for a word; nothing where there is no instance, or it takes too long. */
export async function instanceCandidates(source: Source): Promise<Candidate[]> {
  const read = READERS[source];
  const uri = process.env["FLUX_URI"] ?? null;
  if (read === undefined) return [];
  const late = new Promise<Candidate[]>((resolve) => setTimeout(() => resolve([]), PATIENCE_MS).unref());
  return Promise.race([late, ask(read, uri)]);
}

async function ask(read: Reader, uri: string | null): Promise<Candidate[]> {
  try {
    const handle = await connect(uri);
    try {
      return await read(handle);
    } finally {
      handle.close();
    }
  } catch (error) {
    // A key that completes nothing is no place for complaints.
    if (isFluxError(error)) return [];
    throw error;
  }
}
