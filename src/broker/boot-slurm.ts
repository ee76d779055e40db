/**
 * Booting as a step of Slurm without PMI, from what Slurm tells each task: its number and how many there are. The brokers
 * meet at task 0, which serves PMI-1 (RFC 13) to the others for as long as the boot takes, over an encrypted connection.
 *
 * Where task 0 listens and with which key is in a file that it writes for its own user only, into a directory that all
 * nodes share. So nobody else can join, no port is guessed, and addresses are those that the host really has.
 *
 * Invariants: the file is gone when the boot is over. A task that ends meanwhile fails the boot of all.
 */
import { base64Decode, base64Encode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../base/json.ts";
import type { ByteStream, Listener, Ports } from "../base/ports.ts";
import { Taskmap } from "../formats/taskmap.ts";
import { PmiClient } from "../protocol/pmi-client.ts";
import { PMI_VALUE_MAX, PmiServer, type PmiConnection } from "../protocol/pmi-server.ts";
import { formatEndpoint, parseEndpoint, type BootClient } from "./bootstrap.ts";

const KEY_BYTES = 32;
const PRIVATE = 0o600;
const PRIVATE_DIRECTORY = 0o700;
/** How often the file and the connection are tried, in milliseconds. */
const FIRST_DELAY_MS = 20;
const LAST_DELAY_MS = 500;
const MAPPING_KEY = "PMI_process_mapping";

/** What a task of a step knows of itself. */
export interface SlurmTask {
  readonly rank: number;
  readonly size: number;
  /** Index of the node in the step. */
  readonly node: number;
  /** Tells steps apart: cluster, job and step. */
  readonly step: string;
}

/**
 * The place of this process in its step; null outside of one. (A batch script has SLURM_PROCID, too: only tasks of steps have
 * SLURM_STEP_NODELIST.)
 */
export function slurmTask(env: Readonly<Record<string, string>>): SlurmTask | null {
  if (env["SLURM_STEP_NODELIST"] === undefined || env["SLURM_STEP_ID"] === undefined) return null;
  const names = ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NODEID"];
  const values = names.map((name) => env[name] ?? "");
  if (!values.every((value) => /^\d+$/.test(value))) return null;
  const [rank, size, node] = values.map(Number) as [number, number, number];
  if (rank >= size) return null;
  const parts = [env["SLURM_CLUSTER_NAME"] ?? "slurm", env["SLURM_JOB_ID"] ?? "0", env["SLURM_STEP_ID"]];
  return { rank, size, node, step: parts.join("-").replace(/[^\w.-]/g, "_") };
}

/** Where the brokers of a step find each other: a directory that all nodes share. */
function meetingFile(ports: Ports, step: string): string {
  const { env, cwd } = ports.host;
  const home = env["HOME"] ?? "";
  const directory = env["FLUX_BOOT_DIR"] || (home === "" || home === "/" ? cwd : `${home}/.flux`);
  try {
    if (ports.disk.info(directory) === null)
      ports.disk.makeDirectory(directory, { mode: PRIVATE_DIRECTORY, recursive: true });
  } catch (error) {
    // Another task may have been quicker.
    if (!isFluxError(error, "EEXIST")) throw error;
  }
  return `${directory}/boot-${step}.json`;
}

export function slurmBoot(ports: Ports, task: SlurmTask): BootClient {
  const file = meetingFile(ports, task.step);
  const role = task.rank === 0 ? new Leader(ports, task, file) : new Follower(ports, task, file);
  return {
    method: "slurm",
    initialize: async () => {
      const { client } = role;
      await role.meet();
      await client.initialize();
      await client.put(`node.${task.rank}`, String(task.node));
      await client.barrier();
      await role.map();
      await client.barrier();
      return { rank: task.rank, size: task.size, name: client.kvsname };
    },
    get: (key) => role.client.get(key),
    put: (key, value) => role.client.put(key, value),
    barrier: () => role.client.barrier(),
    finalize: async () => {
      await role.client.finalize();
      role.end();
    },
  };
}

/** Task 0: serves all, itself included. */
class Leader {
  readonly client: PmiClient;
  readonly #ports: Ports;
  readonly #task: SlurmTask;
  readonly #file: string;
  readonly #server: PmiServer;
  readonly #streams = new Set<ByteStream>();
  readonly #ranks = new Set<number>();
  #listener: Listener | null = null;

  constructor(ports: Ports, task: SlurmTask, file: string) {
    this.#ports = ports;
    this.#task = task;
    this.#file = file;
    this.#server = new PmiServer({
      kvsname: task.step.slice(-64),
      universeSize: task.size,
      localSize: task.size,
      abort: (rank) => this.#fail(new FluxError("ECONNABORTED", `bootstrap: task ${rank} gave up`)),
    });
    const own: PmiConnection = this.#server.connect(0, (bytes) => this.client.feed(bytes));
    this.client = new PmiClient({ send: (bytes) => own.feed(bytes) });
  }

  async meet(): Promise<void> {
    const { net, random, host, disk } = this.#ports;
    const key = random.bytes(KEY_BYTES);
    const security = {
      keyFor: (identity: string) => (/^\d+$/.test(identity) && Number(identity) < this.#task.size ? key : null),
      refused: () => {},
    };
    const address = { kind: "tcp", host: net.hostAddress(), port: 0 } as const;
    this.#listener = await net.listen(address, (stream) => this.#accept(stream), { security });
    const text = stringifyJson({
      host: host.hostname,
      address: formatEndpoint(this.#listener.address),
      key: base64Encode(key),
    });
    disk.writeFile(this.#file, utf8Encode(`${text}\n`), { mode: PRIVATE });
  }

  #accept(stream: ByteStream): void {
    const rank = Number(stream.identity);
    if (rank === 0 || this.#ranks.has(rank)) {
      stream.destroy();
      return this.#fail(new FluxError("EEXIST", `bootstrap: two brokers claim rank ${rank} of the step`));
    }
    this.#ranks.add(rank);
    this.#streams.add(stream);
    const connection = this.#server.connect(rank, (bytes) => void stream.write(bytes));
    stream.start({
      data: (chunk) => {
        try {
          connection.feed(chunk);
        } catch (error) {
          this.#fail(new FluxError("EPROTO", `bootstrap: task ${rank}: ${errorText(error)}`));
        }
      },
      close: () => {
        this.#streams.delete(stream);
        if (connection.isActive) this.#fail(new FluxError("ECONNRESET", `bootstrap: task ${rank} ended meanwhile`));
      },
    });
  }

  /** Tells everybody which task is on which node. */
  async map(): Promise<void> {
    const nodes: number[] = [];
    for (let rank = 0; rank < this.#task.size; rank++) nodes.push(Number(await this.client.get(`node.${rank}`)));
    const mapping = Taskmap.fromNodes(nodes).toPmi();
    if (mapping.length <= PMI_VALUE_MAX) this.#server.put(MAPPING_KEY, mapping);
  }

  #fail(error: FluxError): void {
    this.client.lost(error);
    for (const stream of this.#streams) stream.destroy();
    this.end();
  }

  end(): void {
    void this.#listener?.close();
    this.#listener = null;
    this.#ports.disk.remove(this.#file);
  }
}

class Follower {
  readonly client: PmiClient;
  readonly #ports: Ports;
  readonly #task: SlurmTask;
  readonly #file: string;
  #stream: ByteStream | null = null;

  constructor(ports: Ports, task: SlurmTask, file: string) {
    this.#ports = ports;
    this.#task = task;
    this.#file = file;
    this.client = new PmiClient({ send: (bytes) => void this.#stream?.write(bytes) });
  }

  async meet(): Promise<void> {
    let delayMs = FIRST_DELAY_MS;
    while (this.#stream === null) {
      this.#stream = await this.#tryOnce();
      if (this.#stream !== null) break;
      await new Promise<void>((resolve) => this.#ports.clock.after(delayMs, resolve));
      delayMs = Math.min(LAST_DELAY_MS, delayMs * 2);
    }
    this.#stream.start({
      data: (chunk) => this.client.feed(chunk),
      close: () => this.client.lost(new FluxError("ECONNRESET", "bootstrap: task 0 ended meanwhile, or gave up")),
    });
  }

  /** Null where task 0 is not there yet, or what is there was left by one that was killed. */
  async #tryOnce(): Promise<ByteStream | null> {
    const { disk, net } = this.#ports;
    let text: string;
    try {
      text = utf8Decode(disk.readFile(this.#file));
    } catch (error) {
      if (isFluxError(error, "ENOENT", "ESTALE")) return null;
      throw error;
    }
    const value = parseJson(text);
    const key = isJsonObject(value) && typeof value["key"] === "string" ? base64Decode(value["key"]) : null;
    const address = isJsonObject(value) ? value["address"] : null;
    if (key === null || typeof address !== "string")
      throw new FluxError("EPROTO", `bootstrap: ${this.#file} was not written by a broker`);
    const security = { identity: String(this.#task.rank), key };
    try {
      return await net.connect(parseEndpoint(address), { security, timeoutMs: 10_000 });
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#ports.trace.event("bootstrap", "no-leader-yet", { file: this.#file, reason: error.message });
      return null;
    }
  }

  map(): Promise<void> {
    return Promise.resolve();
  }

  end(): void {
    this.#stream?.end();
  }
}

/** What went wrong most likely where the tasks did not find each other. */
export function slurmAdvice(ports: Ports, task: SlurmTask): string {
  const file = meetingFile(ports, task.step);
  return `they meet through ${file}, which all nodes must see: set FLUX_BOOT_DIR to a shared directory, or use srun --mpi=pmi2`;
}
