/**
 * A small world for tests of the storage services: brokers made of a Router and a ModuleHost each, joined by links that
 * pass objects, and a disk in memory that a crash does not clear.
 */
import { FluxError, type ErrnoName } from "../../base/errors.ts";
import type { BlobDatabaseEvents, BlobDatabaseOptions, Clock, Disk, LogFile, Ports } from "../../base/ports.ts";
import { ModuleHost } from "../../broker/module-host.ts";
import { Router, type Peer } from "../../broker/router.ts";
import { nodeClock } from "../../host/clock.ts";
import { nodeCodec } from "../../host/codec.ts";
import { nodeRandom } from "../../host/random.ts";
import { Role, type Message } from "../../protocol/message.ts";
import { Handle } from "../../sdk/handle.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import type { JsonObject } from "../../base/json.ts";
import type { ModuleDefinition } from "../../sdk/module.ts";
import { LocalCarrier } from "../../testkit/blob-database.ts";
import { MemoryBlobFile } from "../../testkit/blob-file.ts";
import { BlobTables } from "../../testkit/blob-tables.ts";
import { RemoteBlobDatabase } from "../content-sqlite/remote.ts";
import { contentModule } from "../content/service.ts";
import { contentSqliteModule } from "../content-sqlite/service.ts";
import { kvsModule } from "./service.ts";

export const OWNER = 1000;

/** Files and blob databases in memory: all that was written stays, whatever happens to the brokers. */
export class MemoryDisk {
  readonly files = new Map<string, Buffer>();
  readonly databases = new Map<string, BlobTables>();
  isFull = false;
  #incarnation = 0;

  /** What ran until now can write no more: its late timers find the disk gone. */
  crash(): void {
    this.#incarnation += 1;
  }

  checkRoom(incarnation: number): void {
    if (incarnation !== this.#incarnation) throw new FluxError("EIO", "this process is dead");
    if (this.isFull) throw new FluxError("ENOSPC");
  }

  get port(): Disk {
    const { files, databases } = this;
    const incarnation = this.#incarnation;
    const checkRoom = (): void => this.checkRoom(incarnation);
    const openLog = (path: string): LogFile => {
      if (!files.has(path)) files.set(path, Buffer.alloc(0));
      let name = path;
      const content = (): Buffer => files.get(name) ?? Buffer.alloc(0);
      const log = {
        get length() {
          return content().byteLength;
        },
        append: (data: Uint8Array) => {
          checkRoom();
          files.set(name, Buffer.concat([content(), data]));
        },
        sync: async () => {},
        truncate: (length: number) => void files.set(name, content().subarray(0, length)),
        close: () => void (name = ""),
      };
      return log;
    };
    return {
      openLog,
      info: (path: string) =>
        files.has(path)
          ? { kind: "file", sizeBytes: files.get(path)!.byteLength, mode: 0o600, mtime: 0 }
          : [...files.keys()].some((name) => name.startsWith(`${path}/`))
            ? { kind: "directory", sizeBytes: 0, mode: 0o700, mtime: 0 }
            : null,
      list: (path: string) =>
        [...files.keys()].filter((name) => name.startsWith(`${path}/`)).map((name) => name.slice(path.length + 1)),
      readFile: (path: string) => files.get(path)!,
      rename: (from: string, to: string) => {
        checkRoom();
        files.set(to, files.get(from)!);
        files.delete(from);
      },
      writeFile: (path: string, data: Uint8Array) => {
        checkRoom();
        files.set(path, Buffer.from(data));
      },
      makeDirectory: () => checkRoom(),
      remove: (path: string) => {
        for (const name of files.keys()) if (name === path || name.startsWith(`${path}/`)) files.delete(name);
      },
      freeBytes: () => 1 << 30,
      isInMemory: () => false,
      openBlobDatabase: (path: string, options: BlobDatabaseOptions, events: BlobDatabaseEvents) => {
        if (!databases.has(path)) databases.set(path, new BlobTables());
        const file = new MemoryBlobFile(databases.get(path)!, { begin: checkRoom });
        const clock = nodeClock();
        const carrier = new LocalCarrier(file, options, events, {
          codec: nodeCodec(),
          nowMs: () => clock.monotonicMs(),
          after: (delayMs, callback, { background }) => {
            if (delayMs > 0 || background) return clock.after(delayMs, callback, { background });
            clock.defer(callback);
            return { cancel: () => {} };
          },
          callMs: () => 0,
        });
        return new RemoteBlobDatabase(carrier);
      },
    } as Partial<Disk> as Disk;
  }
}

export interface Broker {
  readonly rank: number;
  readonly router: Router;
  readonly modules: ModuleHost;
  readonly logs: string[];
  /** A client of this broker. */
  connect(userid?: number): Handle;
  load(definition: ModuleDefinition, args?: readonly string[]): Promise<void>;
}

export interface WorldOptions {
  readonly size?: number;
  readonly disk?: MemoryDisk;
  readonly config?: JsonObject;
  readonly clock?: Clock;
  readonly hash?: string;
  /** Real disk port and directory instead of memory. */
  readonly realDisk?: { port: Disk; directory: string };
}

/** Brokers in a chain-free tree: rank 0 is the parent of all. */
export function makeBrokers(options: WorldOptions = {}): Broker[] {
  const size = options.size ?? 1;
  const disk = options.disk ?? new MemoryDisk();
  const ports = {
    clock: options.clock ?? nodeClock(),
    random: nodeRandom(),
    codec: nodeCodec(),
    disk: options.realDisk?.port ?? disk.port,
    host: { env: {} },
  } as Ports;
  const brokers: Broker[] = [];
  const peers: Map<number, Peer>[] = Array.from({ length: size }, () => new Map());
  for (let rank = 0; rank < size; rank++) brokers.push(makeBroker(rank, size, ports, peers[rank]!, options));
  for (let rank = 1; rank < size; rank++) link(brokers[0]!, brokers[rank]!, peers);
  return brokers;
}

function makeBroker(rank: number, size: number, ports: Ports, peers: Map<number, Peer>, options: WorldOptions): Broker {
  const logs: string[] = [];
  const router = new Router({
    rank,
    size,
    ownerUserid: OWNER,
    routes: {
      nextHop: (target) => peers.get(rank === 0 ? target : 0) ?? null,
      get parent() {
        return rank === 0 ? null : (peers.get(0) ?? null);
      },
      get children() {
        return rank === 0 ? peers.values() : [];
      },
    },
    newUuid: () => ports.random.uuid(),
    defer: (callback) => ports.clock.defer(callback),
  });
  const attributes: Record<string, string> = {
    "content.hash": options.hash ?? "sha1",
    statedir: options.realDisk?.directory ?? "/state",
  };
  const modules = new ModuleHost({
    router,
    ports,
    ownerUserid: OWNER,
    attribute: (name) => attributes[name] ?? null,
    setAttribute: (name, value) => void (attributes[name] = value),
    config: () => options.config ?? {},
    log: (component, level, text) => void logs.push(`${level} ${component}: ${text}`),
    bugsAreFatal: true,
    fatal: (component, error) => {
      throw new Error(`fatal in ${component}`, { cause: error });
    },
  });
  return {
    rank,
    router,
    modules,
    logs,
    connect: (userid = OWNER) => {
      const rolemask = userid === OWNER ? Role.Owner | Role.Local : Role.User | Role.Local;
      return new Handle(router.attach({ userid, rolemask }));
    },
    load: async (definition, args = []) => void (await modules.load(definition, { args })),
  };
}

function link(parent: Broker, child: Broker, peers: Map<number, Peer>[]): void {
  const uuids = { parent: `broker-${parent.rank}`, child: `broker-${child.rank}` };
  const deliver = (to: Broker, peer: () => Peer) => (message: Message) =>
    queueMicrotask(() => to.router.receiveFrom(peer(), message));
  const toChild: Peer = { uuid: uuids.child, send: deliver(child, () => toParent) };
  const toParent: Peer = { uuid: uuids.parent, send: deliver(parent, () => toChild) };
  peers[parent.rank]!.set(child.rank, toChild);
  peers[child.rank]!.set(parent.rank, toParent);
  parent.router.addPeer(toChild);
  child.router.addPeer(toParent);
}

/** Brokers with content store and KVS loaded. */
export async function startStorage(options: WorldOptions = {}): Promise<Broker[]> {
  const brokers = makeBrokers(options);
  for (const broker of brokers) {
    await broker.load(contentModule);
    if (broker.rank === 0) await broker.load(contentSqliteModule);
    await broker.load(kvsModule);
  }
  return brokers;
}

/** The same for one test, with a client on each broker. */
export async function startKvs(
  t: { after(action: () => Promise<void>): void },
  size = 1,
  disk: MemoryDisk = new MemoryDisk(),
): Promise<{ brokers: Broker[]; kvs: Kvs[] }> {
  const brokers = await startStorage({ size, disk });
  t.after(() => stopStorage(brokers));
  return { brokers, kvs: brokers.map((broker) => new Kvs(broker.connect())) };
}

/** Resolves when a checkpoint holds all that was committed. */
export const sync = (kvs: Kvs): Promise<unknown> => kvs.commit(new KvsTransaction().put("synced", 1), { sync: true });

/** Whether an error is the one that a test expects, for `assert.rejects`. */
export const fails =
  (errno: ErrnoName) =>
  (error: unknown): boolean =>
    error instanceof FluxError && error.is(errno);

/** Unloads everything, as an instance that ends well does. */
export async function stopStorage(brokers: readonly Broker[]): Promise<void> {
  for (const broker of brokers.toReversed())
    for (const { name } of [...broker.modules.modules].toReversed()) await broker.modules.remove(name);
}
