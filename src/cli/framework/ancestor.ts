/** `flux --parent` and `flux --root`: the environment of an instance further out, for the command that follows. */
import { FluxError } from "../../base/errors.ts";
import { connect } from "./connect.ts";
import { getAttribute } from "../../sdk/attributes.ts";

/**
 * Points FLUX_URI (and the KVS namespace of a job confined to one) at the ancestor `steps` levels up, or the outermost.
 * Resolves with what is wrong where there is no way to it, else null.
 */
export async function enterAncestor(steps: number): Promise<string | null> {
  try {
    await climb(steps);
    return null;
  } catch (error) {
    if (error instanceof FluxError) return error.message;
    throw error;
  }
}

async function climb(steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    const handle = await connect(process.env["FLUX_URI"] ?? null);
    try {
      const read = (name: string): Promise<string> => getAttribute(handle, name);
      if (Number(await read("instance-level")) === 0) return;
      process.env["FLUX_URI"] = await read("parent-uri");
      process.env["FLUX_KVS_NAMESPACE"] = await read("parent-kvs-namespace");
    } finally {
      handle.close();
    }
  }
}
