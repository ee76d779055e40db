import assert from "node:assert/strict";
import { test } from "node:test";
import { parseToml } from "../../formats/toml.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { OutputFormat } from "../output/format-string.ts";
import { queueFieldHeading, QUEUE_FORMATS, queueRow, type QueueStatus } from "./listing.ts";
import { QueuePolicy } from "./policy.ts";

const CONFIG = parseToml(`
[policy]
jobspec.defaults.system = { queue = "batch", duration = "10m" }
limits.job-size.max.ngpus = 0
[queues.batch]
requires = ["big"]
policy.limits.duration = "8h"
policy.limits.job-size.max.nnodes = 16
[queues.express]
parent = "batch"
policy.limits.duration = "1h"
[queues.debug]
policy.limits.job-size.max.ngpus = -1
policy.limits.duration = "0"
`);

test("a queue's own policy counts before its parent's, that before the general one", () => {
  const express = new QueuePolicy(CONFIG, "express");
  assert.equal(express.parent, "batch");
  assert.deepEqual(express.requires, ["big"]);
  assert.equal(express.maxDuration, 3600);
  assert.equal(express.max("nnodes"), 16);
  assert.equal(express.max("ngpus"), 0);
  assert.equal(express.defaultDuration, 600);
  assert.equal(new QueuePolicy(CONFIG, "batch").isDefault, true);
});

test("a queue takes off a general limit with -1, or 0 for the duration", () => {
  const debug = new QueuePolicy(CONFIG, "debug");
  assert.equal(debug.max("ngpus"), Infinity);
  assert.equal(debug.maxDuration, Infinity);
  assert.equal(debug.min("nnodes"), 0);
});

const RUNNING: QueueStatus = { enable: true, start: true };

function line(name: string, status: QueueStatus, format: string): string {
  const resources = ResourceSet.of({ ranks: Idset.upTo(4), cores: Idset.upTo(8) });
  const queue = { name, status, policy: new QueuePolicy(CONFIG, name), resources: () => resources };
  return new OutputFormat(format, queueFieldHeading).table([queueRow(queue)]).lines[0] ?? "";
}

test("effective limits end at what the queue has", () => {
  const format =
    "{limits.range.nnodes} {limits.range.effective.nnodes} {limits.range.effective.ncores} {limits.max.ncores}";
  assert.equal(line("batch", RUNNING, format), "0-16 0-4 0-32 inf");
});

test("times are durations, inf where there is no limit", () => {
  assert.equal(line("express", RUNNING, "{defaults.timelimit!F} {limits.timelimit!F}"), "10m 1h");
  assert.equal(line("debug", RUNNING, "{defaults.timelimit} {limits.timelimit!F}"), "600.0 inf");
});

test("a virtual queue whose parent is stopped is paused; one without a scheduler is stopped", () => {
  const format = "{scheduling} {started.ascii} {started} {submission} {enabled.ascii}";
  const blocked = (by: string): QueueStatus => ({ enable: true, start: false, blocked: by });
  assert.equal(line("express", blocked("parent"), format), "stopped (parent) p ⏸ enabled y");
  assert.equal(line("express", blocked("scheduler"), format), "stopped n ✗ enabled y");
  assert.equal(line("batch", { enable: false, start: true }, format), "started y ✔ disabled n");
});

test("every named format has known fields only; a wrong one is named", () => {
  for (const { format } of Object.values(QUEUE_FORMATS)) assert.ok(new OutputFormat(format, queueFieldHeading));
  assert.throws(() => new OutputFormat("{limits.foo}", queueFieldHeading), /Unknown format field: limits.foo/);
});
