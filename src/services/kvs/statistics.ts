/** What `kvs.stats-get` answers, in Flux's own shape. */
import type { JsonObject } from "../../base/json.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import type { NamespaceRoot } from "./core.ts";
import type { Reader } from "./reader.ts";
import { Directory } from "./tree.ts";

const KIBIBYTE = 1024;

export function serviceStatistics(
  index: BlobIndex,
  loader: BlobLoader,
  reader: Reader,
  roots: readonly NamespaceRoot[],
  queueLengthOf: (namespace: string) => number,
): JsonObject {
  const sizes = Array.from(index.nodes(), (node) => (node instanceof Directory ? node.textLength : node.byteLength));
  const namespace: Record<string, JsonObject> = {};
  for (const root of roots)
    namespace[root.name] = {
      "#versionwaiters": reader.versionWaiters(root.name),
      "#no-op stores": 0,
      "#transactions": queueLengthOf(root.name),
      "#readytransactions": 0,
      "store revision": root.rootseq,
    };
  return {
    cache: {
      "obj size total (MiB)": sum(sizes) / KIBIBYTE / KIBIBYTE,
      "obj size (KiB)": summary(sizes.map((size) => size / KIBIBYTE)),
      "#obj dirty": index.dirtyCount,
      "#obj incomplete": loader.incomplete,
      "#faults": loader.faults,
    },
    namespace,
    "transaction-opcount": { commit: summary([]) },
    pending_requests: reader.pendingRequests,
  };
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function summary(values: readonly number[]): JsonObject {
  const count = values.length;
  if (count === 0) return { count: 0, min: 0, mean: 0, stddev: 0, max: 0 };
  const mean = sum(values) / count;
  let least = Infinity;
  let most = -Infinity;
  let squares = 0;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
    squares += (value - mean) ** 2;
  }
  return { count, min: least, mean, stddev: Math.sqrt(squares / Math.max(1, count - 1)), max: most };
}
