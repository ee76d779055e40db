/**
 * A bound on the time that a boot may take: it does not wait for ever for a launcher that has died, or for a process that
 * never comes.
 */
import { FluxError } from "../base/errors.ts";
import type { Clock } from "../base/ports.ts";
import type { BootClient } from "./bootstrap.ts";

/** `advice` says what to do where the others did not come in time. */
export function boundedBoot(client: BootClient, clock: Clock, limitSeconds: number, advice: string): BootClient {
  if (!Number.isFinite(limitSeconds)) return client;
  const bounded = <T>(what: string, work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = clock.after(limitSeconds * 1000, () => {
        const text = `bootstrap: ${what} took longer than ${limitSeconds}s: not all brokers have started, or the launcher is gone`;
        reject(new FluxError("ETIMEDOUT", advice === "" ? text : `${text}; ${advice}`));
      });
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  return {
    ...client,
    initialize: () => bounded("the first contact", client.initialize()),
    get: (key) => bounded(`asking for ${key}`, client.get(key)),
    put: (key, value) => bounded(`telling ${key}`, client.put(key, value)),
    barrier: () => bounded("the barrier", client.barrier()),
    finalize: () => bounded("taking leave of the launcher", client.finalize()),
  };
}
