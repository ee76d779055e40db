/** Reading one value of the KVS as text: all that most services need of it. */
import { utf8Decode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { valBytes } from "../formats/treeobj.ts";
import type { Handle } from "./handle.ts";
import { PRIMARY_NAMESPACE, type TreeObject } from "./kvs-protocol.ts";

/** The value of a key in the primary namespace. Rejects with ENOENT where there is none, EISDIR for a directory. */
export async function lookupText(handle: Handle, key: string): Promise<string> {
  const { val } = await handle.rpc<{ val: TreeObject }>("kvs.lookup", { key, flags: 0, namespace: PRIMARY_NAMESPACE });
  if (val.type !== "val") throw new FluxError("EISDIR", `${key}: not a value`);
  return utf8Decode(valBytes(val));
}
