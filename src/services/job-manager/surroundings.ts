/** What the methods of the job manager need besides its core. */
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import type { Operation } from "../../sdk/kvs-protocol.ts";
import type { Archive } from "./archive.ts";
import type { Plugins } from "./plugins.ts";

export interface ManagerSurroundings {
  readonly handle: Handle;
  /** Seconds since the epoch. */
  now(): number;
  /** Resolves when every event posted so far is in the KVS. */
  committed(): Promise<void>;
  /** Adds an operation to the next commit. */
  addOperation(operation: Operation): void;
  /** Sets how long an event that nothing waits for is kept for the next commit. */
  waitForCompanyMs(delayMs: number): void;
  publish(topic: string, payload: object): void;
  readonly plugins: Pick<Plugins, "has" | "flag" | "checkServed">;
  readonly archive: Pick<Archive, "purged">;
  /** Finds out how a job that is not in memory ended, so that the core knows of it. */
  recall(id: Integer): Promise<void>;
}
