/**
 * A watch of R or the jobspec of a job (RFC 41): the value as it was stored, and as each update event makes it.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import type { JobEvent } from "../../sdk/job-protocol.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { applyUpdate, applyUpdates } from "./core.ts";
import type { UpdatedKey } from "./protocol.ts";

/** A watch of R or jobspec: the value as it is, then as each update makes it. */
export class UpdateWatch {
  readonly #key: UpdatedKey;
  readonly #read: () => Promise<string>;
  readonly #request: IncomingRequest;
  #value: JsonObject | null = null;
  /** Steps follow each other, as reading takes time. */
  #tail: Promise<void> = Promise.resolve();

  constructor(key: UpdatedKey, read: () => Promise<string>, request: IncomingRequest) {
    this.#key = key;
    this.#read = read;
    this.#request = request;
  }

  /** Takes events in their order. R is there with the alloc event, the jobspec from the start. */
  take(events: readonly JobEvent[]): Promise<void> {
    const step = this.#tail.then(() => this.#step(events));
    this.#tail = step.catch(() => undefined);
    return step;
  }

  async #step(events: readonly JobEvent[]): Promise<void> {
    if (this.#value === null) {
      if (this.#key === "R" && !events.some(({ name }) => name === "alloc")) return;
      this.#value = applyUpdates(this.#key, parseObject(await this.#read()), events);
      this.#send();
      return;
    }
    for (const event of events) {
      const next = applyUpdate(this.#key, this.#value, event);
      if (next === this.#value) continue;
      this.#value = next;
      this.#send();
    }
  }

  /** The job is over: nothing more comes, and what has not come by now never will. */
  end(): void {
    if (this.#value === null) this.#request.respondError(new FluxError("ENOENT"));
    else this.#request.end();
  }

  #send(): void {
    if (!this.#request.isFinished) this.#request.respond({ [this.#key]: this.#value });
  }
}

/** An object that is stored as text. Throws EPROTO. */
export function parseObject(text: string): JsonObject {
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EPROTO", "stored value is not an object");
  return value;
}
