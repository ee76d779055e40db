/**
 * The pulse of one broker's links: it shows every neighbour that this broker lives, finds out who is silent, and gives up
 * who has been silent for too long (flux-config-tbon(5)).
 *
 * A child that is silent for `torpid_max` is torpid: it may come back, and keeps what it has. A neighbour that is silent for
 * `tcp_user_timeout` longer is lost. A broker that was itself stopped for a while judges nobody for it.
 */
import type { Clock, TimerHandle } from "../base/ports.ts";
import { Control, control } from "./edge.ts";
import type { Link } from "./link.ts";

/** Somebody idle says something this often at least. */
const HEARTBEAT_MS = 2000;

/** In seconds; `torpidMax` and `tcpUserTimeout` of 0 are none. */
export interface PulseLimits {
  readonly torpidMin: number;
  readonly torpidMax: number;
  readonly tcpUserTimeout: number;
}

export interface Pulsed {
  readonly link: Link;
  /** Told when the neighbour becomes torpid, and when it is so no more; absent where nobody asks. */
  torpid?(isTorpid: boolean, silentSeconds: number): void;
}

export class Pulse {
  readonly #clock: Clock;
  readonly #limits: () => PulseLimits;
  readonly #neighbours: () => Iterable<Pulsed>;
  readonly #torpid = new WeakSet<Link>();
  #timer: TimerHandle | null = null;
  #isStopped = false;
  #lastMs = 0;

  constructor(clock: Clock, limits: () => PulseLimits, neighbours: () => Iterable<Pulsed>) {
    this.#clock = clock;
    this.#limits = limits;
    this.#neighbours = neighbours;
  }

  /** How often a neighbour that lives says something, in milliseconds. */
  get intervalMs(): number {
    const { torpidMin, torpidMax } = this.#limits();
    const half = torpidMax > 0 ? (torpidMax * 1000) / 2 : Infinity;
    return Math.max(10, Math.min(HEARTBEAT_MS, torpidMin * 1000, half));
  }

  start(): void {
    if (this.#timer === null && !this.#isStopped) this.#arm();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    this.#lastMs = this.#clock.monotonicMs();
    this.#timer = this.#clock.after(this.intervalMs, () => this.#tick(), { background: true });
  }

  #tick(): void {
    const now = this.#clock.monotonicMs();
    const { intervalMs } = this;
    // What neighbours sent meanwhile has not been read yet.
    const wasStopped = now - this.#lastMs > 2 * intervalMs + HEARTBEAT_MS / 2;
    this.#arm();
    for (const neighbour of this.#neighbours()) {
      const { link } = neighbour;
      if (now - link.sentMs >= intervalMs) link.send(control(Control.Heartbeat, 0));
      if (!wasStopped) this.#judge(neighbour, (now - link.receivedMs) / 1000);
    }
  }

  #judge(neighbour: Pulsed, silentSeconds: number): void {
    const { torpidMax, tcpUserTimeout } = this.#limits();
    const isTorpid = torpidMax > 0 && silentSeconds > torpidMax;
    const { link } = neighbour;
    if (isTorpid !== this.#torpid.has(link)) {
      if (isTorpid) this.#torpid.add(link);
      else this.#torpid.delete(link);
      neighbour.torpid?.(isTorpid, silentSeconds);
    }
    if (tcpUserTimeout > 0 && silentSeconds > torpidMax + tcpUserTimeout) link.destroy();
  }
}
