/** What `kvs.stats-get` answers, in Flux's own shape. */
import type { JsonObject } from "../../base/json.ts";
import { RunningSummary } from "../../base/running-summary.ts";
import { PRIMARY_NAMESPACE } from "../../sdk/kvs-protocol.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { BlobLoader } from "./blob-loader.ts";
import { Directory } from "./directory.ts";
import type { Reader } from "./reader.ts";
import type { NamespaceRoot } from "./version.ts";

const KIBIBYTE = 1024;

export function serviceStatistics(
  index: BlobIndex,
  loader: BlobLoader,
  reader: Reader,
  roots: readonly NamespaceRoot[],
  queueLengthOf: (namespace: string) => number,
  operationCounts: RunningSummary = new RunningSummary(),
): JsonObject {
  const sizes = Array.from(index.nodes(), (node) => (node instanceof Directory ? node.textLength : node.byteLength));
  const namespace: Record<string, JsonObject> = {};
  for (const root of roots)
    namespace[root.name] = {
      "#versionwaiters": reader.versionWaiters(root.name),
      // Blobs are kept for all namespaces together: what was made in vain is told of the first one.
      "#no-op stores": root.name === PRIMARY_NAMESPACE ? index.noOpStores : 0,
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
    "transaction-opcount": { commit: operationCounts.toJson() },
    pending_requests: reader.pendingRequests,
  };
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function summary(values: readonly number[]): JsonObject {
  const running = new RunningSummary();
  for (const value of values) running.add(value);
  return running.toJson();
}
