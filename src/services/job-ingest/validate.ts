/**
 * The validator: who may not pass. Its plugins here are `jobspec` (RFC 14, RFC 25, and hosts that are not there) and
 * `require-instance` (large jobs must be instances of Flux); `feasibility` asks the scheduler, so that the service does it.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { validateJobspec, type Jobspec } from "../../formats/jobspec.ts";
import { jobspecCounts } from "../../formats/jobspec-counts.ts";
import { checkReadable } from "../../formats/jobspec-readable.ts";

export const VALIDATORS: readonly { readonly name: string; readonly summary: string }[] = [
  { name: "feasibility", summary: "Use feasibility service to validate job" },
  { name: "jobspec", summary: "Python bindings based jobspec validator" },
  { name: "require-instance", summary: "Require that all jobs are new instances of Flux" },
];

export interface ValidatorSettings {
  /** Names of built-in plugins, in order. */
  readonly plugins: readonly string[];
  /** The version of jobspecs that is taken; null for version 1. */
  readonly requireVersion: number | "any" | null;
  /** Sizes from which on jobs must be instances; 0 where only the other counts, both 0 for all jobs. */
  readonly requireInstance: { readonly minNodes: number; readonly minCores: number };
}

/** Jobs on so many nodes have so many cores at least, as far as `require-instance` is concerned. */
const CORES_PER_NODE = 16;

/** Hosts beyond this number in a constraint are not looked up one by one: no instance is that large. */
const HOSTS_MAX = 100_000;

/**
 * Applies the plugins but `feasibility`. `hosts` are those of the instance; null where they are not known. Throws EPERM or
 * EINVAL with a sentence for the submitter.
 */
export function validate(value: JsonValue, settings: ValidatorSettings, hosts: () => Hostlist | null): Jobspec {
  for (const plugin of settings.plugins) {
    if (plugin === "jobspec") {
      checkHosts(checkJobspec(value, settings.requireVersion).attributes.system?.constraints, hosts);
    } else if (plugin === "require-instance") checkInstance(checkReadable(value), settings.requireInstance);
  }
  // Whatever the plugins say: the job manager takes jobs by the batch, and one that it cannot read would refuse them all.
  return checkReadable(value);
}

/** A malformed jobspec is refused with EPERM, as the reference's validator does. */
function checkJobspec(value: JsonValue, version: ValidatorSettings["requireVersion"]): Jobspec {
  try {
    return validateJobspec(value, version === null ? {} : { version });
  } catch (error) {
    throw isFluxError(error, "EINVAL") ? new FluxError("EPERM", error.message, { cause: error }) : error;
  }
}

/** Hosts that a constraint names must be there: else the job would wait for ever for want of a letter. */
function checkHosts(constraint: JsonObject | undefined, hosts: () => Hostlist | null): void {
  const lists = constraint === undefined ? [] : [...hostlistsOf(constraint)];
  const known = lists.length === 0 ? null : hosts();
  if (known === null) return;
  const missing = new Hostlist();
  for (const text of lists) {
    const named = Hostlist.parse(text);
    if (named.count > HOSTS_MAX) throw notFound(text, named.count);
    missing.append(named.subtract(known).format());
  }
  if (!missing.isEmpty) throw notFound(missing.format(), missing.count);
}

function notFound(hosts: string, count: number): FluxError {
  const what = count === 1 ? "host" : "hosts";
  return new FluxError("EINVAL", `host constraint contains invalid hosts: ${what} '${hosts}' not found`);
}

function* hostlistsOf(constraint: JsonObject): Generator<string> {
  for (const [operator, values] of Object.entries(constraint)) {
    if (!Array.isArray(values)) continue;
    for (const value of values as JsonValue[]) {
      if (operator === "hostlist" && typeof value === "string") yield value;
      else if (isJsonObject(value)) yield* hostlistsOf(value);
    }
  }
}

function checkInstance(jobspec: Jobspec, limits: ValidatorSettings["requireInstance"]): void {
  if (isInstance(jobspec)) return;
  const { minNodes } = limits;
  const minCores = limits.minCores === 0 ? minNodes * CORES_PER_NODE : limits.minCores;
  const remedy = "Please use flux-batch(1) or flux-alloc(1)";
  if (minNodes === 0 && minCores === 0)
    throw new FluxError("EINVAL", `Direct job submission disabled for all jobs in this instance. ${remedy}`);
  const { nnodes, nslots, coresPerSlot } = jobspecCounts(jobspec);
  const isLarge = (minNodes > 0 && nnodes >= minNodes) || nslots * coresPerSlot >= minCores;
  if (!isLarge) return;
  const sizes = [...(minNodes > 0 ? [`${minNodes} nodes`] : []), `${minCores} cores`].join(" or ");
  throw new FluxError("EINVAL", `Direct job submission disabled for jobs >= ${sizes}. ${remedy}`);
}

/** Whether a job is a batch job, or starts brokers by its command. */
function isInstance(jobspec: Jobspec): boolean {
  if (jobspec.attributes.system?.["batch"] !== undefined) return true;
  const [program = "", verb = ""] = jobspec.tasks[0]?.command ?? [];
  return program.slice(program.lastIndexOf("/") + 1) === "flux" && (verb === "start" || verb === "broker");
}
