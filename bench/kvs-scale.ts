/**
 * What the key-value store's costs depend on: rates through the SDK, and what a commit costs in a wide directory, beside
 * many watchers of other keys, to a value that grows, and while namespaces come and go.
 *
 *     bin/node bench/kvs-scale.ts [--flux PATH] [--entries N] [--watchers N] [--namespaces N] [--appends N]
 *         [--commits N] [--only NAME]
 *
 * Costs are the processor time of the broker (all its threads), so that another load on the machine counts little.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openFlux } from "../src/host/sdk.ts";
import type { Handle } from "../src/sdk/handle.ts";
import { Kvs, KvsTransaction } from "../src/sdk/kvs.ts";
import { Instance } from "./measure.ts";

const { values: options } = parseArgs({
  options: {
    flux: { type: "string", default: join(dirname(fileURLToPath(import.meta.url)), "..", "bin", "flux") },
    entries: { type: "string", default: "100000" },
    watchers: { type: "string", default: "10000" },
    namespaces: { type: "string", default: "100000" },
    appends: { type: "string", default: "100000" },
    commits: { type: "string", default: "5000" },
    only: { type: "string" },
  },
});
const commits = Number(options.commits);
const WINDOW = 256;
const TICK_MS = 10;

interface Scene {
  readonly handle: Handle;
  readonly kvs: Kvs;
  /** Processor time of the broker since its start, in milliseconds. */
  cpuMs(): number;
  /** Its resident memory in MiB. */
  memory(): number;
}

async function windowed(count: number, action: (number: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await action(next++);
  };
  await Promise.all(Array.from({ length: WINDOW }, lane));
}

/** Time and the broker's processor time of something done many times, in microseconds each. */
async function cost(scene: Scene, count: number, body: () => Promise<void>): Promise<{ wall: number; cpu: number }> {
  const cpuBefore = scene.cpuMs();
  const begin = performance.now();
  await body();
  const wall = ((performance.now() - begin) * 1000) / count;
  return { wall, cpu: ((scene.cpuMs() - cpuBefore) * 1000) / count };
}

function show(name: string, { wall, cpu }: { wall: number; cpu: number }, scene: Scene): void {
  const rate = `${Math.round(1e6 / wall)} /s`.padStart(12);
  const times = `${wall.toFixed(0)} us, broker ${cpu.toFixed(0)} us of processor time`;
  console.log(`${name.padEnd(52)}${rate}   ${times}, ${scene.memory().toFixed(0)} MiB`);
}

async function oneByOne(count: number, action: (number: number) => Promise<unknown>): Promise<void> {
  for (let number = 0; number < count; number++) await action(number);
}

const workloads: Record<string, (scene: Scene) => Promise<void>> = {
  async rates(scene) {
    const { kvs, handle } = scene;
    const put = (number: number): Promise<unknown> => kvs.put(`bench.key${number % 100}`, number);
    await windowed(2000, put);
    show("put+commit, one at a time", await cost(scene, commits, () => oneByOne(commits, put)), scene);
    show(`put+commit, ${WINDOW} under way`, await cost(scene, 8 * commits, () => windowed(8 * commits, put)), scene);
    const get = (number: number): Promise<unknown> => kvs.get(`bench.key${number % 100}`);
    show("get, one at a time", await cost(scene, commits, () => oneByOne(commits, get)), scene);
    show(`get, ${WINDOW} under way`, await cost(scene, 8 * commits, () => windowed(8 * commits, get)), scene);
    const ping = (number: number): Promise<unknown> => handle.rpc("kvs.ping", { number });
    show("ping, one at a time", await cost(scene, commits, () => oneByOne(commits, ping)), scene);
  },

  async wide(scene) {
    for (const size of [100, 1000, Number(options.entries)]) {
      const directory = `wide${size}`;
      for (let start = 0; start < size; start += 1000) {
        const transaction = new KvsTransaction();
        for (let number = start; number < Math.min(size, start + 1000); number++)
          transaction.put(`${directory}.key${number}`, number);
        await scene.kvs.commit(transaction);
      }
      await scene.kvs.commit(new KvsTransaction(), { sync: true });
      const put = (number: number): Promise<unknown> =>
        scene.kvs.put(`${directory}.key${(number * 7919) % size}`, number);
      const storedBefore = await storedBytes(scene.handle);
      const figures = await cost(scene, commits, () => oneByOne(commits, put));
      show(`put+commit in a directory of ${size}`, figures, scene);
      await scene.kvs.commit(new KvsTransaction().put("last", 1), { sync: true });
      const stored = (await storedBytes(scene.handle)) - storedBefore;
      console.log(`    ${(stored / 1024).toFixed(0)} KiB more in the file after ${commits} commits`);
      const get = (number: number): Promise<unknown> => scene.kvs.get(`${directory}.key${(number * 7919) % size}`);
      show(`get in a directory of ${size}`, await cost(scene, commits, () => oneByOne(commits, get)), scene);
    }
  },

  async watchers(scene) {
    const put = (number: number): Promise<unknown> => scene.kvs.put(`busy.key${number % 10}`, number);
    await windowed(2000, put);
    show("put+commit, no watchers", await cost(scene, commits, () => oneByOne(commits, put)), scene);
    const transaction = new KvsTransaction();
    const count = Number(options.watchers);
    for (let number = 0; number < count; number++) transaction.put(`watched.d${number % 100}.key${number}`, number);
    await scene.kvs.commit(transaction);
    const watches = Array.from({ length: count }, (_, number) =>
      scene.kvs.watch(`watched.d${number % 100}.key${number}`),
    );
    await Promise.all(watches.map((watch) => watch.next()));
    show(
      `put+commit, ${count} watchers of other keys`,
      await cost(scene, commits, () => oneByOne(commits, put)),
      scene,
    );
    show("ending a watch", await cost(scene, count, async () => void (await Promise.all(watches.map(end)))), scene);
  },

  async appends(scene) {
    const count = Number(options.appends);
    const line = `{"timestamp":1700000000.123,"name":"debug","context":{"note":"a line of an eventlog"}}\n`;
    const append = (): Promise<unknown> => scene.kvs.commit(new KvsTransaction().append("log", line));
    const step = count / 5;
    for (let before = 0; before < count; before += step) {
      const name = `appending beyond ${before}`;
      show(name, await cost(scene, step, () => oneByOne(step, append)), scene);
    }
    const read = async (): Promise<unknown> => scene.kvs.getText("log");
    show("reading it", await cost(scene, 20, () => oneByOne(20, read)), scene);
    await scene.kvs.commit(new KvsTransaction().put("last", 1), { sync: true });
    const [megabytes, live] = [(await storedBytes(scene.handle)) / 1e6, (count * line.length) / 1e6];
    console.log(`    ${megabytes.toFixed(1)} MB in the file for ${live.toFixed(1)} MB`);
  },

  async namespaces(scene) {
    const count = Number(options.namespaces);
    const name = (number: number): string => `namespace${number}`;
    const create = (number: number): Promise<unknown> => scene.kvs.createNamespace(name(number));
    const put = (number: number): Promise<unknown> => scene.kvs.in(name(number)).put("key", number);
    const remove = (number: number): Promise<unknown> => scene.kvs.removeNamespace(name(number));
    show(`creating ${count} namespaces`, await cost(scene, count, () => windowed(count, create)), scene);
    show("a commit into each", await cost(scene, count, () => windowed(count, put)), scene);
    const busy = (number: number): Promise<unknown> => scene.kvs.put("key", number);
    show("put+commit beside them", await cost(scene, commits, () => oneByOne(commits, busy)), scene);
    const sync = (): Promise<unknown> => scene.kvs.commit(new KvsTransaction().put("last", 1), { sync: true });
    show("a checkpoint", await cost(scene, 1, async () => void (await sync())), scene);
    show("another one", await cost(scene, 1, async () => void (await sync())), scene);
    show("removing them", await cost(scene, count, () => windowed(count, remove)), scene);
    show("a checkpoint without them", await cost(scene, 1, async () => void (await sync())), scene);
  },
};

const end = (watch: AsyncGenerator<unknown>): Promise<unknown> => watch.return(undefined);

async function storedBytes(handle: Handle): Promise<number> {
  return (await handle.rpc<{ dbfile_size: number }>("content-sqlite.stats-get")).dbfile_size;
}

for (const [name, workload] of Object.entries(workloads)) {
  if (options.only !== undefined && options.only !== name) continue;
  await using instance = await Instance.start(options.flux, 1);
  const handle = await openFlux(instance.uri);
  const pid = await attribute(handle, "broker.pid");
  const stat = (): string[] =>
    readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
  const memory = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
  const cpuMs = (): number => (Number(stat()[11]) + Number(stat()[12])) * TICK_MS;
  await workload({ handle, kvs: new Kvs(handle), cpuMs, memory });
  handle.close();
}

async function attribute(handle: Handle, name: string): Promise<string> {
  return (await handle.rpc<{ value: string }>("attr.get", { name })).value;
}
