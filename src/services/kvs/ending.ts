/** What the end of the leader is part of: whether anything is left to save, and for whom. */
import { isFluxError } from "../../base/errors.ts";
import type { ModuleContext } from "../../sdk/module.ts";

/** Whether the broker is about to end; where it goes on, others may want what is saved. */
export async function endsWithBroker({ handle }: ModuleContext): Promise<boolean> {
  try {
    return (await handle.rpc<{ state: string }>("state-machine.get")).state === "finalize";
  } catch (error) {
    if (isFluxError(error)) return false;
    throw error;
  }
}

/**
 * Whether log and content store go with the broker, and nobody is left to read them: no dump is made of them, no script of
 * the user's comes after.
 */
export function goesWithBroker(context: ModuleContext): boolean {
  const attribute = (name: string): string => context.attribute(name) ?? "";
  if (attribute("statedir-cleanup") !== "1") return false;
  return attribute("content.dump") === "" && attribute("broker.rc3_path") === "";
}
