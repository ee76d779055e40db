/** Where this checkout is. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root folder of the checkout: the folder above `src/` or `dist/`. */
export function installRoot(): string {
  return join(dirname(fileURLToPath(import.meta.url)), "..", "..");
}

/** The `flux` command of this checkout. */
export function fluxCommandPath(): string {
  return join(installRoot(), "bin", "flux");
}
