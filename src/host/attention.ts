/**
 * Attention: while two processes exchange messages in quick turns over one stream, the event loop polls for the next message
 * for a moment before it sleeps. On an idle machine, waking a sleeping process takes longer than a broker takes to answer, and
 * a client that sends one request after the other would wait for that every time, on both sides.
 *
 * Invariants: the loop stays awake only after a row of quick turns on one stream, with nothing else between them, and never
 * longer than AWAKE_MS after the last; waiting in vain ends the row. So a peer that sends now and then, or one of many, costs
 * nothing, and the worst sender costs AWAKE_MS of each ROW_TURNS * QUICK_MS.
 */
import { monotonicMs } from "./clock.ts";

/** How long the loop stays awake after a message. */
const AWAKE_MS = 0.3;
/** A turn that takes no longer than this is a quick one. */
const QUICK_MS = 0.8;
/** So many quick turns make a row. */
const ROW_TURNS = 16;

export interface AttentionPorts {
  /** Milliseconds of a clock that does not go back. */
  now(): number;
  /** Calls back when what has come in has been handled. */
  defer(callback: () => void): void;
  /** On a machine with one core the other side would wait until this one sleeps. */
  hasSeveralCores(): boolean;
}

export class Attention {
  readonly #ports: AttentionPorts;
  /** The stream that was last heard or written to. */
  #stream: object | null = null;
  /** Something was written to it since it was heard. */
  #isOurTurnOver = false;
  #heardMs = 0;
  #turns = 0;
  #isAwake = false;
  #isWorthwhile: boolean | null = null;

  constructor(ports: AttentionPorts) {
    this.#ports = ports;
  }

  /** Something was written to a stream. */
  wrote(stream: object): void {
    if (stream !== this.#stream) this.#turns = 0;
    this.#stream = stream;
    this.#isOurTurnOver = true;
  }

  /** Something came in from a stream. */
  heard(stream: object): void {
    const nowMs = this.#ports.now();
    const isTurn = stream === this.#stream && this.#isOurTurnOver && nowMs - this.#heardMs <= QUICK_MS;
    this.#turns = isTurn ? this.#turns + 1 : 0;
    this.#stream = stream;
    this.#isOurTurnOver = false;
    this.#heardMs = nowMs;
    if (this.#isAwake || this.#turns < ROW_TURNS) return;
    this.#isWorthwhile ??= this.#ports.hasSeveralCores();
    if (!this.#isWorthwhile) return;
    this.#isAwake = true;
    this.#ports.defer(this.#look);
  }

  readonly #look = (): void => {
    this.#isAwake = this.#turns > 0 && this.#ports.now() - this.#heardMs < AWAKE_MS;
    if (this.#isAwake) this.#ports.defer(this.#look);
    else this.#turns = 0;
  };
}

/** That of this process. */
export const attention: Attention = new Attention({
  now: monotonicMs,
  defer: setImmediate,
  hasSeveralCores: () => process.getBuiltinModule("node:os").availableParallelism() > 1,
});
