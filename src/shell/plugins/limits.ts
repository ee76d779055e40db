/** Resource limits of tasks (the shell option `rlimit`). */
import { isJsonObject } from "../../base/json.ts";
import type { PluginFactory } from "../plugin.ts";

export const limitsPlugin: PluginFactory = ({ plan }) => {
  const limits = plan.options.value("rlimit");
  if (!isJsonObject(limits)) return null;
  return {
    name: "rlimit",
    prepare(_task, launch) {
      for (const [name, value] of Object.entries(limits))
        if (typeof value === "number" || typeof value === "bigint") launch.rlimits[name] = Number(value);
    },
  };
};
