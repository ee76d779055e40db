/**
 * The net port in virtual time: streams that are ordered and reliable until they break.
 *
 * What a scenario or the death of a process can do to a stream: it is *reset* (what was under way is lost, and both ends learn
 * of it after a while), or *cut* (nothing gets through, and nobody learns of it; bytes wait until the cut ends).
 * Single messages are never lost, doubled or reordered: TCP does not do that.
 */
import { FluxError } from "../base/errors.ts";
import {
  UNIX_PATH_BYTES_MAX,
  type Address,
  type ByteStream,
  type ConnectSecurity,
  type Listener,
  type ListenSecurity,
  type Net,
  type PeerCredentials,
  type StreamEvents,
} from "../base/ports.ts";
import { bytesEqual } from "../base/bytes.ts";
import type { Scope } from "./scope.ts";
import type { Seeded } from "./seeded.ts";
import type { Timeline } from "./timeline.ts";

const HIGH_WATER_BYTES = 256 * 1024;
const TICK_MS = 1e-5;

/** Who opens a stream: its process, and the machine it runs on. */
export interface NetParty {
  readonly scope: Scope;
  readonly machine: string;
  readonly credentials: PeerCredentials;
  /** Descriptors that the process inherited (PMI_FD). */
  readonly descriptors: ReadonlyMap<number, SimulatedStream>;
}

interface Listening {
  readonly party: NetParty;
  readonly address: Address;
  readonly accept: (stream: ByteStream) => void;
  readonly security: ListenSecurity | undefined;
}

/** The network of a world: who listens where, which machines cannot reach each other. */
export class Network {
  readonly timeline: Timeline;
  readonly dice: Seeded;
  readonly #listening = new Map<string, Listening>();
  readonly #streams = new Set<SimulatedStream>();
  readonly #cut = new Set<string>();
  #nextPort = 40_000;

  constructor(timeline: Timeline, dice: Seeded) {
    this.timeline = timeline;
    this.dice = dice;
  }

  /** Pulls a machine's cable. Streams to it stall; `restore` lets them go on. */
  cut(machine: string): void {
    this.#cut.add(machine);
  }
  restore(machine: string): void {
    this.#cut.delete(machine);
    for (const stream of this.#streams) stream.kick();
  }
  isCut(left: string, right: string): boolean {
    return left !== right && (this.#cut.has(left) || this.#cut.has(right));
  }

  /** Resets one stream between two machines or processes, chosen by the dice. False when there is none. */
  resetOne(match: (left: string, right: string) => boolean): boolean {
    const candidates = [...this.#streams].filter((each) => each.isOpen && match(each.owner, each.peerOwner));
    if (candidates.length === 0) return false;
    this.dice.pick(candidates).reset();
    return true;
  }

  get openStreams(): number {
    return [...this.#streams].filter((each) => each.isOpen).length;
  }

  portFor(): number {
    return this.#nextPort++;
  }

  bind(entry: Listening): void {
    const key = keyOf(entry.party.machine, entry.address);
    if (this.#listening.has(key)) throw new FluxError("EADDRINUSE", `${key}: address already in use`);
    this.#listening.set(key, entry);
  }
  unbind(entry: Listening): void {
    this.#listening.delete(keyOf(entry.party.machine, entry.address));
  }
  find(machine: string, address: Address): Listening | null {
    return this.#listening.get(keyOf(machine, address)) ?? null;
  }

  /** Makes the two ends of a connection. */
  pair(left: NetParty, right: NetParty): [SimulatedStream, SimulatedStream] {
    const latencyMs = 0.02 + this.dice.fraction() * (left.machine === right.machine ? 0.1 : 1);
    const near = new SimulatedStream(this, left, right, latencyMs);
    const far = new SimulatedStream(this, right, left, latencyMs);
    near.join(far);
    for (const stream of [near, far]) this.#streams.add(stream);
    return [near, far];
  }
  forget(stream: SimulatedStream): void {
    this.#streams.delete(stream);
  }
}

function keyOf(machine: string, address: Address): string {
  return address.kind === "unix" ? `${machine}:${address.path}` : `${address.host}:${address.port}`;
}

export class SimulatedStream implements ByteStream {
  readonly credentials: PeerCredentials | null;
  identity: string | null = null;
  readonly owner: string;
  readonly peerOwner: string;
  readonly #network: Network;
  readonly #scope: Scope;
  readonly #machines: readonly [string, string];
  readonly #latencyMs: number;
  #peer: SimulatedStream | null = null;
  #events: StreamEvents | null = null;
  #inbox: (Uint8Array | null)[] = [];
  #paused = false;
  #buffered = 0;
  #wantsDrain = false;
  #scheduled = false;
  #lastArrivalMs = 0;
  #open = true;
  #closed: { error: Error | null } | null = null;

  constructor(network: Network, party: NetParty, peer: NetParty, latencyMs: number) {
    this.#network = network;
    this.#scope = party.scope;
    this.#machines = [party.machine, peer.machine];
    this.#latencyMs = latencyMs;
    this.credentials = peer.credentials;
    this.owner = party.scope.name;
    this.peerOwner = peer.scope.name;
    const forget = party.scope.onEnd(() => this.#vanish());
    this.#forgetScope = forget;
  }
  readonly #forgetScope: () => void;

  join(peer: SimulatedStream): void {
    this.#peer = peer;
    peer.#peer = this;
  }
  get isOpen(): boolean {
    return this.#open;
  }
  get buffered(): number {
    return this.#buffered;
  }

  start(events: StreamEvents): void {
    this.#events = events;
    this.kick();
    if (this.#closed !== null) this.#reportClose();
  }

  write(chunk: Uint8Array): boolean {
    if (!this.#open || !this.#scope.alive) return false;
    this.#buffered += chunk.byteLength;
    // The sender may reuse its array; what travels is a copy.
    this.#peer?.arrive(new Uint8Array(chunk), this.#latencyMs);
    this.#wantsDrain = this.#buffered > HIGH_WATER_BYTES;
    return !this.#wantsDrain;
  }

  pause(): void {
    this.#paused = true;
  }
  resume(): void {
    this.#paused = false;
    this.kick();
  }

  end(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#peer?.arrive(null, this.#latencyMs);
    this.#close(null);
  }

  destroy(): void {
    this.end();
  }

  /** Breaks the stream: what is under way in either direction is lost. */
  reset(): void {
    const error = new FluxError("ECONNRESET");
    for (const side of [this, this.#peer]) {
      if (side === null || !side.#open) continue;
      side.#open = false;
      side.#inbox = [];
      side.#close(error);
    }
  }

  /** Its process died: the kernel closes the socket, what it had sent still arrives. */
  #vanish(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#network.forget(this);
    this.#peer?.arrive(null, this.#latencyMs);
  }

  arrive(chunk: Uint8Array | null, latencyMs: number): void {
    const timeline = this.#network.timeline;
    const jitterMs = this.#network.dice.fraction() * 0.05;
    // Never two arrivals at one instant: the order of equal times is random, that of a stream is not.
    const atMs = Math.max(this.#lastArrivalMs + TICK_MS, timeline.nowMs + latencyMs + jitterMs);
    this.#lastArrivalMs = atMs;
    timeline.after(atMs - timeline.nowMs, () => {
      if (this.#closed !== null) return;
      this.#inbox.push(chunk);
      this.kick();
    });
  }

  /** Delivers what has arrived, unless paused, cut or not started. */
  kick(): void {
    if (this.#scheduled || this.#events === null || this.#paused || !this.#scope.alive) return;
    if (this.#network.isCut(...this.#machines)) return;
    this.#scheduled = true;
    this.#network.timeline.after(0, () => {
      this.#scheduled = false;
      if (!this.#network.isCut(...this.#machines)) this.#deliver();
    });
  }

  #deliver(): void {
    while (this.#inbox.length > 0 && !this.#paused && this.#scope.alive && this.#closed === null) {
      const chunk = this.#inbox.shift()!;
      if (chunk === null) {
        this.#open = false;
        return this.#close(null);
      }
      this.#peer?.taken(chunk.byteLength);
      this.#events?.data(chunk);
    }
  }

  taken(length: number): void {
    this.#buffered -= length;
    if (!this.#wantsDrain || this.#buffered > HIGH_WATER_BYTES / 2) return;
    this.#wantsDrain = false;
    this.#network.timeline.after(
      0,
      this.#scope.guard(() => this.#events?.drain?.()),
    );
  }

  #close(error: Error | null): void {
    if (this.#closed !== null) return;
    this.#closed = { error };
    this.#network.forget(this);
    this.#forgetScope();
    if (this.#events !== null) this.#reportClose();
  }

  #reportClose(): void {
    const { error } = this.#closed!;
    const events = this.#events!;
    this.#network.timeline.after(
      0,
      this.#scope.guard(() => events.close(error)),
    );
  }
}

export class SimulatedNet implements Net {
  readonly #network: Network;
  readonly #party: NetParty;

  constructor(network: Network, party: NetParty) {
    this.#network = network;
    this.#party = party;
  }

  async listen(
    address: Address,
    accept: (stream: ByteStream) => void,
    options: { security?: ListenSecurity } = {},
  ): Promise<Listener> {
    checkPath(address);
    const bound: Address =
      address.kind === "tcp" && address.port === 0 ? { ...address, port: this.#network.portFor() } : address;
    const entry: Listening = { party: this.#party, address: bound, accept, security: options.security };
    this.#network.bind(entry);
    const forget = this.#party.scope.onEnd(() => this.#network.unbind(entry));
    return {
      address: bound,
      close: async () => {
        forget();
        this.#network.unbind(entry);
      },
    };
  }

  connect(address: Address, options: { security?: ConnectSecurity; timeoutMs?: number } = {}): Promise<ByteStream> {
    checkPath(address);
    const timeline = this.#network.timeline;
    return new Promise((resolve, reject) => {
      timeline.after(
        0.05 + this.#network.dice.fraction() * 0.3,
        this.#party.scope.guard(() => {
          try {
            resolve(this.#connectNow(address, options.security));
          } catch (error) {
            reject(error as Error);
          }
        }),
      );
    });
  }

  #connectNow(address: Address, security: ConnectSecurity | undefined): ByteStream {
    const target = this.#network.find(this.#party.machine, address);
    if (target === null) throw new FluxError(address.kind === "unix" ? "ENOENT" : "ECONNREFUSED");
    if (this.#network.isCut(this.#party.machine, target.party.machine)) throw new FluxError("EHOSTUNREACH");
    if (target.security !== undefined) {
      const identity = security?.identity ?? null;
      const key = identity === null ? null : target.security.keyFor(identity);
      if (key === null || security === undefined || !bytesEqual(key, security.key)) {
        target.security.refused(identity, "wrong key");
        throw new FluxError("EPERM", "the broker at the other end refused the key");
      }
    }
    const [near, far] = this.#network.pair(this.#party, target.party);
    far.identity = security?.identity ?? null;
    this.#network.timeline.after(
      0,
      target.party.scope.guard(() => target.accept(far)),
    );
    return near;
  }

  openDescriptor(descriptor: number): ByteStream {
    const stream = this.#party.descriptors.get(descriptor);
    if (stream === undefined) throw new FluxError("EBADF");
    return stream;
  }

  hostAddress(): string {
    return this.#party.machine;
  }
}

function checkPath(address: Address): void {
  if (address.kind === "unix" && address.path.length > UNIX_PATH_BYTES_MAX)
    throw new FluxError("ENAMETOOLONG", `${address.path}: too long for a socket`);
}
