/** Job states by their events (RFC 21). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { JobState, type JobEvent } from "../../sdk/job-protocol.ts";
import { apply, replay } from "./fold.ts";
import { newFolded, type Folded } from "./job.ts";

const { New, Depend, Priority, Sched, Run, Cleanup, Inactive } = JobState;

/** An event of each kind, well formed. */
const EVENTS: Readonly<Record<string, JsonObject | undefined>> = {
  submit: { userid: 1000, urgency: 16, flags: 0, version: 1 },
  validate: undefined,
  invalidate: undefined,
  "jobspec-update": { "attributes.system.duration": 60 },
  "resource-update": { expiration: 100 },
  "set-flags": { flags: ["debug"] },
  "dependency-add": { description: "after-success=f1" },
  "dependency-remove": { description: "after-success=f1" },
  depend: undefined,
  priority: { priority: 16 },
  "flux-restart": undefined,
  urgency: { urgency: 20, userid: 1000 },
  alloc: { annotations: { sched: { resource_summary: "rank0/core0" } } },
  "prolog-start": { description: "prolog" },
  "prolog-finish": { description: "prolog", status: 0 },
  start: {},
  finish: { status: 0 },
  release: { ranks: "all", final: true },
  "epilog-start": { description: "epilog" },
  "epilog-finish": { description: "epilog", status: 0 },
  free: {},
  clean: {},
  exception: { type: "cancel", severity: 0, note: "" },
  memo: { key: "value" },
  "debug.alloc-request": undefined,
};

function event(name: string): JobEvent {
  const context = EVENTS[name];
  return context === undefined ? { timestamp: 1, name } : { timestamp: 1, name, context };
}

function after(...names: string[]): Folded {
  return replay(names.map(event));
}

const TO_DEPEND = ["submit", "validate"];
const TO_PRIORITY = [...TO_DEPEND, "depend"];
const TO_SCHED = [...TO_PRIORITY, "priority"];
const TO_RUN = [...TO_SCHED, "alloc"];
const TO_STARTED = [...TO_RUN, "start"];
const TO_FINISHED = [...TO_STARTED, "finish"];
const TO_RELEASED = [...TO_FINISHED, "release"];
const TO_FREED = [...TO_RELEASED, "free"];
const TO_INACTIVE = [...TO_FREED, "clean"];

/** In each situation: the events that are legal, and the state they lead to where it is another. */
const TABLE: readonly (readonly [
  path: readonly string[],
  state: JobState,
  legal: Readonly<Record<string, JobState>>,
])[] = [
  [
    ["submit"],
    New,
    {
      validate: Depend,
      invalidate: Inactive,
      "dependency-add": New,
      depend: Priority,
      exception: Cleanup,
      urgency: New,
    },
  ],
  [TO_DEPEND, Depend, { "dependency-add": Depend, depend: Priority, urgency: Depend, exception: Cleanup }],
  [[...TO_DEPEND, "dependency-add"], Depend, { "dependency-remove": Depend, urgency: Depend, exception: Cleanup }],
  [TO_PRIORITY, Priority, { priority: Sched, urgency: Priority, exception: Cleanup }],
  [TO_SCHED, Sched, { priority: Sched, alloc: Run, urgency: Sched, exception: Cleanup, "flux-restart": Priority }],
  [
    TO_RUN,
    Run,
    {
      start: Run,
      finish: Cleanup,
      release: Run,
      exception: Cleanup,
      "resource-update": Run,
      "epilog-start": Run,
    },
  ],
  [
    [...TO_RUN, "prolog-start"],
    Run,
    {
      finish: Cleanup,
      release: Run,
      exception: Cleanup,
      "resource-update": Run,
      "prolog-finish": Run,
      "epilog-start": Run,
    },
  ],
  [TO_STARTED, Run, { finish: Cleanup, release: Run, exception: Cleanup, "resource-update": Run, "epilog-start": Run }],
  [
    TO_FINISHED,
    Cleanup,
    { release: Cleanup, free: Cleanup, exception: Cleanup, "resource-update": Cleanup, "epilog-start": Cleanup },
  ],
  [
    [...TO_FINISHED, "epilog-start"],
    Cleanup,
    { release: Cleanup, exception: Cleanup, "resource-update": Cleanup, "epilog-finish": Cleanup },
  ],
  [TO_RELEASED, Cleanup, { free: Cleanup, exception: Cleanup, "resource-update": Cleanup, "epilog-start": Cleanup }],
  [TO_FREED, Cleanup, { clean: Inactive, exception: Cleanup, "epilog-start": Cleanup }],
  [[...TO_SCHED, "exception"], Cleanup, { clean: Inactive, exception: Cleanup, "epilog-start": Cleanup }],
  [TO_INACTIVE, Inactive, {}],
];

/** Legal in every active state, without an effect on it. */
const ALWAYS = ["jobspec-update", "set-flags", "memo", "debug.alloc-request", "prolog-start", "flux-restart"];

describe("the states of RFC 21", () => {
  for (const [path, state, legal] of TABLE) {
    test(`after ${path.join(", ")}`, () => {
      assert.equal(after(...path).state, state);
      for (const name of Object.keys(EVENTS)) {
        const isOpenProlog = name === "prolog-start" && path.includes("prolog-start");
        const isAlways = state !== Inactive && ALWAYS.includes(name) && !isOpenProlog;
        const expected = legal[name] ?? (isAlways ? state : undefined);
        if (expected === undefined) assert.throws(() => after(...path, name), FluxError, `${name} should be refused`);
        else assert.equal(after(...path, name).state, expected, `state after ${name}`);
      }
    });
  }

  test("the first event is submit, and nothing else", () => {
    for (const name of Object.keys(EVENTS)) if (name !== "submit") assert.throws(() => after(name), /before submit/);
    assert.throws(() => after("submit", "submit"), /a second time/);
  });

  test("the first fatal exception tells why a job failed", () => {
    const job = after(...TO_STARTED);
    const raise = (type: string, severity: number): void =>
      apply(job, { timestamp: 1, name: "exception", context: { type, severity, note: "why" } });
    raise("warning", 3);
    assert.equal(job.state, Run);
    raise("oom", 0);
    raise("cancel", 0);
    assert.equal(job.state, Cleanup);
    assert.equal(job.exception?.type, "oom");
  });

  test("annotations of memos merge, null removes", () => {
    const job = after("submit");
    apply(job, { timestamp: 1, name: "memo", context: { a: 1, b: { c: 2 } } });
    apply(job, { timestamp: 1, name: "memo", context: { a: null, b: { d: 3 } } });
    assert.deepEqual(job.annotations, { user: { b: { c: 2, d: 3 } } });
  });
});

const anyEvent = fc.constantFrom(...Object.keys(EVENTS)).map(event);

describe("any sequence of events", () => {
  test("is legal event by event, or refused without a trace; replaying what was taken gives the same state", () => {
    fc.assert(
      fc.property(
        fc.array(anyEvent, { maxLength: 60 }),
        fc.constantFrom(...TABLE.map(([path]) => path)),
        (events, path) => {
          const job = newFolded();
          const taken: JobEvent[] = [];
          for (const each of [...path.map(event), ...events]) {
            const before = structuredClone(job);
            try {
              apply(job, each);
              taken.push(each);
            } catch (error) {
              assert.ok(error instanceof FluxError, String(error));
              assert.deepEqual(job, before, `${each.name} was refused and left a trace`);
            }
          }
          assert.deepEqual(replay(taken), job);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("never leaves the inactive state", () => {
    fc.assert(
      fc.property(anyEvent, (each) => {
        const job = after(...TO_INACTIVE);
        assert.throws(() => apply(job, each), FluxError);
        assert.equal(job.state, Inactive);
      }),
    );
  });
});
