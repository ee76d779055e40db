/**
 * The node's topology for tasks that ask hwloc (the shell option `hwloc.xmlfile`): a file in the job's directory, so that
 * they need not look at the machine themselves. `hwloc.restrict` leaves only what the job has.
 */
import { utf8Encode } from "../../base/bytes.ts";
import { hwlocXml } from "../../formats/hwloc-xml.ts";
import type { PluginFactory } from "../plugin.ts";

export const hwlocPlugin: PluginFactory = (shell) => {
  const { plan, host } = shell;
  if (!plan.options.isOn("hwloc.xmlfile")) return null;
  const path = `${shell.tmpdir}/hwloc.xml`;
  return {
    init() {
      const { cores, coreCpus } = host.ports.host;
      const own = new Set(plan.cores);
      const isRestricted = plan.options.isOn("hwloc.restrict") && cores.some((core) => own.has(core));
      const cpus = cores
        .map((core, index) => ({ core, cpus: coreCpus?.[index] ?? [core] }))
        .filter(({ core }) => !isRestricted || own.has(core))
        .map((entry) => entry.cpus);
      host.ports.disk.writeFile(path, utf8Encode(hwlocXml(host.ports.host.hostname, cpus)), { mode: 0o644 });
    },
    prepare(_task, { env }) {
      env["HWLOC_XMLFILE"] = path;
      // With this variable hwloc would choose another source.
      delete env["HWLOC_COMPONENTS"];
    },
  };
};
