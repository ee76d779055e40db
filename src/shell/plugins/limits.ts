/** Resource limits of tasks (the shell option `rlimit`). */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject } from "../../base/json.ts";
import { RLIMITS } from "../../formats/rlimit.ts";
import type { PluginFactory } from "../plugin.ts";

export const limitsPlugin: PluginFactory = ({ plan }) => {
  const limits = plan.options.value("rlimit");
  if (!isJsonObject(limits)) return null;
  for (const [name, value] of Object.entries(limits))
    if (!Object.hasOwn(RLIMITS, name) || (typeof value !== "number" && typeof value !== "bigint"))
      throw new FluxError("EINVAL", `rlimit: invalid shell option rlimit.${name}=${String(value)}`);
  return {
    name: "rlimit",
    prepare(_task, launch) {
      for (const [name, value] of Object.entries(limits))
        if (typeof value === "number" || typeof value === "bigint") launch.rlimits[name] = Number(value);
    },
  };
};
