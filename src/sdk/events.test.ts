/** The order of the events of an instance, and the positions from which a stream goes on. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { FluxError } from "../base/errors.ts";
import type { Clock } from "../base/ports.ts";
import { EventOrder, instanceEvents, parsePosition, type InstanceEvent } from "./events.ts";
import type { Handle } from "./handle.ts";

type Told = Omit<InstanceEvent, "position">;

const PAST = 0;

function jobEvent(timestamp: number, id: number, name: string): Told {
  return { timestamp, kind: "job", id, name };
}

/** What a stream tells of events that have all happened before it began. */
function past(events: readonly Told[], from: string | null): InstanceEvent[] {
  const order = new EventOrder(from === null ? null : parsePosition(from));
  for (const event of events) order.add(event, PAST);
  return order.take(PAST);
}

describe("the order of events", () => {
  test("by time, whatever source tells first", () => {
    const order = new EventOrder(null);
    order.add(jobEvent(3, 1, "validate"), 10);
    order.add({ timestamp: 2, kind: "resource", name: "drain" }, 11);
    order.add(jobEvent(1, 1, "submit"), 12);
    assert.deepEqual(
      order.take(11).map(({ name }) => name),
      ["drain", "validate"],
    );
    assert.deepEqual(
      order.take(20).map(({ name }) => name),
      ["submit"],
    );
  });

  test("events of a job at one time stay as they came", () => {
    const names = ["dependency-add", "depend", "alloc"];
    const told = past(
      names.map((name) => jobEvent(5.5, 7, name)),
      null,
    );
    assert.deepEqual(
      told.map(({ name }) => name),
      names,
    );
    assert.deepEqual(
      told.map(({ position }) => position.split(":").at(-1)),
      ["0", "1", "2"],
    );
  });

  test("what came late does not set a position back", () => {
    const order = new EventOrder(null);
    order.add(jobEvent(5, 1, "alloc"), 1);
    const [first] = order.take(1);
    order.add(jobEvent(4, 2, "submit"), 2);
    const [late] = order.take(2);
    assert.equal(late?.position, first?.position);
  });

  test("annotations are told, but have no position of their own: they are in no eventlog", () => {
    const order = new EventOrder(null);
    order.add(jobEvent(1, 1, "submit"), 1);
    order.add(jobEvent(2, 1, "annotations"), 1);
    const [submit, annotations] = order.take(1);
    assert.equal(annotations?.position, submit?.position);
  });

  test("from every position a stream tells exactly the rest", () =>
    fc.assert(
      fc.property(
        fc.array(fc.record({ time: fc.nat(5), id: fc.integer({ min: 1, max: 4 }), isJob: fc.boolean() }), {
          maxLength: 30,
        }),
        fc.nat(),
        (entries, at) => {
          const events = entries
            .toSorted((left, right) => left.time - right.time)
            .map(({ time, id, isJob }, index): Told =>
              isJob ? jobEvent(time, id, `e${index}`) : { timestamp: time, kind: "resource", name: `e${index}` },
            );
          const all = past(events, null);
          if (all.length === 0) return;
          const cut = at % all.length;
          assert.deepEqual(past(events, all[cut]!.position), all.slice(cut + 1));
        },
      ),
    ));
});

test("a position that is none is refused with what to do", () => {
  for (const text of ["", "1", "1:job:f1", "x:job:f1:0", "1:else:f1:0", "1:job:1:0"])
    assert.throws(
      () => parsePosition(text),
      (error) => error instanceof FluxError && error.is("EINVAL"),
    );
  const [event] = past([jobEvent(1795389111.0116172, 35165044736, "depend")], null);
  assert.deepEqual(parsePosition(event!.position), {
    timestamp: 1795389111.0116172,
    kind: "job",
    id: 35165044736,
    number: 0,
  });
});

describe("a stream whose sources go away", () => {
  type Listener = { item(payload: { value: object }): void; end(error: FluxError | null): void };
  const clock = {
    now: () => 0,
    monotonicMs: () => Infinity,
    after: (_delayMs: number, wake: () => void) => {
      const timer = setImmediate(wake);
      return { cancel: () => clearImmediate(timer) };
    },
  };

  /** A broker whose journal of jobs has a backlog, and says what else the test wants. */
  function broker(backlog: readonly Told[], live: (say: (event: Told) => void, listener: Listener) => void): Handle {
    const open = (_topic: string, request: { full: boolean }, listener: Listener): object => {
      const say = ({ id, timestamp, name }: Told): void =>
        listener.item({ value: { id, events: [{ timestamp, name }] } });
      if (request.full) for (const event of backlog) say(event);
      listener.item({ value: { id: -1, events: [] } });
      setImmediate(() => live(say, listener));
      return { cancel: () => undefined };
    };
    return { open } as unknown as Handle;
  }

  const [first, second, third] = [jobEvent(1, 1, "submit"), jobEvent(2, 1, "clean"), jobEvent(3, 2, "submit")];

  async function namesOf(handle: Handle, reconnect: () => Promise<Handle>, count: number): Promise<string[]> {
    const stop = new AbortController();
    const names: string[] = [];
    const stream = { clock: clock as unknown as Clock, kinds: ["job"] as const, signal: stop.signal, reconnect };
    for await (const { id, name } of instanceEvents(handle, stream))
      if (names.push(`${id} ${name}`) === count) stop.abort();
    return names;
  }

  test("goes on through a new connection with what happened meanwhile, and tells nothing again", async () => {
    const restarted = broker([first, second], (say) => say(third));
    const lost = broker([], (say, listener) => {
      say(first);
      setTimeout(() => listener.end(new FluxError("ECONNRESET")));
    });
    assert.deepEqual(await namesOf(lost, () => Promise.resolve(restarted), 3), ["1 submit", "1 clean", "2 submit"]);
  });

  test("goes on when a service is loaded anew", async () => {
    let isReloaded = false;
    const reloaded = broker([first, second], (say, listener) => {
      if (isReloaded) return say(third);
      isReloaded = true;
      say(first);
      listener.end(null);
    });
    const never = (): Promise<Handle> => Promise.reject(new FluxError("ECONNREFUSED"));
    assert.deepEqual(await namesOf(reloaded, never, 3), ["1 submit", "1 clean", "2 submit"]);
  });

  test("ends where there is no way back, or no service to begin with", async () => {
    const lost = broker([], (_say, listener) => listener.end(new FluxError("ECONNRESET")));
    const never = (): Promise<Handle> => Promise.reject(new FluxError("ECONNREFUSED"));
    await assert.rejects(namesOf(lost, never, 1), (error) => error instanceof FluxError && error.is("ECONNREFUSED"));
    const refuse = (_topic: string, _request: object, listener: Listener): object => {
      listener.end(new FluxError("ENOSYS"));
      return { cancel: () => undefined };
    };
    const bare = { open: refuse } as unknown as Handle;
    await assert.rejects(namesOf(bare, never, 1), (error) => error instanceof FluxError && error.is("ENOSYS"));
  });
});
