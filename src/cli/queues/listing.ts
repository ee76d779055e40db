/**
 * Queues as `flux queue list` shows them: fields by name, made from the configuration, the state that the job manager
 * tells of each queue, and the resources that the scheduler has. Pure.
 */
import type { ResourceSet } from "../../formats/resource-set.ts";
import { Float, type FieldValue } from "../output/field-value.ts";
import { type Row } from "../output/format-string.ts";
import type { NamedFormat } from "../output/named-formats.ts";
import { RESOURCE_KINDS, type QueuePolicy, type ResourceKind } from "./policy.ts";

/** The answer of `job-manager.queue-status`. */
export interface QueueStatus {
  readonly enable: boolean;
  readonly start: boolean;
  readonly disable_reason?: string;
  readonly stop_reason?: string;
  /** What keeps a started queue from scheduling: "parent" or "scheduler". */
  readonly blocked?: string;
}

export interface Queue {
  /** Empty for the anonymous queue. */
  readonly name: string;
  readonly status: QueueStatus;
  readonly policy: QueuePolicy;
  /** The resources of a state that the queue's jobs may have. */
  resources(state: ResourceState): ResourceSet;
}

const RESOURCE_STATES = ["all", "free", "allocated", "up", "down"] as const;
export type ResourceState = (typeof RESOURCE_STATES)[number];

const MARKS =
  "?:{queuem:<8.8} ?:{parent:<8.8} {color_enabled}{enabled:>2}{color_off} {color_started}{started:>2}{color_off}";
const TIME_LIMITS = "{defaults.timelimit!F:>8} {limits.timelimit!F:>8}";

export const QUEUE_FORMATS: Readonly<Record<string, NamedFormat>> = {
  default: {
    description: "Default flux-queue list format string",
    format: `${MARKS} ${TIME_LIMITS} {limits.range.effective.nnodes:>10} {limits.range.effective.ncores:>10} {limits.range.effective.ngpus:>10}`,
  },
  policy: {
    description: "flux-queue list with policy limits only",
    format: `${MARKS} ${TIME_LIMITS} {limits.range.nnodes:>10} {limits.range.ncores:>10} {limits.range.ngpus:>10}`,
  },
  nodes: {
    description: "Show queue status plus all/up/allocated/free nodes",
    format: `${MARKS} {resources.all.nnodes:>6} {resources.up.nnodes:>10} {resources.down.nnodes:>10} {resources.allocated.nnodes:>11} {resources.free.nnodes:>10}`,
  },
};

const COLOR = { green: "\u001b[01;32m", red: "\u001b[01;31m", yellow: "\u001b[01;33m", off: "\u001b[0;0m" };

interface FieldSpec {
  readonly heading: string;
  value(queue: Queue): FieldValue;
}

type Scheduling = "started" | "stopped" | "paused";

/** A virtual queue that waits for its parent only is paused: it goes on by itself. */
function schedulingOf({ status }: Queue): Scheduling {
  if (status.start) return "started";
  return status.blocked === "parent" ? "paused" : "stopped";
}

function scheduling(heading: string, words: Readonly<Record<Scheduling, string>>): FieldSpec {
  return { heading, value: (queue) => words[schedulingOf(queue)] };
}

function submission(heading: string, enabled: string, disabled: string): FieldSpec {
  return { heading, value: ({ status }) => (status.enable ? enabled : disabled) };
}

/** A number, `inf` where there is no limit. */
function limitText(value: number): string {
  return value === Infinity ? "inf" : String(value);
}

function countOf(resources: ResourceSet, kind: ResourceKind): number {
  return resources[kind];
}

const FIELDS: Readonly<Record<string, FieldSpec>> = {
  queue: { heading: "QUEUE", value: ({ name }) => name },
  queuem: { heading: "QUEUE", value: ({ name, policy }) => `${name}${policy.isDefault ? "*" : ""}` },
  parent: { heading: "PARENT", value: ({ policy }) => policy.parent },
  submission: submission("SUBMIT", "enabled", "disabled"),
  scheduling: scheduling("SCHED", { started: "started", stopped: "stopped", paused: "stopped (parent)" }),
  enabled: submission("EN", "✔", "✗"),
  started: scheduling("ST", { started: "✔", stopped: "✗", paused: "⏸" }),
  "enabled.ascii": submission("EN", "y", "n"),
  "started.ascii": scheduling("ST", { started: "y", stopped: "n", paused: "p" }),
  color_enabled: submission("", COLOR.green, COLOR.red),
  color_started: scheduling("", { started: COLOR.green, stopped: COLOR.red, paused: COLOR.yellow }),
  color_off: { heading: "", value: () => COLOR.off },
  "defaults.timelimit": { heading: "TDEFAULT", value: ({ policy }) => new Float(policy.defaultDuration) },
  "limits.timelimit": { heading: "TLIMIT", value: ({ policy }) => new Float(policy.maxDuration) },
  ...Object.fromEntries(RESOURCE_KINDS.flatMap(limitFields)),
};

/** The fields that there are for each kind of resource. */
function limitFields(kind: ResourceKind): [string, FieldSpec][] {
  const plural = kind.slice(1).toUpperCase();
  const suffixes = { all: "", free: ":FREE", allocated: ":ALLOC", up: ":UP", down: ":DOWN" };
  const effectiveMax = (queue: Queue): number =>
    Math.min(queue.policy.max(kind), countOf(queue.resources("all"), kind));
  return [
    [`limits.min.${kind}`, { heading: `MIN${plural}`, value: ({ policy }) => limitText(policy.min(kind)) }],
    [`limits.max.${kind}`, { heading: `MAX${plural}`, value: ({ policy }) => limitText(policy.max(kind)) }],
    [
      `limits.range.${kind}`,
      { heading: `N${plural}`, value: ({ policy }) => `${policy.min(kind)}-${limitText(policy.max(kind))}` },
    ],
    [
      `limits.range.effective.${kind}`,
      { heading: `N${plural}`, value: (queue) => `${queue.policy.min(kind)}-${effectiveMax(queue)}` },
    ],
    ...RESOURCE_STATES.map((state): [string, FieldSpec] => [
      `resources.${state}.${kind}`,
      { heading: plural + suffixes[state], value: (queue) => countOf(queue.resources(state), kind) },
    ]),
  ];
}

/** The heading of a field's column; null where there is no such field. */
export function queueFieldHeading(name: string): string | null {
  return Object.hasOwn(FIELDS, name) ? FIELDS[name]!.heading : null;
}

/** Whether a field is made from the scheduler's resources. */
export function needsResources(name: string): boolean {
  return name.startsWith("resources.") || name.startsWith("limits.range.effective.");
}

export function queueRow(queue: Queue): Row {
  return (name) => (Object.hasOwn(FIELDS, name) ? FIELDS[name]!.value(queue) : undefined);
}
