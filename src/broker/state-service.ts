/**
 * Tells clients where in its life the broker is (`state-machine.*`).
 */
import { FluxError } from "../base/errors.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { RequestSet } from "../sdk/request-set.ts";
import { ANY_USER, ANYONE, type Methods } from "../sdk/service.ts";
import { stateNumber, type StateName } from "./state-machine.ts";

const RUN = stateNumber("run");

export class StateService {
  readonly #nowMs: () => number;
  readonly #waiting = new RequestSet<null>();
  /** The number of the state after which the stream ends. */
  readonly #monitors = new RequestSet<number>();
  #state: StateName = "load-builtins";
  #sinceMs: number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#sinceMs = nowMs();
  }

  get state(): StateName {
    return this.#state;
  }
  /** Seconds in the present state. */
  get duration(): number {
    return (this.#nowMs() - this.#sinceMs) / 1000;
  }

  enter(state: StateName): void {
    this.#state = state;
    this.#sinceMs = this.#nowMs();
    const number = stateNumber(state);
    if (number === RUN) for (const [request] of this.#waiting) this.#finishWait(request);
    if (number > RUN) this.#waiting.failAll(pastRun());
    for (const [request, final] of this.#monitors) {
      request.respond({ state: number });
      if (number < final) continue;
      this.#monitors.delete(request);
      request.end();
    }
  }

  #finishWait(request: IncomingRequest): void {
    this.#waiting.delete(request);
    request.respond();
  }

  methods(): Methods {
    return {
      get: { roles: ANY_USER, handler: () => ({ state: this.#state, duration: this.duration }) },
      wait: { roles: ANY_USER, handler: (request) => this.#wait(request) },
      monitor: (request) => this.#monitor(request),
      disconnect: {
        roles: ANYONE,
        handler: (request) => {
          this.#waiting.takeDisconnected(request);
          this.#monitors.takeDisconnected(request);
          return undefined;
        },
      },
    };
  }

  #wait(request: IncomingRequest): null | undefined {
    const number = stateNumber(this.#state);
    if (number > RUN) throw pastRun();
    if (number === RUN) return null;
    this.#waiting.add(request, null);
    return undefined;
  }

  #monitor(request: IncomingRequest): object | undefined {
    const number = stateNumber(this.#state);
    const { final } = request.json;
    if (!request.isStreaming) return { state: number };
    request.respond({ state: number });
    const last = typeof final === "number" ? final : stateNumber("exit");
    if (number >= last) request.end();
    else this.#monitors.add(request, last);
    return undefined;
  }

  close(): void {
    this.#waiting.failAll(pastRun());
    this.#monitors.failAll(new FluxError("ENODATA"));
  }
}

function pastRun(): FluxError {
  return new FluxError("EINVAL", "broker is shutting down");
}
