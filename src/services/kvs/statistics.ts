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

export interface Counted {
  readonly index: BlobIndex;
  readonly loader: BlobLoader;
  readonly reader: Reader;
  readonly roots: readonly NamespaceRoot[];
  /** Only the leader has such: commits of a namespace that wait, and operations of all there were. */
  readonly queueLengthOf?: (namespace: string) => number;
  readonly operationCounts?: RunningSummary;
  /** Whether a log has what no checkpoint has yet: it is as safe as what is stored. */
  readonly isLogged: boolean;
}

export function serviceStatistics(counted: Counted): JsonObject {
  const { index, loader, reader, roots, isLogged } = counted;
  const { queueLengthOf = () => 0, operationCounts = new RunningSummary() } = counted;
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
      "#obj dirty": isLogged ? 0 : index.dirtyCount,
      "#obj logged": isLogged ? index.dirtyCount : 0,
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
