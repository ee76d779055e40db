/**
 * Purging: inactive jobs are removed from the KVS by age or number, or by id, and everyone is told
 * (`job-purge-inactive`). Request: {age_limit, num_limit (-1 = no limit), batch, force}; without `force` only counted.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { configType } from "../../formats/policy-config.ts";
import { OPERATION_PRUNE } from "../../sdk/kvs-protocol.ts";
import type { Methods } from "../../sdk/service.ts";
import type { JobManager } from "./core.ts";
import { purgeIdRequest, purgeRequest } from "./protocol.ts";
import type { ManagerSurroundings } from "./surroundings.ts";

/** Jobs removed in one go. */
const PURGE_BATCH_MAX = 1000;
/** Jobs that a request may have removed in one go. */
const REQUEST_BATCH_MAX = 100;

export function purgeMethods(manager: JobManager, surroundings: ManagerSurroundings): Methods {
  return {
    purge: async (request) => {
      const { age_limit: ageLimit, num_limit: numLimit, batch, force } = purgeRequest(request);
      if (batch < 1 || batch > REQUEST_BATCH_MAX)
        throw new FluxError("EINVAL", `batch must be >= 1 and <= ${REQUEST_BATCH_MAX}`);
      if (numLimit < -1) throw new FluxError("EINVAL", "if set, num limit must be >= 0");
      if (ageLimit < 0 && ageLimit !== -1) throw new FluxError("EINVAL", "if set, age limit must be >= 0");
      const before = ageLimit === -1 ? -Infinity : surroundings.now() - ageLimit;
      const keep = numLimit === -1 ? Infinity : numLimit;
      if (!force) return { count: manager.inactive.expiredCount(before, keep) };
      return { count: await purge(manager, surroundings, manager.inactive.expired(before, keep, batch)) };
    },
    "purge-id": async (request) => {
      const { id, force } = purgeIdRequest(request);
      if (manager.jobs.has(id)) throw new FluxError("EINVAL", "cannot purge active job");
      if (!manager.inactive.has(id)) throw new FluxError("ENOENT", "id not found");
      return { count: force ? await purge(manager, surroundings, [id]) : 1 };
    },
  };
}

async function purge(manager: JobManager, surroundings: ManagerSurroundings, ids: readonly Integer[]): Promise<number> {
  if (ids.length === 0) return 0;
  surroundings.archive.purged(manager.inactive.remove(ids));
  manager.history.removeAll(new Set(ids));
  for (const id of ids) {
    manager.waits.purged(id);
    surroundings.addOperation({ key: fluidKvsPath(id), flags: OPERATION_PRUNE, dirent: null });
  }
  await surroundings.committed();
  surroundings.publish("job-purge-inactive", { jobs: ids });
  return ids.length;
}

/** How long inactive jobs stay by themselves (flux-config-job-manager(5)). */
export interface Retention {
  /** Seconds; Infinity for ever. */
  readonly ageLimit: number;
  readonly numLimit: number;
}

/** Reads the table `job-manager` of a configuration. Throws EINVAL. */
export function retentionOf(config: JsonObject): Retention {
  const table = config["job-manager"] ?? {};
  if (!isJsonObject(table)) throw new FluxError("EINVAL", `job-manager: Expected object, got ${configType(table)}`);
  const { "inactive-age-limit": age, "inactive-num-limit": num } = table;
  if (age !== undefined && typeof age !== "string")
    throw new FluxError("EINVAL", `job-manager.inactive-age-limit: Expected string, got ${configType(age)}`);
  const ageLimit = age === undefined ? Infinity : tryParseFsd(age);
  if (ageLimit === null) throw new FluxError("EINVAL", "job-manager.inactive-age-limit: invalid FSD");
  if (num !== undefined && (typeof num !== "number" || !Number.isInteger(num)))
    throw new FluxError("EINVAL", `job-manager.inactive-num-limit: Expected integer, got ${configType(num)}`);
  if (num !== undefined && num < -1) throw new FluxError("EINVAL", "job-manager.inactive-num-limit must be >= 0");
  return { ageLimit, numLimit: num === undefined || num === -1 ? Infinity : num };
}

/** Removes what the configuration does not keep, a batch at a time, however much it is. */
export async function purgeExpired(
  manager: JobManager,
  surroundings: ManagerSurroundings,
  retention: Retention,
): Promise<void> {
  const expired = (): Integer[] =>
    manager.inactive.expired(surroundings.now() - retention.ageLimit, retention.numLimit, PURGE_BATCH_MAX);
  for (let ids = expired(); ids.length > 0; ids = expired()) await purge(manager, surroundings, ids);
}
