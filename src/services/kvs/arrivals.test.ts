/** Commits that refer to blobs of the content store wait for its word alone: nobody else does, and their sender keeps his order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../base/bytes.ts";
import { makeValref } from "../../formats/treeobj.ts";
import { Kvs, KvsTransaction } from "../../sdk/kvs.ts";
import type { ModuleDefinition } from "../../sdk/module.ts";
import type { Methods } from "../../sdk/service.ts";
import { contentModule } from "../content/service.ts";
import { contentSqliteModule } from "../content-sqlite/service.ts";
import { kvsModule } from "./service.ts";
import { makeBrokers, stopStorage, type Broker } from "./world.fixture.ts";

/** A content store that keeps those waiting who ask it to keep blobs, until it is let go. */
class SlowStore {
  readonly #gate = Promise.withResolvers<void>();
  readonly #asked = Promise.withResolvers<void>();
  /** Resolves when somebody waits. */
  readonly asked: Promise<void> = this.#asked.promise;
  readonly definition: ModuleDefinition = {
    name: contentSqliteModule.name,
    start: (context) => {
      const { server } = context;
      const add = (service: string, methods: Methods): void => server.add(service, this.#slow(methods));
      return contentSqliteModule.start({ ...context, server: { add } as typeof server });
    },
  };

  #slow(methods: Methods): Methods {
    const { adopt } = methods;
    if (typeof adopt !== "function") return methods;
    return {
      ...methods,
      adopt: async (request) => {
        this.#asked.resolve();
        await this.#gate.promise;
        return adopt(request);
      },
    };
  }

  letGo(): void {
    this.#gate.resolve();
  }
}

async function start(size: number): Promise<{ store: SlowStore; brokers: Broker[] }> {
  const store = new SlowStore();
  const brokers = makeBrokers({ size });
  for (const broker of brokers) {
    await broker.load(contentModule);
    if (broker.rank === 0) await broker.load(store.definition);
    await broker.load(kvsModule);
  }
  return { store, brokers };
}

for (const rank of [0, 1])
  test(`while the store thinks about what one commit on rank ${rank} refers to, others commit; its sender's own come after it`, async () => {
    const { store, brokers } = await start(2);
    const writer = new Kvs(brokers[rank]!.connect());
    const other = new Kvs(brokers[rank]!.connect());
    const bytes = utf8Encode("a value that lives in the content store, and that no commit has referred to before");
    const stored = (await writer.handle.call("content.store", bytes))!.bytes;
    const ref = `sha1-${Buffer.from(stored).toString("hex")}`;
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(name);
    const referring = writer.commit(new KvsTransaction().putTreeObject("big", makeValref([ref]))).then(note("big"));
    const behind = writer.put("progress", "done").then(note("progress"));
    await store.asked;
    await other.put("small", 1).then(note("small"));
    assert.deepEqual(order, ["small"]);
    store.letGo();
    await Promise.all([referring, behind]);
    assert.deepEqual(order, ["small", "big", "progress"]);
    assert.deepEqual(await other.getBytes("big"), bytes);
    await stopStorage(brokers);
  });
