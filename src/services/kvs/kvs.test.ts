/** The KVS service from outside: what clients of a broker see. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { valueObject, type TreeObject } from "../../sdk/kvs-protocol.ts";
import type { Handle } from "../../sdk/handle.ts";
import { startStorage, stopStorage } from "./world.test.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

export function put(
  handle: Handle,
  key: string,
  value: string,
  namespace = "primary",
): Promise<{ rootseq: number; rootref: string }> {
  return handle.rpc("kvs.commit", { namespace, flags: 0, ops: [{ key, flags: 0, dirent: valueObject(bytes(value)) }] });
}

export async function get(handle: Handle, key: string, namespace = "primary"): Promise<string> {
  const { val } = await handle.rpc<{ val: TreeObject }>("kvs.lookup", { key, namespace, flags: 0 });
  assert.equal(val.type, "val");
  return Buffer.from(val.data as string, "base64").toString();
}

test("a new instance begins with the empty directory at version 0, and has Flux's root hashes", async () => {
  const brokers = await startStorage();
  const handle = brokers[0]!.connect();
  assert.deepEqual(await handle.rpc("kvs.getroot", { namespace: "primary", flags: 0 }), {
    owner: 1000,
    rootseq: 0,
    rootref: "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91",
    flags: 0,
    namespace: "primary",
  });
  await put(handle, "a.b", "1");
  const a = await handle.rpc<{ val: TreeObject }>("kvs.lookup", { key: "a", namespace: "primary", flags: 16 });
  assert.deepEqual(a.val.data, ["sha1-b5d67bd187c0ef7014fd4421114127857c9563e9"]);
  assert.equal(await get(handle, "a.b"), "1");
  await stopStorage(brokers);
});
