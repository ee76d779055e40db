/** Names of users by the system's user database. */
import { readFileSync } from "node:fs";
import { FluxError } from "../../base/errors.ts";

interface Users {
  readonly byId: ReadonlyMap<number, string>;
  readonly byName: ReadonlyMap<string, number>;
}

let loaded: Users | null = null;

function users(): Users {
  if (loaded !== null) return loaded;
  const byId = new Map<number, string>();
  const byName = new Map<string, number>();
  for (const line of passwordFile().split("\n")) {
    const [name, , uid] = line.split(":");
    if (name === undefined || uid === undefined) continue;
    if (!byId.has(Number(uid))) byId.set(Number(uid), name);
    byName.set(name, Number(uid));
  }
  return (loaded = { byId, byName });
}

function passwordFile(): string {
  try {
    return readFileSync("/etc/passwd", "utf8");
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // Users without a database are known by number.
    return "";
  }
}

/** The name of a user; the number where there is none. */
export function userName(userid: number): string {
  return users().byId.get(userid) ?? String(userid);
}

/** A user id by name or number; -1 for "all". Throws FluxError EINVAL. */
export function parseUser(text: string): number {
  if (text === "all") return -1;
  if (/^\+?\d+$/.test(text)) return Number(text);
  const userid = users().byName.get(text);
  if (userid === undefined) throw new FluxError("EINVAL", `Invalid user ${text} specified`);
  return userid;
}
