/**
 * Jobs that have ended, noted in the KVS so that a restart need not read each of them: pages of a fixed number of ended jobs,
 * and with the last page the ids of the jobs that are in none yet. A restart reads the pages, those jobs, and what was
 * submitted since: its work is in proportion to what is active.
 *
 *     checkpoint.inactive-jobs.N       {version, jobs: [[id, time of its end, user id, bits of its outcome], ...]}
 *     checkpoint.inactive-jobs.active  {version, ids, through}
 *
 * Invariant: a job in the KVS whose end is in no page is among `ids`, or its id is not smaller than `through`; but for
 * jobs that no submitter has been told of.
 *
 * A KVS without these keys (from another version, or from another implementation of Flux) is read whole.
 */
import { FluxError } from "../../base/errors.ts";
import {
  isJsonObject,
  parseJson,
  stringifyJson,
  type Integer,
  type JsonObject,
  type JsonValue,
} from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { compareIds } from "../../sdk/job-protocol.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { type Operation } from "../../sdk/kvs-protocol.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import type { JobManager } from "./core.ts";
import { bitsOf, outcomeOfBits, type EndedJob, type EndedPage } from "./inactive.ts";
import { isStored, listDirectory, storedJobIds } from "./load.ts";

const DIRECTORY = "checkpoint.inactive-jobs";
const ACTIVE = "active";
const VERSION = 1;
/** Jobs that are noted by their ids; what was submitted after them is looked for. */
const ACTIVE_MAX = 1024;
/** Pages, or jobs, that are read at the same time. */
const READ_BATCH = 64;

/** What a restart finds. */
export interface StoredArchive {
  readonly pages: readonly EndedPage[];
  /** Jobs whose end was in no page when the last one was written. */
  readonly active: readonly Integer[];
  readonly through: Integer;
}

export class Archive {
  readonly #manager: JobManager;
  readonly #addOperation: (operation: Operation) => void;
  /** The smallest id that a restart looks for by itself; 0: all of them. */
  #through: Integer = 0;

  constructor(manager: JobManager, addOperation: (operation: Operation) => void) {
    this.#manager = manager;
    this.#addOperation = addOperation;
  }

  /** Goes on with what a restart found. */
  resume(through: Integer): void {
    this.#through = through;
  }

  /** Notes jobs that have ended, when there are enough of them. */
  review(): void {
    const pages = this.#manager.inactive.cutPages();
    if (pages.length === 0) return;
    for (const page of pages) this.#addOperation(pageOperation(page));
    this.#noteActive();
  }

  /**
   * Jobs were submitted. Returns whether one of them would not be found after a restart before the next commit is in the
   * KVS: another rank gave it an id of before the last page.
   */
  submitted(ids: readonly Integer[]): boolean {
    if (ids.every((id) => compareIds(id, this.#through) >= 0)) return false;
    this.#noteActive();
    return true;
  }

  /** Jobs were purged: pages have changed. */
  purged(pages: readonly EndedPage[]): void {
    for (const page of pages) this.#addOperation(pageOperation(page));
  }

  #noteActive(): void {
    const { jobs, inactive, maxJobId } = this.#manager;
    const ids = [...jobs.keys(), ...inactive.unpaged()].sort(compareIds);
    this.#through = ids[ACTIVE_MAX] ?? nextId(maxJobId);
    const active = { version: VERSION, ids: ids.slice(0, ACTIVE_MAX), through: this.#through };
    this.#addOperation(put(ACTIVE, active));
  }
}

function nextId(id: Integer): Integer {
  const next = BigInt(id) + 1n;
  return next <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(next) : next;
}

function put(name: string, value: object): Operation {
  return { key: `${DIRECTORY}.${name}`, flags: 0, dirent: makeTextVal(stringifyJson(value)) };
}

function pageOperation({ number, jobs }: EndedPage): Operation {
  if (jobs.length === 0) return { key: `${DIRECTORY}.${number}`, flags: 0, dirent: null };
  const lines = jobs.map(({ id, timestamp, outcome }) => [id, timestamp, outcome.userid, bitsOf(outcome)]);
  return put(String(number), { version: VERSION, jobs: lines });
}

/** Null where there is none. Throws EPROTO where it cannot be read. */
export async function readArchive(handle: Handle): Promise<StoredArchive | null> {
  const names = await listDirectory(handle, DIRECTORY);
  if (!names.includes(ACTIVE)) return null;
  const { ids, through } = await readValue(handle, ACTIVE);
  if (!Array.isArray(ids) || !ids.every(isId) || !isId(through)) throw damaged(ACTIVE);
  const numbers = names.filter((name) => name !== ACTIVE).map(Number);
  numbers.sort((left, right) => left - right);
  const pages: EndedPage[] = [];
  for (let at = 0; at < numbers.length; at += READ_BATCH)
    pages.push(...(await Promise.all(numbers.slice(at, at + READ_BATCH).map((number) => readPage(handle, number)))));
  return { pages, active: ids, through };
}

async function readPage(handle: Handle, number: number): Promise<EndedPage> {
  const { jobs } = await readValue(handle, String(number));
  if (!Array.isArray(jobs)) throw damaged(String(number));
  return { number, jobs: (jobs as JsonValue[]).map((job) => parseJob(job, number)) };
}

function parseJob(job: JsonValue, page: number): EndedJob {
  const [id, timestamp, userid, bits] = Array.isArray(job) ? (job as JsonValue[]) : [];
  const areNumbers = typeof timestamp === "number" && typeof userid === "number" && typeof bits === "number";
  if (!isId(id) || !areNumbers) throw damaged(String(page));
  return { id, timestamp, outcome: outcomeOfBits(userid, bits) };
}

function isId(value: JsonValue | undefined): value is Integer {
  return typeof value === "number" || typeof value === "bigint";
}

async function readValue(handle: Handle, name: string): Promise<JsonObject> {
  const value = parseJson(await lookupText(handle, `${DIRECTORY}.${name}`));
  if (!isJsonObject(value) || value["version"] !== VERSION) throw damaged(name);
  return value;
}

function damaged(name: string): FluxError {
  return new FluxError("EPROTO", `${DIRECTORY}.${name} is not what this version writes`);
}

/** The ids of the jobs in the KVS that are in no page, some at a time. */
export async function* unarchivedJobIds(handle: Handle, archive: StoredArchive | null): AsyncGenerator<Integer[]> {
  if (archive === null) return yield* storedJobIds(handle);
  const ended = new Set(archive.pages.flatMap(({ jobs }) => jobs.map(({ id }) => id)));
  const noted = archive.active.filter((id) => !ended.has(id));
  for (let at = 0; at < noted.length; at += READ_BATCH) yield await present(handle, noted.slice(at, at + READ_BATCH));
  for await (const ids of storedJobIds(handle, archive.through)) yield ids.filter((id) => !ended.has(id));
}

/** Reads the jobs of pages that somebody may still wait for, some at a time. */
export async function* waitableJobs<T>(
  pages: readonly EndedPage[],
  read: (id: Integer) => Promise<T>,
): AsyncGenerator<T> {
  const ids = pages.flatMap(({ jobs }) => jobs.flatMap(({ id, outcome }) => (outcome.waitable ? [id] : [])));
  for (let at = 0; at < ids.length; at += READ_BATCH)
    yield* await Promise.all(ids.slice(at, at + READ_BATCH).map(read));
}

/** Those of some jobs that were not purged since. */
async function present(handle: Handle, ids: readonly Integer[]): Promise<Integer[]> {
  const areThere = await Promise.all(ids.map((id) => isStored(handle, id)));
  return ids.filter((_id, index) => areThere[index]);
}
