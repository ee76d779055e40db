/**
 * How a dump tells the names of a key where its path in the archive does not: a name may have a slash in it, which in a
 * path sets names apart. The key is then in the member's comment, a pax record that other programs ignore.
 */

const KEYWORD = "comment";
const PREFIX = "flux key: ";

/** The pax records for a key of these names. */
export function keyRecords(names: readonly string[]): Map<string, string> {
  return new Map(names.some((name) => name.includes("/")) ? [[KEYWORD, PREFIX + names.join(".")]] : []);
}

/** The key that pax records tell; null where the path is all there is. */
export function recordedKey(records: ReadonlyMap<string, string>): string | null {
  const comment = records.get(KEYWORD) ?? "";
  return comment.startsWith(PREFIX) ? comment.slice(PREFIX.length) : null;
}
