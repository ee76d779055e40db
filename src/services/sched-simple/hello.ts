/**
 * How a scheduler learns which jobs hold resources already (RFC 27, `job-manager.sched-hello`): their R is read back, and what
 * is in it is theirs.
 *
 * Invariant: one job whose R cannot be read or does not fit in the inventory costs that job, and nobody else.
 */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { Handle } from "../../sdk/handle.ts";
import { lookupText } from "../../sdk/kvs-text.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { ResourcePool } from "./pool.ts";
import type { HelloResponse } from "./protocol.ts";
import { sharesOf } from "./resource-text.ts";

/** What a scheduler lends for this. */
export interface Greeting {
  readonly handle: Handle;
  readonly pool: ResourcePool;
  /** A job as people write it. */
  nameOf(id: Integer): string;
  log(level: LogLevel, text: string): void;
}

/** Marks what jobs hold in the pool. Rejects where the job manager cannot be asked. */
export async function greet(greeting: Greeting): Promise<void> {
  const stream = greeting.handle.stream<HelloResponse>(
    "job-manager.sched-hello",
    { "partial-ok": true },
    { nodeid: 0 },
  );
  for await (const hello of stream) if (!greeting.pool.held.has(hello.id)) await greetJob(greeting, hello);
}

async function greetJob(greeting: Greeting, hello: HelloResponse): Promise<void> {
  const { handle, log } = greeting;
  const { id, priority, userid, t_submit } = hello;
  const name = greeting.nameOf(id);
  try {
    const text = await lookupText(handle, `${fluidKvsPath(id)}.R`);
    const set = ResourceSet.parseText(text).removeRanks(Idset.parse(hello.free ?? ""));
    const shares = sharesOf(set);
    const obstacle = greeting.pool.obstacle(shares);
    if (obstacle !== null) throw new FluxError("EINVAL", obstacle);
    greeting.pool.restore(id, shares, set.expiration);
    log(LogLevel.info, `hello: ${name}: ${set.dump()}`);
    log(LogLevel.debug, `hello: id=${name} priority=${priority} userid=${userid} t_submit=${t_submit}`);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    if (error.is("ENOENT")) return log(LogLevel.err, `hello: failed to look up R for job ${name}`);
    log(LogLevel.err, `hello callback failed for job ${name}: ${error.message}`);
    log(LogLevel.err, `raising fatal exception on running job id=${name}`);
    const note = "failed to reallocate R for running job";
    await handle
      .rpc("job-manager.raise", { id, type: "scheduler-restart", severity: 0, note }, { nodeid: 0 })
      .catch((failure: unknown) => {
        if (!(failure instanceof FluxError)) throw failure;
        log(LogLevel.err, `job-manager.raise: ${failure.message}`);
      });
  }
}
