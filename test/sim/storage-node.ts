/**
 * A broker with nothing but the storage services, on a simulated machine: content, its backing store, and the KVS. It
 * boots in a few events, so that thousands of crashes can be tried.
 */
import type { JsonObject } from "../../src/base/json.ts";
import type { Ports } from "../../src/base/ports.ts";
import { ModuleHost } from "../../src/broker/module-host.ts";
import { Router } from "../../src/broker/router.ts";
import { Role } from "../../src/protocol/message.ts";
import { Handle } from "../../src/sdk/handle.ts";
import type { ModuleDefinition } from "../../src/sdk/module.ts";
import { contentModule } from "../../src/services/content/service.ts";
import { contentSqliteModule } from "../../src/services/content-sqlite/service.ts";
import { kvsModule } from "../../src/services/kvs/service.ts";
import type { SimulatedProcess } from "../../src/testkit/exec.ts";
import { startProcess } from "../../src/testkit/instance.ts";
import { OWNER_USERID, type World } from "../../src/testkit/world.ts";

const MACHINE = "node0";
export const STATE_DIRECTORY = "/state";
const KILL = 9;
/** Virtual time that anything may take. */
const PATIENCE_MS = 1e9;

const MODULES: readonly ModuleDefinition[] = [contentModule, contentSqliteModule, kvsModule];

export interface StorageNodeOptions {
  readonly config?: JsonObject;
  /** Plants a fault: gives the broker other ports than the world's. */
  readonly wrapPorts?: (ports: Ports) => Ports;
}

/** Follows a promise in virtual time. Throws what it rejects with, or when nothing more happens. */
export async function drive<T>(world: World, promise: Promise<T>): Promise<T> {
  let isSettled = false;
  const settle = (): void => void (isSettled = true);
  promise.then(settle, settle);
  if (!(await world.timeline.runUntil(() => isSettled, PATIENCE_MS))) throw new Error("it takes for ever");
  return promise;
}

export class StorageNode {
  readonly world: World;
  readonly process: SimulatedProcess;
  /** A client of the broker, which does not die with it. */
  readonly handle: Handle;
  readonly logs: string[] = [];
  readonly #modules: ModuleHost;
  /** What a service could not live with. */
  failure: unknown = null;

  private constructor(world: World, process: SimulatedProcess, options: StorageNodeOptions) {
    this.world = world;
    this.process = process;
    const plain = world.portsOf(process);
    const ports = options.wrapPorts?.(plain) ?? plain;
    ports.disk.makeDirectory(STATE_DIRECTORY, { mode: 0o700, recursive: true });
    const router = new Router({
      rank: 0,
      size: 1,
      ownerUserid: OWNER_USERID,
      routes: { nextHop: () => null, parent: null, children: [] },
      newUuid: () => ports.random.uuid(),
      defer: (callback) => ports.clock.defer(callback),
    });
    const attributes = new Map([
      ["content.hash", "sha1"],
      ["statedir", STATE_DIRECTORY],
    ]);
    this.#modules = new ModuleHost({
      router,
      ports,
      ownerUserid: OWNER_USERID,
      bugsAreFatal: true,
      attribute: (name) => attributes.get(name) ?? null,
      setAttribute: (name, value) => void attributes.set(name, value),
      config: () => options.config ?? {},
      log: (component, level, text) => void this.logs.push(`${level} ${component}: ${text}`),
      fatal: (_component, error) => (this.failure ??= error),
    });
    this.handle = new Handle(router.attach({ userid: OWNER_USERID, rolemask: Role.Owner | Role.Local }));
  }

  /** Boots a broker on the disk of the world's machine. Rejects with what keeps it from starting. */
  static async boot(world: World, options: StorageNodeOptions = {}): Promise<StorageNode> {
    let node: StorageNode | null = null;
    const process = startProcess(
      world,
      MACHINE,
      ["broker"],
      {},
      (started) => (node = new StorageNode(world, started, options)),
      () => {},
    );
    await world.timeline.runUntil(() => node !== null, PATIENCE_MS);
    if (node === null) throw new Error(`${process.scope.name} did not start`);
    const booted: StorageNode = node;
    await drive(world, booted.#load());
    return booted;
  }

  async #load(): Promise<void> {
    for (const definition of MODULES) await this.#modules.load(definition);
  }

  /** An orderly end. */
  async stop(): Promise<void> {
    const unload = async (): Promise<void> => {
      for (const { name } of MODULES.toReversed()) await this.#modules.remove(name);
    };
    await drive(this.world, unload());
  }

  kill(): void {
    this.process.exitBySignal(KILL);
  }
}

export function storageOf(world: World): ReturnType<World["storage"]> {
  return world.storage(MACHINE);
}
