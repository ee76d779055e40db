/** Random histories of the KVS over several brokers, and proofs that what they check can fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import { BUILTIN_MODULES } from "../../src/broker/personality.ts";
import { Payload } from "../../src/protocol/message.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import type { ModuleContext } from "../../src/sdk/module.ts";
import { kvsModule } from "../../src/services/kvs/service.ts";
import { kvsWatchModule } from "../../src/services/kvs-watch/service.ts";
import { runHistory, type Planted } from "./history.ts";
import { missedFault, sweepHistories } from "./history-sweep.ts";
import { withHandle, withLog } from "./plant.ts";

const HISTORIES = 100;
const HISTORIES_PER_FAULT = 60;

test(
  `${HISTORIES} random histories are consistent, and meet every situation they must`,
  { timeout: 120_000 },
  async () => {
    const { failures, missing } = await sweepHistories(HISTORIES, 0);
    assert.deepEqual(failures, []);
    assert.deepEqual(missing, [], "situations that no history met");
  },
);

test("a watcher that begins at a rank which has not heard of the new leader yet need not hear what that one told before", async () => {
  await runHistory("550067");
});

type Subscribe = Handle["subscribe"];
type Listener = Parameters<Subscribe>[1];
type Event = Parameters<Listener>[0];

/** The KVS (or its watch service) with other ears, on every rank but the leader's. */
function hearing(change: (event: Event, hear: Listener) => void, service = kvsModule): Planted["modules"] {
  const definition = withHandle(service, (handle, context) =>
    context.rank === 0 && service === kvsModule
      ? {}
      : {
          subscribe: ((topic, listener, options) =>
            handle.subscribe(topic, (event) => change(event, listener), options)) as Subscribe,
        },
  );
  return { ...BUILTIN_MODULES, [service.name]: async () => definition };
}

function isVersion(event: Event): boolean {
  return event.topic.startsWith("kvs.namespace-primary-setroot");
}

function withRoot(event: Event, rootref: unknown): Event {
  const payload = Payload.json({ ...(event.payload!.value as JsonObject), rootref } as JsonObject);
  return { ...event, payload };
}

/** The KVS of followers that send commits in another way. */
function sending(
  change: (commit: JsonObject, send: (commit: JsonObject) => Promise<unknown>) => Promise<unknown>,
): Planted {
  const definition = withHandle(kvsModule, (handle: Handle, context: ModuleContext) =>
    context.rank === 0
      ? {}
      : {
          rpc: ((topic, payload, options) => {
            if (topic !== "kvs.commit") return handle.rpc(topic, payload, options);
            return change((payload as Payload).value, (commit) => handle.rpc(topic, commit, options));
          }) as Handle["rpc"],
        },
  );
  return { modules: { ...BUILTIN_MODULES, kvs: async () => definition } };
}

const PLANTED: readonly { readonly fault: string; readonly found: RegExp; readonly plant: () => Planted }[] = [
  {
    fault: "one append to the redo log in three is skipped",
    found: /acknowledged commit .* is lost/,
    plant: () => {
      let count = 0;
      return {
        wrapPorts: (ports) =>
          withLog(ports, (log) => ({ append: (data) => void (++count % 3 === 0 || log.append(data)) })),
      };
    },
  },
  {
    fault: "a stale follower: it takes each version for the one before",
    found: /version \d+ was read with|after it had read/,
    plant: () => {
      let before: unknown = null;
      return {
        modules: hearing((event, hear) => {
          if (!isVersion(event)) return hear(event);
          const { rootref } = event.payload!.value;
          hear(before === null ? event : withRoot(event, before));
          before = rootref;
        }),
      };
    },
  },
  {
    fault: "two announcements in a row are heard in the opposite order",
    found: /version \d+ was read with|after it had read/,
    plant: () => {
      let held: Event | null = null;
      return {
        modules: hearing((event, hear) => {
          if (!isVersion(event)) return hear(event);
          if (held === null) held = event;
          else {
            const first = held;
            held = null;
            hear(withRoot(first, event.payload!.value["rootref"]));
            hear(withRoot(event, first.payload!.value["rootref"]));
          }
        }),
      };
    },
  },
  {
    fault: "a follower is deaf to every seventh announcement",
    found: /takes for ever/,
    plant: () => {
      let count = 0;
      return {
        modules: hearing((event, hear) => {
          if (isVersion(event) && ++count % 7 === 0) hear({ ...event, topic: "nothing" });
          else hear(event);
        }),
      };
    },
  },
  {
    fault: "kvs-watch is deaf to every seventh announcement",
    found: /was not told of commit/,
    plant: () => {
      let count = 0;
      return {
        modules: hearing((event, hear) => {
          if (isVersion(event) && ++count % 7 === 0) hear({ ...event, topic: "nothing" });
          else hear(event);
        }, kvsWatchModule),
      };
    },
  },
  {
    fault: "a follower splits commits in two",
    found: /half of a commit was read|after \d+ commits .* was|made version \d+ after version \d+/,
    plant: () =>
      sending(async (commit, send) => {
        const ops = commit["ops"] as JsonObject[];
        if (ops.length < 2) return send(commit);
        await send({ ...commit, ops: ops.slice(0, -1) });
        return send({ ...commit, ops: ops.slice(-1) });
      }),
  },
  {
    fault: "a follower repeats a commit",
    found: /happened twice/,
    plant: () =>
      sending(async (commit, send) => {
        await send(commit);
        return send(commit);
      }),
  },
];

for (const { fault, found, plant } of PLANTED)
  test(`a planted fault is found: ${fault}`, { timeout: 120_000 }, async () => {
    assert.deepEqual(await missedFault(plant, found, HISTORIES_PER_FAULT), null);
  });
