/** What the ingest service accepts, and what it says to the rest. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { Errno, FluxError, type ErrnoName } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { unwrapJobspec, wrapJobspec } from "../../sdk/job-envelope.ts";
import { JobFlag } from "../../sdk/job-protocol.ts";
import { checkSubmission, operationsOf, type IngestPolicy } from "./core.ts";
import { SharedEnvironments } from "./environments.ts";
import { defaultsOf, frobnicate, NO_DEFAULTS } from "./frobnicate.ts";

const OWNER = { userid: 1000, isOwner: true };
const GUEST = { userid: 2000, isOwner: false };
const POLICY: IngestPolicy = {
  isValidating: true,
  checksFeasibility: false,
  requireVersion: null,
  defaults: NO_DEFAULTS,
};

function jobspec(system: JsonObject = {}): JsonObject {
  return {
    version: 1,
    resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] }],
    tasks: [{ command: ["true"], slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration: 0, ...system } },
  };
}

function envelope(spec: unknown = jobspec(), userid = 1000): string {
  return wrapJobspec(JSON.stringify(spec), userid);
}

describe("a submission", () => {
  const good = { J: envelope(), urgency: 16, flags: 0 };
  const table: readonly (readonly [string, Partial<typeof good>, typeof OWNER, ErrnoName, RegExp])[] = [
    ["an unknown flag", { flags: 64 }, OWNER, "EPROTO", /^invalid job flags$/],
    ["a client's own flag", { flags: JobFlag.PreSigned }, OWNER, "EPROTO", /^invalid job flags$/],
    [
      "novalidate by a guest",
      { flags: JobFlag.NoValidate },
      GUEST,
      "EPERM",
      /^only the instance owner can submit with FLUX_JOB_NOVALIDATE$/,
    ],
    ["an urgency beyond the range", { urgency: 32 }, OWNER, "EINVAL", /^urgency range is \[0:31\]$/],
    [
      "a high urgency by a guest",
      { urgency: 17 },
      GUEST,
      "EINVAL",
      /^only the instance owner can submit with urgency >16$/,
    ],
    ["somebody else's envelope", {}, { userid: 9999, isOwner: false }, "EPERM", /^signer=1000 != requestor=9999$/],
    [
      "a guest's unsigned envelope",
      { J: envelope(jobspec(), 2000) },
      GUEST,
      "EPERM",
      /^only instance owner can use sign-type=none$/,
    ],
    ["no envelope", { J: "foo" }, OWNER, "EINVAL", /^could not unwrap jobspec: Invalid argument$/],
    [
      "an envelope with a garbled payload",
      { J: envelope().replace(/\.[^.]+\./, ".!!!!.") },
      OWNER,
      "EINVAL",
      /^could not unwrap/,
    ],
    ["a jobspec that is not JSON", { J: wrapJobspec("{", 1000) }, OWNER, "EINVAL", /^jobspec: invalid JSON: /],
    ["a jobspec without tasks", { J: envelope({ ...jobspec(), tasks: undefined }) }, OWNER, "EINVAL", /Missing key/],
  ];
  for (const [what, change, submitter, errno, text] of table)
    test(`with ${what} is refused`, () =>
      assert.throws(
        () => checkSubmission({ ...good, ...change }, submitter, POLICY),
        (error) => error instanceof FluxError && error.errnum === Errno[errno] && text.test(error.message),
      ));

  test("is stored as signed, with the jobspec beside it without its environment", () => {
    const environment = { SECRET: "x".repeat(100) };
    const J = envelope(jobspec({ environment }));
    const checked = checkSubmission({ ...good, J }, OWNER, POLICY);
    assert.deepEqual(checked.jobspec.attributes.system!.environment, environment);
    const job = { id: 1, userid: 1000, urgency: 16, flags: 0, t_submit: 5.5, jobspec: checked.jobspec };
    const texts = operationsOf(job, J, checked.payload).map(({ key, dirent }) => [
      key,
      Buffer.from((dirent as { data: string }).data, "base64").toString(),
    ]);
    assert.deepEqual(texts, [
      ["job.0000.0000.0000.0001.J", J],
      ["job.0000.0000.0000.0001.jobspec", JSON.stringify(jobspec())],
      [
        "job.0000.0000.0000.0001.eventlog",
        '{"timestamp":5.5,"name":"submit","context":{"userid":1000,"urgency":16,"flags":0,"version":1}}\n',
      ],
    ]);
  });

  test("is not validated where the owner does not want it", () => {
    const J = envelope({ ...jobspec(), version: 99 });
    assert.throws(() => checkSubmission({ ...good, J }, OWNER, POLICY), FluxError);
    assert.equal(checkSubmission({ ...good, J, flags: JobFlag.NoValidate }, OWNER, POLICY).jobspec.version, 99);
  });

  test("can be read by every service even where nobody validates it: it is stored, and read again at each restart", () => {
    const spec = jobspec() as JsonObject;
    const task = (spec["tasks"] as JsonObject[])[0]!;
    const unreadable: JsonObject[] = [
      { ...spec, attributes: {}, tasks: [], resources: [{ type: "slot", count: 1, with: true }] },
      { ...spec, resources: [null] },
      { ...spec, resources: 1 },
      { ...spec, tasks: [{ ...task, command: "true" }] },
      { ...spec, tasks: [{ slot: "task" }] },
      { ...spec, tasks: [{ ...task, count: 1 }] },
      { ...spec, attributes: 1 },
      ...[
        { duration: "1" },
        { queue: 1 },
        { job: { name: 1 } },
        { shell: { options: [] } },
        { dependencies: [null] },
        { environment: [] },
      ].map((system) => ({ ...spec, attributes: { system } })),
    ];
    for (const value of unreadable) {
      const submission = { ...good, J: envelope(value as never), flags: JobFlag.NoValidate };
      assert.throws(() => checkSubmission(submission, OWNER, POLICY), /^FluxError: jobspec: /, JSON.stringify(value));
    }
  });
});

test("an envelope is unwrapped to what was wrapped, whatever the text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(), (text, userid) => {
      const unwrapped = unwrapJobspec(wrapJobspec(text.toWellFormed(), userid));
      assert.deepEqual([unwrapped.jobspec, unwrapped.userid], [text.toWellFormed(), userid]);
    }),
  );
});

test("garbled envelopes are refused, never more", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.throws(() => unwrapJobspec(text), FluxError);
    }),
  );
});

describe("defaults of the configuration", () => {
  const defaults = defaultsOf({
    policy: { jobspec: { defaults: { system: { queue: "batch", duration: "1h" } } } },
    queues: {
      batch: { requires: ["b"] },
      debug: { policy: { jobspec: { defaults: { system: { duration: "1m" } } } } },
    },
  });
  const systemOf = (value: JsonObject): JsonObject => (frobnicate(value, defaults) as any).attributes.system;

  test("fill in queue, duration and the constraints of the queue", () => {
    assert.deepEqual(systemOf(jobspec()), { queue: "batch", duration: 3600, constraints: { properties: ["b"] } });
    assert.deepEqual(systemOf(jobspec({ queue: "debug" })), { queue: "debug", duration: 60 });
  });
  test("give way to what the job says", () => {
    const own = { duration: 5, constraints: { hostlist: ["h1"] } };
    const constraints = { and: [own.constraints, { properties: ["b"] }] };
    assert.deepEqual(systemOf(jobspec(own)), { queue: "batch", duration: 5, constraints });
  });
  test("know their queues", () => {
    assert.throws(() => systemOf(jobspec({ queue: "x" })), /Invalid queue 'x' specified/);
  });
});

test("equal environments become one object", () => {
  const environments = new SharedEnvironments();
  const share = (): unknown =>
    environments.share(jobspec({ environment: { A: "1", B: "2" } }) as never).attributes.system!.environment;
  assert.equal(share(), share());
});
