/** A mistake in a service costs the request that met it: the broker, and the service, go on. A broken invariant does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as invariant } from "../base/assert.ts";
import { isFluxError } from "../base/errors.ts";
import { Role } from "../protocol/message.ts";
import { Handle } from "../sdk/handle.ts";
import { ModuleHost } from "./module-host.ts";
import type { ModuleDefinition } from "../sdk/module.ts";
import { startProcess } from "../testkit/instance.ts";
import { World } from "../testkit/world.ts";
import { Router } from "./router.ts";

/** A service with a mistake in each kind of callback that it can have. */
const careless: ModuleDefinition = {
  name: "careless",
  start: async ({ server, handle, ports }) => {
    const missing = null as unknown as { length: number };
    await handle.subscribe("careless.event", () => void missing.length);
    server.add("careless", {
      now: () => ({ length: missing.length }),
      later: async () => ({ length: await Promise.resolve().then(() => missing.length) }),
      timer: () => {
        ports.clock.after(1, () => void missing.length);
        return null;
      },
      stream: () => {
        handle.open("careless.items", null, { item: () => void missing.length, end: () => {} });
        return null;
      },
      items: (request) => {
        request.respond({});
        return undefined;
      },
      invariant: () => {
        invariant(missing !== null, "what must hold does not");
        return null;
      },
    });
    return { stop: () => {} };
  },
};

interface Outcome {
  readonly answers: Record<string, string>;
  readonly logs: string[];
  readonly fatal: string[];
}

/** Sends requests to a service, one after the other, and tells what came of them. */
async function outcomeOf(topics: readonly string[], bugsAreFatal = false): Promise<Outcome> {
  const world = new World("containment");
  const outcome: Outcome = { answers: {}, logs: [], fatal: [] };
  let isOver = false;
  startProcess(
    world,
    "node0",
    ["broker"],
    {},
    (process) => {
      const ports = world.portsOf(process);
      const router = new Router({
        rank: 0,
        size: 1,
        ownerUserid: 0,
        routes: { parent: null, children: [], nextHop: () => null },
        newUuid: () => ports.random.uuid(),
        defer: (callback) => ports.clock.defer(callback),
      });
      const modules = new ModuleHost({
        router,
        ports,
        ownerUserid: 0,
        attribute: () => null,
        setAttribute: () => {},
        config: () => ({}),
        log: (component, level, text) => outcome.logs.push(`${level} ${component}: ${text.split("\n")[0]}`),
        fatal: (component, error) => outcome.fatal.push(`${component}: ${String(error)}`),
        bugsAreFatal,
      });
      const client = new Handle(router.attach({ userid: 0, rolemask: Role.Owner | Role.Local }));
      const ask = async (topic: string): Promise<string> => {
        try {
          await client.rpc(topic);
          return "answered";
        } catch (error) {
          return isFluxError(error) ? error.message : String(error);
        }
      };
      const run = async (): Promise<void> => {
        await modules.load(careless);
        client.sendEvent("careless.event");
        for (const topic of topics) outcome.answers[topic] = await ask(topic);
        isOver = true;
      };
      void run();
    },
    () => {},
  );
  await world.timeline.runUntil(() => isOver, 1000);
  await world.timeline.runUntil(() => false, 1000);
  return outcome;
}

const MISTAKE = "Cannot read properties of null (reading 'length')";

test("a handler with a mistake refuses its request, says why, and the service goes on", async () => {
  const { answers, logs, fatal } = await outcomeOf(["careless.now", "careless.later", "careless.ping"]);
  assert.deepEqual(answers, {
    "careless.now": `internal error in careless.now: ${MISTAKE}`,
    "careless.later": `internal error in careless.later: ${MISTAKE}`,
    "careless.ping": "answered",
  });
  assert.deepEqual(logs, [
    `3 careless: internal error in careless.event event: TypeError: ${MISTAKE}`,
    `3 careless: internal error in careless.now: TypeError: ${MISTAKE}`,
    `3 careless: internal error in careless.later: TypeError: ${MISTAKE}`,
  ]);
  assert.deepEqual(fatal, []);
});

test("so does a mistake of a timer, of who listens to events or reads a stream", async () => {
  const { logs, fatal } = await outcomeOf(["careless.timer", "careless.stream", "careless.ping"]);
  assert.deepEqual(logs.toSorted(), [
    `3 careless: internal error in a timer: TypeError: ${MISTAKE}`,
    `3 careless: internal error in careless.event event: TypeError: ${MISTAKE}`,
    `3 careless: internal error in response to careless.items: TypeError: ${MISTAKE}`,
  ]);
  assert.deepEqual(fatal, []);
});

test("a broken invariant ends the broker", async () => {
  const { fatal } = await outcomeOf(["careless.ping", "careless.invariant"]);
  assert.deepEqual(fatal, ["careless: AssertionError: what must hold does not"]);
});

test("where bugs are searched for, every mistake ends the broker", async () => {
  const { fatal } = await outcomeOf(["careless.ping", "careless.now"], true);
  assert.deepEqual(
    fatal,
    Array.from({ length: 2 }, () => `careless: TypeError: ${MISTAKE}`),
  );
});
