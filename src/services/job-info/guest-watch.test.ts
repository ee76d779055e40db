/** Who reads a job's log slowly gets it whole, and the broker keeps little of it for him meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Integer } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { Role, settleTransit, type Message } from "../../protocol/message.ts";
import { Handle } from "../../sdk/handle.ts";
import { waitForJob } from "../../sdk/jobs.ts";
import { OPERATION_APPEND } from "../../sdk/kvs-protocol.ts";
import { JobWorld, OWNER } from "../job-manager/job-world.fixture.ts";

const ENTRIES = 40;

/** A client that takes the lines of a log one at a time, when it is told to. */
class SlowReader {
  readonly lines: string[] = [];
  readonly ended: Promise<unknown>;
  readonly #untaken: Message[] = [];
  #arrived: () => void = () => {};

  constructor(world: JobWorld, id: Integer, path: string) {
    const port = world.broker.router.attach({ userid: OWNER, rolemask: Role.Owner | Role.Local });
    port.settlesTransit = true;
    const client = new Handle({
      start: (receive, closed) =>
        port.start((message) => {
          receive(message);
          if (message.transit !== undefined) this.#untaken.push(message);
          this.#arrived();
        }, closed),
      send: (message) => port.send(message),
      close: () => port.close(),
    });
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.ended = promise;
    client.open(
      "job-info.eventlog-watch",
      { id, path, flags: 0 },
      {
        item: (payload) => void this.lines.push((payload!.value as { event: string }).event),
        end: resolve,
      },
    );
  }

  /** Resolves when a line is there that has not been taken. */
  async line(): Promise<void> {
    while (this.#untaken.length === 0) await new Promise<void>((resolve) => (this.#arrived = resolve));
  }

  async takeOne(): Promise<void> {
    await this.line();
    settleTransit(this.#untaken.shift()!);
  }
}

for (const when of ["while the job runs", "after its end"])
  test(`the lines of a log wait in the store for a slow reader, ${when}`, async () => {
    const world = await JobWorld.start();
    const id = await world.submit();
    await world.allocate();
    const run = await world.start();
    run.tell("start");
    const key = `${fluidKvsPath(id)}.guest.output`;
    const entries = Array.from({ length: ENTRIES }, (_, number) => `{"timestamp":${number},"name":"data"}\n`);
    const append = async (from: number, to: number): Promise<void> => {
      for (const entry of entries.slice(from, to)) await world.commit(key, entry, OPERATION_APPEND);
    };
    await append(0, 10);
    const reader = new SlowReader(world, id, "guest.output");
    await reader.line();
    await append(10, ENTRIES);
    assert.equal(reader.lines.length, 1);
    if (when === "after its end") {
      run.finish(0);
      await waitForJob(world.client, id);
    }
    for (let count = 1; count <= ENTRIES; count++) {
      await reader.line();
      assert.equal(reader.lines.length, count);
      await reader.takeOne();
    }
    if (when !== "after its end") run.finish(0);
    assert.equal(await reader.ended, null);
    assert.deepEqual(reader.lines, entries);
    await world.stop();
  });
