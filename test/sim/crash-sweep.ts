/**
 * A crash at every operation of a recorded workload, in every way, and what recovers from it.
 *
 * The workload runs once; the disk is kept as it was before each operation. From each of these images, and from what
 * power loss may make of it, a broker is started, and what it has is compared with what may be there. Some of these
 * starts are recorded too, and crash in their turn.
 */
import { createHash } from "node:crypto";
import { base64Decode, utf8Decode } from "../../src/base/bytes.ts";
import { errorText } from "../../src/base/errors.ts";
import type { Ports } from "../../src/base/ports.ts";
import type { DirEntries } from "../../src/formats/treeobj.ts";
import { Kvs } from "../../src/sdk/kvs.ts";
import { BlobTables } from "../../src/testkit/blob-tables.ts";
import { Seeded } from "../../src/testkit/seeded.ts";
import { crashed, withPartialAppend, type StorageImage } from "../../src/testkit/storage.ts";
import { World } from "../../src/testkit/world.ts";
import { CrashModel, type Content, type Moment } from "./crash-model.ts";
import { Recorder, type CrashPoint } from "./crash-recorder.ts";
import { CrashWorkload, type WorkloadOptions } from "./crash-workload.ts";
import { drive, StorageNode, storageOf, type StorageNodeOptions } from "./storage-node.ts";

export type Durability = "process" | "fsync";

/** What power loss may take of what was acknowledged where nothing else was asked for: the last second, and a sync. */
const LOSS_MAX_MS = 1000 + 50;
/** Of so many recoveries one is continued: it writes, and crashes again at every operation. */
const CONTINUE_EVERY = 23;
const TORN_PER_POINT = 3;

/** Situations without which a sweep proves nothing. */
export const CRASH_MARKS: readonly string[] = [
  "the death of a process",
  "the death of a process in the middle of an append",
  "power loss: all kept",
  "power loss: none kept",
  "power loss: a part kept",
  "a checkpoint was under way",
  "the collector was removing blobs",
  "a damaged log was cut",
  "an unacknowledged change survived",
  "a crash in a recovery",
  "a commit after a recovery survived the next crash",
];

export interface CrashSweepOptions extends WorkloadOptions {
  readonly seed: string;
  readonly durability: Durability;
  /** Operations of the workload. */
  readonly operations: number;
  readonly wrapPorts?: (ports: Ports) => Ports;
  /** How many different parts power loss leaves of what was not synchronised, at each point. */
  readonly tornPerPoint?: number;
  /** Ends when so many failures were found. */
  readonly failuresMax?: number;
  /** Looks at every n-th point only. */
  readonly stride?: number;
}

export interface CrashSweepResult {
  readonly operations: number;
  readonly recoveries: number;
  readonly failures: readonly string[];
  readonly marks: ReadonlyMap<string, number>;
}

type Way = "process" | "power";

interface Crash {
  readonly name: string;
  readonly way: Way;
  readonly image: StorageImage;
  readonly moment: Moment;
}

/** What a broker has after its start. */
interface Recovered {
  readonly found: ReadonlyMap<string, Content>;
  readonly rootseqs: ReadonlyMap<string, number>;
  readonly logs: readonly string[];
}

export class CrashSweep {
  readonly #options: CrashSweepOptions;
  readonly #nodeOptions: StorageNodeOptions;
  readonly #dice: Seeded;
  readonly #marks = new Map<string, number>();
  readonly #failures: string[] = [];
  /** What was recovered from a disk, by what is on it. */
  readonly #known = new Map<string, Recovered>();
  #recoveries = 0;

  constructor(options: CrashSweepOptions) {
    this.#options = options;
    this.#dice = new Seeded(`crash ${options.seed}`);
    const config = { kvs: { durability: options.durability, "checkpoint-period": "2s" } };
    this.#nodeOptions = { config, ...(options.wrapPorts === undefined ? {} : { wrapPorts: options.wrapPorts }) };
  }

  async run(): Promise<CrashSweepResult> {
    const { points, model } = await this.#record();
    const { stride = 1, failuresMax = Infinity } = this.#options;
    for (let index = 0; index < points.length && this.#failures.length < failuresMax; index += stride)
      for (const crash of this.#crashesAt(points[index]!)) await this.#check(crash, model, index);
    return {
      operations: points.length,
      recoveries: this.#recoveries,
      failures: this.#failures,
      marks: this.#marks,
    };
  }

  #mark(name: string): void {
    this.#marks.set(name, (this.#marks.get(name) ?? 0) + 1);
  }

  async #record(): Promise<{ points: readonly CrashPoint[]; model: CrashModel }> {
    const world = new World(`workload ${this.#options.seed}`);
    const recorder = new Recorder(storageOf(world));
    const node = await StorageNode.boot(world, this.#nodeOptions);
    const workload = new CrashWorkload(node, recorder, world.dice.fork("workload"), this.#options);
    await drive(world, workload.run(this.#options.operations));
    for (let count = 0; count < workload.refusals; count++) this.#mark("a change was refused on a full disk");
    for (let count = 0; count < workload.sightings; count++) this.#mark("a version was seen before it was answered");
    await node.stop();
    recorder.stop();
    if (node.failure !== null) throw node.failure as Error;
    return { points: recorder.points, model: new CrashModel(workload.changes) };
  }

  /** The ways in which a crash may strike at a point. */
  #crashesAt({ image, moment, operation }: CrashPoint): Crash[] {
    const crashes: Crash[] = [{ name: "the death of a process", way: "process", image, moment }];
    if (operation.kind === "append" && operation.data!.byteLength > 1) {
      const kept = this.#dice.between(1, operation.data!.byteLength - 1);
      const partial = withPartialAppend(image, operation, kept);
      crashes.push({
        name: "the death of a process in the middle of an append",
        way: "process",
        image: partial,
        moment,
      });
    }
    for (const survival of ["all", "none"] as const)
      crashes.push({
        name: `power loss: ${survival} kept`,
        way: "power",
        image: crashed(image, survival, this.#dice),
        moment,
      });
    for (let count = this.#options.tornPerPoint ?? TORN_PER_POINT; count > 0; count--)
      crashes.push({
        name: "power loss: a part kept",
        way: "power",
        image: crashed(image, "part", this.#dice),
        moment,
      });
    return crashes;
  }

  /** Whether a crash may not take what was acknowledged at a moment. */
  #isSafe(crash: Crash, acknowledged: Moment): boolean {
    if (crash.way === "process" || this.#options.durability === "fsync") return true;
    return acknowledged.ms <= crash.moment.ms - LOSS_MAX_MS;
  }

  async #check(crash: Crash, model: CrashModel, index: number): Promise<void> {
    const { name, image, moment } = crash;
    try {
      this.#mark(name);
      if (image.names.has("/state/kvs.log.old")) this.#mark("a checkpoint was under way");
      for (const { database } of image.names.values())
        if (database?.pending.some(({ removed }) => removed !== undefined))
          this.#mark("the collector was removing blobs");
      const { found, rootseqs, logs } = await this.#recover(image, model.namespaces);
      if (logs.some((line) => /kvs\.log.*(dropped|cut)/.test(line))) this.#mark("a damaged log was cut");
      const verdict = model.judge(found, rootseqs, moment, (acknowledged) => this.#isSafe(crash, acknowledged));
      if (verdict.fault !== null) throw new Error(verdict.fault);
      if (verdict.unasked > 0) this.#mark("an unacknowledged change survived");
      if (verdict.lost > 0) this.#mark("acknowledged changes of the last second were lost");
      if (this.#recoveries % CONTINUE_EVERY === 0) await this.#continue(crash, found, model.namespaces);
    } catch (error) {
      const where = `operation ${index} (${crash.name}, ${this.#options.durability})`;
      this.#failures.push(`seed ${this.#options.seed}, ${where}: ${errorText(error)}`);
    }
  }

  async #recover(image: StorageImage, namespaces: readonly string[]): Promise<Recovered> {
    const key = contentDigest(image);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const node = await this.#boot(image);
    const recovered = await this.#read(node, namespaces);
    node.kill();
    this.#known.set(key, recovered);
    return recovered;
  }

  async #boot(image: StorageImage, record?: (world: World) => void): Promise<StorageNode> {
    this.#recoveries += 1;
    const world = new World(`recovery ${this.#recoveries}`);
    storageOf(world).restore(image);
    record?.(world);
    return StorageNode.boot(world, this.#nodeOptions);
  }

  async #read(node: StorageNode, namespaces: readonly string[]): Promise<Recovered> {
    const found = new Map<string, Content>();
    const rootseqs = new Map<string, number>();
    const read = async (): Promise<void> => {
      const present = new Set((await new Kvs(node.handle).listNamespaces()).map(({ namespace }) => namespace));
      for (const name of namespaces) {
        if (!present.has(name)) found.set(name, null);
        else {
          const kvs = new Kvs(node.handle, name);
          rootseqs.set(name, await kvs.version());
          found.set(name, await contentOf(kvs));
        }
      }
    };
    await drive(node.world, read());
    if (node.failure !== null) throw node.failure as Error;
    return { found, rootseqs, logs: [...node.logs] };
  }

  /** Goes on from a crash: a start that crashes at each of its operations, then a commit that must survive. */
  async #continue(crash: Crash, found: ReadonlyMap<string, Content>, namespaces: readonly string[]): Promise<void> {
    let recorder: Recorder | null = null;
    const node = await this.#boot(crash.image, (world) => (recorder = new Recorder(storageOf(world))));
    await drive(node.world, new Kvs(node.handle).put("after", 1));
    const { points } = recorder!;
    storageOf(node.world).observer = null;
    node.kill();
    const left = storageOf(node.world).image();
    for (const { image } of points) {
      this.#mark("a crash in a recovery");
      const again = await this.#recover(image, namespaces);
      const fault = differenceOf(found, again.found, true);
      if (fault !== null) throw new Error(`after a crash in the recovery: ${fault}`);
    }
    const survivals = this.#options.durability === "fsync" ? (["all", "none"] as const) : (["all"] as const);
    for (const survival of survivals) {
      const image = survival === "all" ? left : crashed(left, survival, this.#dice);
      const last = await this.#recover(image, namespaces);
      const fault = differenceOf(found, last.found, false);
      if (fault !== null) throw new Error(`after a commit and one more crash: ${fault}`);
      this.#mark("a commit after a recovery survived the next crash");
    }
  }
}

/** What differs besides the commit that was made after a recovery, which may be there (`isOptional`) or must be. */
function differenceOf(
  before: ReadonlyMap<string, Content>,
  after: ReadonlyMap<string, Content>,
  isOptional: boolean,
): string | null {
  for (const [name, content] of before) {
    const expected = content === null ? null : new Map(content);
    const found = after.get(name) ?? null;
    if (name === "primary" && expected !== null && (!isOptional || found?.has("after") === true))
      expected.set("after", "1");
    if (textOf(expected) !== textOf(found)) return `${name} had ${textOf(expected)}, has ${textOf(found)}`;
  }
  return null;
}

function textOf(content: Content): string {
  if (content === null) return "nothing";
  return JSON.stringify([...content].toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

/** Every value of a namespace by its full key; all of their blobs are read. */
async function contentOf(kvs: Kvs, key = "."): Promise<Map<string, string>> {
  const content = new Map<string, string>();
  const entries: DirEntries = await kvs.getDirectory(key);
  for (const [name, entry] of Object.entries(entries)) {
    const path = key === "." ? name : `${key}.${name}`;
    if (entry.type === "val") content.set(path, utf8Decode(base64Decode(entry.data as string)!));
    else if (entry.type === "dirref" || entry.type === "dir")
      for (const [below, value] of await contentOf(kvs, path)) content.set(below, value);
    else content.set(path, await textAt(kvs, path));
  }
  return content;
}

async function textAt(kvs: Kvs, key: string): Promise<string> {
  try {
    return await kvs.getText(key);
  } catch (error) {
    throw new Error(`${key} of ${kvs.namespace} cannot be read: ${errorText(error)}`, { cause: error });
  }
}

/** Equal for disks on which processes find the same. */
function contentDigest(image: StorageImage): string {
  const hash = createHash("sha1");
  for (const [path, { data, database }] of image.names) {
    const version = database === null ? "" : BlobTables.versionOf(database);
    hash.update(`${path}\n${version}\n${data.byteLength}\n`).update(data);
  }
  return hash.digest("hex");
}

/** Runs a sweep. */
export function sweepCrashes(options: CrashSweepOptions): Promise<CrashSweepResult> {
  return new CrashSweep(options).run();
}
