/** What the ingest service accepts, and what it says to the rest. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { Errno, FluxError, type ErrnoName } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { unwrapJobspec, wrapJobspec } from "../../sdk/job-envelope.ts";
import { JobFlag } from "../../sdk/job-protocol.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { parsePolicyConfig } from "../../formats/policy-config.ts";
import { checkSubmission, openSubmission, operationsOf, type Checked } from "./core.ts";
import { SharedEnvironments } from "./environments.ts";
import { FROBNICATORS, frobnicate } from "./frobnicate.ts";
import type { SubmitRequest } from "./protocol.ts";
import { DEFAULT_SETTINGS, generatorOf, ingestSettings } from "./settings.ts";
import { validate } from "./validate.ts";

const OWNER = { userid: 1000, isOwner: true };
const GUEST = { userid: 2000, isOwner: false };

/** A submission as the service takes it that nobody has configured. */
function submit(request: SubmitRequest, submitter: typeof OWNER): Checked {
  const opened = openSubmission(request, submitter);
  const validates = (request.flags & JobFlag.NoValidate) === 0;
  return checkSubmission(opened, opened.original, validates ? DEFAULT_SETTINGS.validator : null);
}

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
    [
      "a jobspec without tasks",
      { J: envelope({ ...jobspec(), tasks: undefined }) },
      OWNER,
      "EPERM",
      /^Missing key \(tasks\)$/,
    ],
  ];
  for (const [what, change, submitter, errno, text] of table)
    test(`with ${what} is refused`, () =>
      assert.throws(
        () => submit({ ...good, ...change }, submitter),
        (error) => error instanceof FluxError && error.errnum === Errno[errno] && text.test(error.message),
      ));

  test("is refused where nobody could read it, though RFC 14 leaves the attribute free", () => {
    for (const system of [{ shell: 1 }, { queue: 1 }, { job: { name: 1 } }])
      assert.throws(() => submit({ ...good, J: envelope(jobspec(system)) }, OWNER), /cannot be read$/);
  });

  test("is stored as signed, with the jobspec beside it without its environment", () => {
    const environment = { SECRET: "x".repeat(100) };
    const J = envelope(jobspec({ environment }));
    const checked = submit({ ...good, J }, OWNER);
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
    assert.throws(() => submit({ ...good, J }, OWNER), FluxError);
    assert.equal(submit({ ...good, J, flags: JobFlag.NoValidate }, OWNER).jobspec.version, 99);
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
      assert.throws(() => submit(submission, OWNER), /^FluxError: jobspec: /, JSON.stringify(value));
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
  const policy = parsePolicyConfig({
    policy: { jobspec: { defaults: { system: { queue: "batch", duration: "1h" } } } },
    queues: {
      batch: { requires: ["b"] },
      debug: { policy: { jobspec: { defaults: { system: { duration: "1m" } } } } },
    },
  });
  const systemOf = (value: JsonObject): JsonObject =>
    (frobnicate(value, FROBNICATORS, policy) as any).attributes.system;

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

describe("validators", () => {
  const settings = (args: string[], config: JsonObject = {}) => ingestSettings(config, args).validator!;
  const sized = (type: string, count: number): JsonObject => {
    const slot = { type: "slot", count: 1, label: "task", with: [{ type: "core", count: 1 }] };
    const resources = type === "node" ? [{ type, count, with: [slot] }] : [{ ...slot, count }];
    return { ...jobspec(), resources };
  };
  const noHosts = (): null => null;

  test("require-instance: large jobs must be instances, by the number of nodes or cores", () => {
    const all = settings(["validator-plugins=require-instance"]);
    assert.throws(
      () => validate(jobspec(), all, noHosts),
      /disabled for all jobs in this instance\. Please use flux-batch/,
    );
    const nodes = settings(["validator-plugins=require-instance", "validator-args=--require-instance-minnodes=2"]);
    validate(sized("node", 1), nodes, noHosts);
    validate(sized("slot", 31), nodes, noHosts);
    assert.throws(() => validate(sized("node", 2), nodes, noHosts), /disabled for jobs >= 2 nodes or 32 cores\./);
    assert.throws(() => validate(sized("slot", 32), nodes, noHosts), /2 nodes or 32 cores/);
    const table = { ingest: { validator: { plugins: ["require-instance"], "require-instance": { mincores: 3 } } } };
    assert.throws(() => validate(sized("slot", 3), settings([], table), noHosts), /disabled for jobs >= 3 cores\./);
    for (const command of [
      ["flux", "start"],
      ["/usr/bin/flux", "broker", "x"],
    ]) {
      const instance = { ...sized("node", 5), tasks: [{ command, slot: "task", count: { per_slot: 1 } }] };
      validate(instance, nodes, noHosts);
    }
    for (const command of [["flux", "getattr"], ["xflux", "start"], ["flux"]]) {
      const other = { ...sized("node", 5), tasks: [{ command, slot: "task", count: { per_slot: 1 } }] };
      assert.throws(() => validate(other, nodes, noHosts), /Direct job submission/);
    }
  });

  test("jobspec: hosts that are not there, wherever the constraint names them", () => {
    const hosts = Hostlist.parse("h[0-3]");
    const check = (constraints: JsonObject): unknown =>
      validate(jobspec({ constraints }), DEFAULT_SETTINGS.validator!, () => hosts);
    check({ hostlist: ["h[1-2]"] });
    assert.throws(
      () => check({ hostlist: ["h1,x"] }),
      /^FluxError: host constraint contains invalid hosts: host 'x' not found$/,
    );
    assert.throws(() => check({ not: [{ hostlist: ["x[1-2]"] }] }), /hosts 'x\[1-2\]' not found$/);
    assert.throws(() => check({ or: [{ properties: ["p"] }, { hostlist: ["x"] }] }), /host 'x' not found/);
    assert.throws(() => check({ hostlist: ["h[0-1000000]"] }), /hosts 'h\[0-1000000\]' not found/);
  });

  test("are named by the configuration, and by arguments of the module before it", () => {
    const config = { ingest: { validator: { plugins: ["feasibility"], args: ["--require-version=any"] } } };
    assert.deepEqual(settings([], config).plugins, ["feasibility"]);
    assert.equal(settings([], config).requireVersion, "any");
    assert.deepEqual(settings(["validator-plugins=jobspec,feasibility"], config).plugins, ["jobspec", "feasibility"]);
    assert.equal(ingestSettings({ ingest: { validator: { disable: true } } }, []).validator, null);
    const external = ingestSettings({}, ["validator-plugins=jobspec,/x/y.mjs", "validator-args=--a=1"]);
    assert.deepEqual(external.externalValidators, { plugins: ["/x/y.mjs"], args: ["--a=1"] });
  });
});

test("settings that make no sense are refused by name", () => {
  const table: readonly (readonly [JsonObject, string[], RegExp])[] = [
    [{ validator: { plugins: "x" } }, [], /^FluxError: error in \[ingest\.validator\] plugins array$/],
    [{ validator: { args: 5 } }, [], /^FluxError: error in \[ingest\.validator\] args array$/],
    [{ validator: { disable: 5 } }, [], /\[ingest\.validator\] config table: Expected true or false, got integer$/],
    [{ validator: { plugins: ["foo"] } }, [], /plugin 'foo' not found/],
    [{ validator: { args: ["--foo=1"] } }, [], /unrecognized arguments: --foo=1/],
    [{ validator: { args: ["--require-version=99"] } }, [], /^FluxError: Invalid argument to --require-version$/],
    [{ frobnicator: { plugins: ["xx"] } }, [], /plugin 'xx' not found/],
    [{ "batch-count": "x" }, [], /error reading \[ingest\] config table: Expected integer, got string$/],
    [{ "buffer-size": "x" }, [], /^FluxError: Invalid buffer-size: 'x'$/],
    [{}, ["foo=bar"], /^FluxError: Invalid option: foo=bar$/],
    [{}, ["buffer-size=-1"], /Invalid buffer-size/],
  ];
  for (const [ingest, args, sentence] of table) assert.throws(() => ingestSettings({ ingest }, args), sentence);
  assert.equal(ingestSettings({ ingest: { "buffer-size": "4.5M" } }, []).bufferSizeBytes, 4.5 * 2 ** 20);
  assert.equal(generatorOf(3, ["max-fluid-generator-id=2"]), null);
  assert.throws(() => generatorOf(0, ["max-fluid-generator-id=1000000"]), /must be between 0 and/);
});
