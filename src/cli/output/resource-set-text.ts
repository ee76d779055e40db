/**
 * R (RFC 20) as text, for the terminal and for the next command of a pipe. Times are always written as real numbers,
 * because readers of R in other languages ask for them as such.
 */
import type { ResourceSet } from "../../formats/resource-set.ts";
import { pythonJson } from "./python-json.ts";

/** What stands first of what a node has: `flux R` writes GPUs first, `flux resource R` cores. */
export type FirstChild = "gpu" | "core";

/** One line of JSON, without the line end. */
export function resourceSetText(resources: ResourceSet, first: FirstChild = "gpu"): string {
  const { execution, scheduling } = resources.toJSON();
  const { R_lite, nodelist, nslots, properties, starttime, expiration } = execution;
  // A set that has no nodes says so by an empty nodelist; one whose hosts are unknown has none.
  const hosts = nodelist ?? (R_lite.length === 0 ? [""] : undefined);
  const members = [
    `"R_lite": ${pythonJson(R_lite.map(({ rank, children: { core, gpu } }) => ({ rank, children: ids(core, gpu, first) })))}`,
    ...(nslots === undefined ? [] : [`"nslots": ${nslots}`]),
    `"starttime": ${real(starttime)}`,
    `"expiration": ${real(expiration)}`,
    ...(hosts === undefined ? [] : [`"nodelist": ${pythonJson(hosts)}`]),
    ...(properties === undefined ? [] : [`"properties": ${pythonJson(sortedByName(properties))}`]),
  ];
  const opaque = scheduling === undefined ? "" : `, "scheduling": ${pythonJson(scheduling)}`;
  return `{"version": 1, "execution": {${members.join(", ")}}${opaque}}`;
}

function sortedByName(properties: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(properties).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

function ids(core: string | undefined, gpu: string | undefined, first: FirstChild): Record<string, string> {
  const cores = { ...(core !== undefined && { core }) };
  const gpus = { ...(gpu !== undefined && { gpu }) };
  return first === "gpu" ? { ...gpus, ...cores } : { ...cores, ...gpus };
}

function real(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
