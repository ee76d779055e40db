/**
 * An instance of several brokers with nothing but the storage services, booted from a table of hosts, whose brokers die
 * and come back as a service manager would bring them back: rank 0 on its state directory, the others with nothing.
 */
import { utf8Encode } from "../../src/base/bytes.ts";
import { isFluxError } from "../../src/base/errors.ts";
import type { JsonObject } from "../../src/base/json.ts";
import type { Ports } from "../../src/base/ports.ts";
import { configBoot, formatKeyFile } from "../../src/broker/boot-config.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { ModuleRegistry } from "../../src/broker/module-files.ts";
import { BUILTIN_MODULES, DEFAULT_PERSONALITY } from "../../src/broker/personality.ts";
import { makeTree } from "../../src/broker/tree.ts";
import { Handle } from "../../src/sdk/handle.ts";
import { connectLocal } from "../../src/sdk/local-connector.ts";
import type { SimulatedProcess } from "../../src/testkit/exec.ts";
import { startProcess } from "../../src/testkit/instance.ts";
import type { World } from "../../src/testkit/world.ts";

const KEY_PATH = "/etc/flux/key";
const PORT = 8050;
const KILL = 9;
/** How long after its end a broker is started again. */
const RESTART_MS = 200;
const SERVICES = new Set(["heartbeat", "content", "content-sqlite", "kvs", "kvs-watch"]);
const PERSONALITY = DEFAULT_PERSONALITY.filter(({ name }) => SERVICES.has(name));

export interface ClusterOptions {
  readonly size: number;
  /** As of attribute tbon.topo. */
  readonly topology: string;
  readonly config: JsonObject;
  /** Plants faults: other services, or other ports of a rank. */
  readonly modules?: ModuleRegistry;
  readonly wrapPorts?: (ports: Ports, rank: number) => Ports;
}

export class Cluster {
  readonly world: World;
  readonly size: number;
  readonly stderr: string[] = [];
  readonly #options: ClusterOptions;
  readonly #brokers: (SimulatedProcess | null)[];
  readonly #keyText: string;
  #isOver = false;

  constructor(world: World, options: ClusterOptions) {
    this.world = world;
    this.size = options.size;
    this.#options = options;
    this.#brokers = Array.from({ length: options.size }, () => null);
    let keyText = "";
    const maker = startProcess(
      world,
      "maker",
      ["keygen"],
      {},
      () => {},
      () => {},
    );
    keyText = formatKeyFile(world.portsOf(maker).codec.generateKeyPair(), { name: "test" });
    maker.exit(0);
    this.#keyText = keyText;
    for (let rank = 0; rank < this.size; rank++) this.#start(rank);
  }

  machineOf(rank: number): string {
    return `node${rank}`;
  }

  /** `kill -9` of a broker. It comes back after a while, and so do those that it takes with it. */
  kill(rank: number): void {
    this.#brokers[rank]?.exitBySignal(KILL);
  }

  /** Its machine loses power: the broker dies, and what was not synchronised is partly gone. Clients look on. */
  losePower(rank: number): void {
    this.kill(rank);
    this.world.storage(this.machineOf(rank)).crash();
  }

  /** Nothing is started again. */
  end(): void {
    this.#isOver = true;
    for (let rank = 0; rank < this.size; rank++) this.kill(rank);
  }

  /** A client of the broker of a rank; waits for as long as it takes until there is one. */
  async connect(rank: number, name: string): Promise<Handle> {
    for (;;) {
      try {
        return await this.#connectOnce(rank, name);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        await this.pause(RESTART_MS);
      }
    }
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.world.timeline.after(ms, resolve));
  }

  #connectOnce(rank: number, name: string): Promise<Handle> {
    return new Promise((resolve, reject) => {
      startProcess(
        this.world,
        this.machineOf(rank),
        [name],
        {},
        (process) => {
          const connected = connectLocal(this.world.portsOf(process), `local://${socketOf(rank)}`, { retries: 0 });
          connected.then(
            (channel) => resolve(new Handle(channel)),
            (error: unknown) => {
              process.exit(1);
              reject(error as Error);
            },
          );
        },
        // A client that dies with its machine before it has a connection.
        () => {},
      );
    });
  }

  #start(rank: number): void {
    if (this.#isOver) return;
    const { world } = this;
    let hasBooted = false;
    this.#brokers[rank] = startProcess(
      world,
      this.machineOf(rank),
      ["flux-broker"],
      {},
      (process) => {
        hasBooted = true;
        this.#run(rank, process);
      },
      (code) => {
        world.record(`rank ${rank} exit`, code, hasBooted);
        world.timeline.after(RESTART_MS, () => this.#start(rank));
      },
    );
  }

  #run(rank: number, process: SimulatedProcess): void {
    const plain = this.world.portsOf(process);
    const ports = this.#options.wrapPorts?.(plain, rank) ?? plain;
    for (const path of ["/etc/flux", "/run", "/state"])
      ports.disk.makeDirectory(path, { mode: 0o700, recursive: true });
    ports.disk.writeFile(KEY_PATH, utf8Encode(this.#keyText), { mode: 0o600, sync: true });
    const broker = new Broker({
      ports,
      boot: configBoot(ports, this.#bootstrap(), ports.host.hostname),
      modules: this.#options.modules ?? BUILTIN_MODULES,
      personality: PERSONALITY,
      config: this.#options.config,
      attributes: {
        "local-uri": `local://${socketOf(rank)}`,
        "broker.rc2_none": "1",
        "broker.quorum": "1",
        "log-stderr-level": "3",
        ...(rank === 0 ? { statedir: "/state" } : {}),
      },
      stderr: (text) => {
        this.stderr.push(text);
        this.world.record(process.scope.name, "stderr", text.trimEnd());
      },
    });
    void broker.run().then((code) => process.exit(code));
  }

  #bootstrap(): JsonObject {
    const tree = makeTree(this.#options.topology, this.size);
    const hosts = Array.from({ length: this.size }, (_, rank) => {
      const parent = tree.parentOf(rank);
      return { host: this.machineOf(rank), ...(parent === null ? {} : { parent: this.machineOf(parent) }) };
    });
    return {
      curve_cert: KEY_PATH,
      default_port: PORT,
      default_bind: "tcp://%h:%p",
      default_connect: "tcp://%h:%p",
      hosts,
    };
  }
}

function socketOf(rank: number): string {
  return `/run/local-${rank}`;
}
