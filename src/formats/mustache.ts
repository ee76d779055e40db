/**
 * The mustache templates of job commands, arguments and file names: `{{id}}`, `{{task.rank}}`, `out.{{id.dec}}`.
 *
 * Only tags are known, no sections. A tag that nobody knows stays in the text as it is, and so do braces that do not match.
 */
import type { Integer } from "../base/json.ts";
import { FLUID_FORMS, formatFluid, type FluidForm } from "./fluid.ts";

/** The text of a tag; undefined where the tag is unknown. */
export type TagLookup = (tag: string) => string | undefined;

const TAG = /\{\{([^{}]*)\}\}/g;

/** Replaces the tags of a template. `onUnknown` is told of each tag that stays. */
export function renderMustache(template: string, lookup: TagLookup, onUnknown?: (tag: string) => void): string {
  if (!template.includes("{{")) return template;
  return template.replace(TAG, (source, inner: string) => {
    const tag = inner.trim();
    const text = lookup(tag);
    if (text === undefined) onUnknown?.(tag);
    return text ?? source;
  });
}

/** The tags of a template, in order. */
export function mustacheTags(template: string): string[] {
  return [...template.matchAll(TAG)].map((match) => match[1]!.trim());
}

/** For what a file name is the same: a task only, a node, or the whole job. */
export function templateScope(template: string): "task" | "node" | "job" {
  const tags = mustacheTags(template);
  if (tags.some((tag) => tag === "taskid" || tag.startsWith("task."))) return "task";
  return tags.some((tag) => tag.startsWith("node.") || tag === "tmpdir") ? "node" : "job";
}

/** What the tags of flux-submit(1) speak of. What is not given is unknown. */
export interface JobTags {
  readonly id?: Integer;
  /** How a tag that names no form shows the id. */
  readonly idForm?: FluidForm;
  readonly name?: string;
  readonly nnodes?: number;
  readonly ntasks?: number;
  readonly tmpdir?: string;
  /** Index of the node in the job, host name, rank, and what the job has there: cores and gpus are idsets. */
  readonly node?: {
    readonly id: number;
    readonly name: string;
    readonly broker_rank: number;
    readonly cores: string;
    readonly gpus: string;
    readonly ncores: number;
  };
  /** Rank in the job, and index among the tasks of the node. */
  readonly task?: { readonly rank: number; readonly index: number };
}

/** The tags of a job, its node and its task. */
export function jobTagLookup(job: JobTags): TagLookup {
  return (tag) => {
    const id = /^(?:id|jobid)(?:\.(\w+))?$/.exec(tag);
    if (id !== null) return idText(job.id, id[1] ?? job.idForm ?? "f58");
    if (tag.startsWith("node.")) return nodeText(job.node, tag.slice(5));
    if (tag === "taskid" || tag.startsWith("task.")) return taskText(job.task, tag === "taskid" ? "id" : tag.slice(5));
    switch (tag) {
      case "name":
        return job.name;
      case "nnodes":
        return job.nnodes?.toString();
      case "size":
      case "ntasks":
        return job.ntasks?.toString();
      case "tmpdir":
        return job.tmpdir;
      default:
        return undefined;
    }
  };
}

function idText(id: Integer | undefined, form: string): string | undefined {
  const isKnown = (FLUID_FORMS as readonly string[]).includes(form);
  return id === undefined || !isKnown ? undefined : formatFluid(id, form as FluidForm);
}

function nodeText(node: JobTags["node"], key: string): string | undefined {
  return node !== undefined && Object.hasOwn(node, key) ? String(node[key as keyof typeof node]) : undefined;
}

function taskText(task: JobTags["task"], key: string): string | undefined {
  if (task === undefined) return undefined;
  if (key === "id" || key === "rank") return String(task.rank);
  return key === "index" || key === "localid" ? String(task.index) : undefined;
}
