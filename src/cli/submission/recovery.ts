/** `flux start --recovery[=TARGET]`, `--sysconfig`: what the broker of an instance that is to be repaired is told. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { FluxError } from "../../base/errors.ts";
import { builtinValue } from "../framework/builtin-values.ts";
import { STORES } from "./resume.ts";

/** Where the system instance keeps its state. */
const SYSTEM_STATEDIR = "/var/lib/flux";

/** The configuration of the system instance. */
export function systemConfigPath(): string {
  return join(builtinValue("confdir")!, "system", "conf.d");
}

/** Broker options; an empty target is the system instance. Throws FluxError where there is nothing to repair. */
export function recoveryOptions(target: string): string[] {
  const path = target === "" ? SYSTEM_STATEDIR : target;
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) throw new FluxError("ENOENT", `${path}: No such file or directory`);
  if (info.isDirectory() && !STORES.some((name) => existsSync(join(path, name))))
    throw new FluxError("ENOENT", `${join(path, STORES[0])}: No such file or directory`);
  return [
    "-Sbroker.recovery-mode=1",
    "-Sbroker.quorum=1",
    "-Sbroker.module-nopanic=1",
    "-Slog-stderr-level=5",
    `-S${info.isDirectory() ? "statedir" : "content.restore"}=${path}`,
  ];
}
