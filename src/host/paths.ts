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

/** The library with the interface of PMI-1 that set-up builds; that of PMI-2 is beside it. */
export function pmiLibraryPath(): string {
  return join(installRoot(), "dist", "native", "libpmi.so");
}
