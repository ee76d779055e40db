/**
 * How long the instance has its resources: a job that could not end before is refused when it is submitted
 * (`.validate-duration`). The resource service tells, by its journal (RFC 44); without one nobody knows of an end.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, type JsonObject } from "../../base/json.ts";
import type { TimerHandle } from "../../base/ports.ts";
import { formatRoughly } from "../../formats/duration.ts";
import type { OpenStream } from "../../sdk/handle.ts";
import { LogLevel, type ModuleContext } from "../../sdk/module.ts";

/** Until the resource service is asked again after it has gone, or was not there. */
const RETRY_MS = 2000;
export class InstanceLifetime {
  readonly #context: ModuleContext;
  /** Seconds since the epoch; 0 for never. */
  #expiration = 0;
  #stream: OpenStream | null = null;
  #timer: TimerHandle | null = null;
  #isStopped = false;

  constructor(context: ModuleContext) {
    this.#context = context;
  }

  follow(): void {
    if (this.#isStopped) return;
    this.#stream = this.#context.handle.open(
      "resource.journal",
      {},
      {
        item: (payload) => payload !== null && this.#take(payload.value),
        end: () => {
          this.#timer = this.#context.ports.clock.after(RETRY_MS, () => this.follow(), { background: true });
        },
      },
      { cancelTopic: "resource.journal-cancel", nodeid: 0 },
    );
  }

  stop(): void {
    this.#isStopped = true;
    this.#stream?.cancel();
    this.#timer?.cancel();
  }

  /** Throws EINVAL where a job of this duration (seconds, 0 = unlimited) cannot end in time. */
  check(duration: number): void {
    if (this.#expiration === 0 || duration === 0) return;
    const left = this.#expiration - this.#context.ports.clock.now();
    if (duration <= left) return;
    const lifetime = formatRoughly(Math.max(0, left));
    const text = `job duration (${formatRoughly(duration)}) exceeds remaining instance lifetime (${lifetime})`;
    throw new FluxError("EINVAL", text);
  }

  #take({ R, events }: JsonObject): void {
    const expiration = isJsonObject(R) ? memberAt(R, ["execution", "expiration"]) : undefined;
    if (typeof expiration === "number") this.#expiration = expiration;
    for (const event of Array.isArray(events) ? (events as unknown[]) : []) {
      const { name, context } = event as { name?: unknown; context?: JsonObject };
      const updated = context?.["expiration"];
      if (name !== "resource-update" || typeof updated !== "number") continue;
      this.#expiration = updated;
      this.#context.log(LogLevel.debug, `duration-validator: updated expiration to ${updated.toFixed(2)}`);
    }
  }
}
