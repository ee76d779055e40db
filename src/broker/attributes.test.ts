/** Broker attributes: what may be set by whom, and how their log and environment neighbours read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError } from "../base/errors.ts";
import { Attributes } from "./attributes.ts";
import { instanceEnvironment } from "./environment.ts";
import { formatForStderr, formatLogRecord, parseLogRecord } from "./log-record.ts";

const refusal = (text: string) => (error: unknown) => error instanceof FluxError && error.message === text;

test("the command line may set what is not read-only, and known names only", () => {
  const attributes = new Attributes();
  attributes.setInitial("broker.quorum", "1");
  attributes.setInitial("vendor.acme", "x");
  assert.equal(attributes.get("broker.quorum"), "1");
  assert.throws(
    () => attributes.setInitial("rank", "3"),
    refusal("rank: attribute may not be set on the command line"),
  );
  assert.throws(() => attributes.setInitial("foo", "3"), refusal("foo: unknown attribute"));
  assert.throws(() => attributes.setInitial("tbon.torpid_max", "soon"), FluxError);
});

test("clients may set run-time attributes; force helps with the others", () => {
  const attributes = new Attributes();
  attributes.set("size", "4");
  attributes.setByClient("log-stderr-level", "7", false);
  assert.equal(attributes.get("log-stderr-level"), "7");
  assert.throws(() => attributes.setByClient("size", "5", false), refusal("attribute may not be updated"));
  assert.throws(
    () => attributes.setByClient("size", "5", true),
    (error) => isFluxError(error, "EPERM"),
  );
  assert.throws(() => attributes.setByClient("foo", "5", true), refusal("unknown attribute"));
  attributes.setByClient("statedir", "/x", true);
  assert.equal(attributes.get("statedir"), "/x");
});

test("clients learn which values they may keep", () => {
  const attributes = new Attributes();
  attributes.set("size", "4");
  assert.deepEqual(attributes.describe("size"), { value: "4", flags: 1 });
  assert.deepEqual(attributes.describe("log-stderr-level"), { value: "3", flags: 0 });
  assert.throws(() => attributes.describe("jobid"), FluxError);
});

test("durations are kept in their canonical form", () => {
  const attributes = new Attributes();
  assert.equal(attributes.get("broker.quorum-warn"), "1m");
  attributes.setInitial("tbon.connect_timeout", "90s");
  assert.equal(attributes.get("tbon.connect_timeout"), "1.5m");
  attributes.setInitial("broker.shutdown-timeout", "90s");
  assert.equal(attributes.get("broker.shutdown-timeout"), "90s", "as it was written");
  assert.equal(attributes.seconds("broker.shutdown-timeout"), 90);
  assert.equal(attributes.seconds("broker.cleanup-timeout"), Infinity);
});

test("programs get the way to this instance, not the launcher's variables", () => {
  const env = instanceEnvironment(
    { PMI_FD: "5", SLURM_JOB_ID: "7", HOME: "/home/a", FLUX_KVS_NAMESPACE: "job-1", PATH: "/bin" },
    "local:///tmp/flux-x/local-0",
    "/opt/flux/bin/flux",
    null,
  );
  assert.deepEqual(env, {
    HOME: "/home/a",
    FLUX_URI: "local:///tmp/flux-x/local-0",
    FLUX_GUARDED_BY: "local:///tmp/flux-x/local-0",
    PATH: "/opt/flux/bin:/bin",
    YOGRT_BACKEND: "flux",
  });
});

test("log records survive their RFC 5424 line, to the microsecond", () => {
  const record = {
    timestamp: 1795365130.473547,
    severity: 3,
    rank: "0",
    appname: "broker",
    procid: "12",
    text: "rc2.0: false Exited (rc=1) 0.0s",
  };
  const line = formatLogRecord(record);
  assert.equal(line, "<24>1 2026-11-22T16:32:10.473547Z 0 broker 12 - - rc2.0: false Exited (rc=1) 0.0s");
  const read = parseLogRecord(line);
  assert.ok(Math.abs(read.timestamp - record.timestamp) < 1e-5);
  assert.deepEqual({ ...read, timestamp: 0 }, { ...record, timestamp: 0 });
  assert.equal(
    formatForStderr(record),
    "Nov 22 16:32:10.473547 UTC 2026 broker.err[0]: rc2.0: false Exited (rc=1) 0.0s\n",
  );
});
