/** The service of a job's shells: its name is in the job's exec.eventlog. */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { watchEventlog } from "./client.ts";

export interface ShellService {
  readonly service: string;
  /** Broker rank of the leader shell. */
  readonly leader: number;
}

/**
 * Resolves when the job has posted `event`: "shell.init" (its shells are there) or "shell.start" (its tasks run). Rejects with
 * FluxError ENOENT where the job ends before.
 */
export function shellServiceOf(
  handle: Handle,
  id: Integer,
  event: "shell.init" | "shell.start",
  ended: string,
): Promise<ShellService> {
  let found: ShellService | null = null;
  return new Promise((resolve, reject) => {
    const stream = watchEventlog(
      handle,
      id,
      "guest.exec.eventlog",
      {
        event: ({ name, context }) => {
          if (name === "shell.init")
            found = { service: String(context?.["service"]), leader: Number(context?.["leader-rank"]) };
          if (name !== event || found === null) return;
          stream.cancel();
          resolve(found);
        },
        end: () => reject(new FluxError("ENOENT", ended)),
      },
      { waitcreate: true },
    );
  });
}
