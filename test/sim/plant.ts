/**
 * Faults planted into a broker from outside: ports, handles and services with some methods replaced. A check that finds
 * none of them proves nothing.
 */
import type { Ports } from "../../src/base/ports.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import type { ModuleContext, ModuleDefinition } from "../../src/sdk/module.ts";

/** An object with some members replaced; the others stay bound to it. */
export function altered<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get: (_target, name) => {
      if (name in changes) return Reflect.get(changes, name) as unknown;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

export function withDisk(ports: Ports, change: (disk: Ports["disk"]) => Partial<Ports["disk"]>): Ports {
  return { ...ports, disk: altered(ports.disk, change(ports.disk)) };
}

/** Alters every log file that is opened. */
export function withLog(
  ports: Ports,
  change: (log: ReturnType<Ports["disk"]["openLog"]>) => Partial<ReturnType<Ports["disk"]["openLog"]>>,
): Ports {
  return withDisk(ports, (disk) => ({
    openLog: (path, options) => {
      const log = disk.openLog(path, options);
      return altered(log, change(log));
    },
  }));
}

/** Alters the handle through which a service calls others and hears events. */
export function withHandle(
  definition: ModuleDefinition,
  change: (handle: Handle, context: ModuleContext) => Partial<Handle>,
): ModuleDefinition {
  return {
    name: definition.name,
    start: (context) =>
      definition.start({ ...context, handle: altered(context.handle, change(context.handle, context)) }),
  };
}
