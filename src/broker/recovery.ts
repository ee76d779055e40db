/**
 * Repairing an instance (`flux start --recovery`, attribute `broker.recovery-mode`): rank 0 alone, with what is left of it.
 * What fails at start is told and passed over, nobody joins, no resource is online: so nothing runs while it is looked at.
 */
import type { Attributes } from "./attributes.ts";

export function isRecovering(attributes: Attributes): boolean {
  return (attributes.get("broker.recovery-mode") ?? "0") !== "0";
}

/** What somebody reads who gets a shell in such an instance. */
export function recoveryNotice(attributes: Attributes): string {
  const shown = [
    ["broker.rc1_path", attributes.get("broker.rc1_path") ?? "flux modprobe rc1"],
    ["broker.rc3_path", attributes.get("broker.rc3_path") ?? "flux modprobe rc3"],
    ["config.path", attributes.get("config.path") ?? "unknown"],
    ["statedir", attributes.get("statedir") ?? "unknown"],
  ] as const;
  const rule = `+${"-".repeat(53)}`;
  const lines = [
    "Entering Flux recovery mode.",
    "All resources stay offline until it is left.",
    "What failed at start, as told above, may be",
    " missing until it is put right.",
    "",
    ...shown.map(([name, value]) => `${name.padEnd(19)}${value}`),
    "",
    "Exit this shell when finished.",
  ];
  return [rule, ...lines.map((line) => `| ${line}`.trimEnd()), rule, ""].join("\n");
}
