/**
 * Whether a rank has what the inventory says it has (`[resource] verify`, flux-config-resource(5)): each rank compares
 * for itself, and has itself drained where it does not.
 */
import { ResourceSet } from "../../formats/resource-set.ts";

/** What to make of a difference. */
export type VerifyMode = "strict" | "allow-extra" | "allow-missing" | "ignore";

export interface VerifyModes {
  readonly hostname: VerifyMode;
  readonly core: VerifyMode;
  readonly gpu: VerifyMode;
}

export const VERIFIED_TYPES: readonly (keyof VerifyModes)[] = ["hostname", "core", "gpu"];

/** Where nothing is configured: what is there besides does no harm, and GPUs are not always seen. */
export const IMPLICIT_VERIFY: VerifyModes = { hostname: "strict", core: "allow-extra", gpu: "ignore" };

export function isVerifyMode(text: string): text is VerifyMode {
  return text === "strict" || text === "allow-extra" || text === "allow-missing" || text === "ignore";
}

/** What is wrong with a rank, for a person; null where nothing is. Both sets have at most one node of the rank. */
export function verifyRank(
  expected: ResourceSet,
  actual: ResourceSet,
  rank: number,
  modes: VerifyModes,
): string | null {
  const wanted = expected.node(rank);
  const found = actual.node(rank);
  if (wanted === undefined) return `rank ${rank} not found in expected ranks`;
  const host = found?.host ?? "";
  if (modes.hostname === "strict" && wanted.host !== undefined && wanted.host !== host)
    return `rank ${rank} got hostname '${host}', expected '${wanted.host}'`;
  const has = actual.keepRanks(expected.ranks);
  const missing = filtered(expected.subtract(has), rank, modes, "allow-missing");
  if (missing !== "") return `rank ${rank} (${host}) missing resources: ${missing}`;
  const extra = filtered(has.subtract(expected), rank, modes, "allow-extra");
  return extra === "" ? null : `rank ${rank} (${host}) has extra resources: ${extra}`;
}

/** What of a difference counts, in the short form of a set but without the rank. */
function filtered(difference: ResourceSet, rank: number, modes: VerifyModes, allowing: VerifyMode): string {
  const node = difference.node(rank);
  if (node === undefined) return "";
  const counts = (mode: VerifyMode): boolean => mode !== "ignore" && mode !== allowing;
  const none = node.cores.subtract(node.cores);
  const rest = ResourceSet.fromNodes([
    [
      rank,
      { cores: counts(modes.core) ? node.cores : none, gpus: counts(modes.gpu) ? node.gpus : none, host: undefined },
    ],
  ]);
  return rest.dump().replace(/^rank\d+\//, "");
}
