/** Whom `exclude` withholds from scheduling (flux-config-resource(5)): an idset of ranks, or hosts. */
import { errorText, FluxError } from "../../base/errors.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";

/** The ranks of an idset, all among `ranks`; null where `targets` is none. Throws FluxError EINVAL. */
export function excludedRanks(targets: string, ranks: Idset): Idset | null {
  const excluded = Idset.tryParse(targets);
  if (excluded !== null && !ranks.includes(excluded))
    throw new FluxError("EINVAL", `exclude set ${excluded} is out of range`);
  return excluded;
}

/**
 * Checks `exclude` before the inventory may be known: better said at once than when everybody waits for resources. Throws
 * FluxError EINVAL where it names somebody that nobody knows.
 */
export function checkExclude(targets: string, ranks: Idset, hosts: readonly string[]): void {
  if (excludedRanks(targets, ranks) !== null) return;
  let unknown: Hostlist;
  try {
    unknown = Hostlist.parse(targets).subtract(Hostlist.from(hosts));
  } catch (error) {
    throw new FluxError("EINVAL", `error decoding exclude set ${targets}: ${errorText(error)}`, { cause: error });
  }
  if (!unknown.isEmpty)
    throw new FluxError("EINVAL", `error decoding exclude set ${targets}: invalid hosts: ${unknown}`);
}
