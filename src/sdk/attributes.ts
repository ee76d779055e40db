/** Attributes of the broker that a handle is connected to, or of another one (flux-broker-attributes(7)). */
import { orNull } from "../base/promises.ts";
import { Hostlist } from "../formats/hostlist.ts";
import type { Handle, RequestOptions } from "./handle.ts";

/** Rejects with ENOENT where it is not set. */
export async function getAttribute(handle: Handle, name: string, options: RequestOptions = {}): Promise<string> {
  return (await handle.rpc<{ value: string }>("attr.get", { name }, options)).value;
}

/** Null where it is not set. */
export function findAttribute(handle: Handle, name: string, options: RequestOptions = {}): Promise<string | null> {
  return orNull(getAttribute(handle, name, options), "ENOENT");
}

/** The hosts of the instance, by rank. */
export async function instanceHosts(handle: Handle): Promise<Hostlist> {
  return Hostlist.parse(await getAttribute(handle, "hostlist"));
}
