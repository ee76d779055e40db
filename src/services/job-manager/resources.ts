/** Resource sets of jobs (RFC 20): what was freed of them and what is left, and their expiration. */
import type { JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Job } from "./job.ts";

/** R with another expiration (seconds since the epoch, 0 = none). */
export function withExpiration(R: JsonObject, expiration: number): JsonObject {
  return { ...R, execution: { ...(R["execution"] as JsonObject), expiration } };
}

/** The part of R on some ranks. */
export function restrictResources(R: JsonObject, ranks: string): JsonObject {
  return ranks === "all" ? R : ResourceSet.parse(R).keepRanks(Idset.parse(ranks)).toJSON();
}

/** What has not gone back to the scheduler yet. */
export function remainingResources(job: Job): JsonObject {
  const freed = (job.releasedRanks ?? []).slice(0, job.released ? -1 : undefined).filter((ranks) => ranks !== "all");
  if (freed.length === 0) return job.R!;
  const ranks = new Idset();
  for (const part of freed) ranks.addAll(Idset.parse(part));
  return ResourceSet.parse(job.R!).removeRanks(ranks).toJSON();
}

/** The ranks of a running job that have gone back to the scheduler already; null for none. */
export function freedRanks(job: Job): string | null {
  if (job.releasedRanks === null) return null;
  const ranks = new Idset();
  for (const part of job.releasedRanks) if (part !== "all") ranks.addAll(Idset.parse(part));
  return ranks.isEmpty ? null : ranks.format();
}
