/**
 * The link of a broker to the one above it. At the start that is its parent in the planned tree; when the link breaks, the
 * broker rejoins: at the same one, or where that is dead or cut off under the next ancestor that it reaches.
 *
 * Invariants: a peer takes part in routing from its welcome until its link is gone; there is one at most. Only ancestors in
 * the planned tree are asked, so a rank is always below the ranks that are above it in the plan, and the links never form a
 * cycle. `lost` is called once, and nothing after it: when the one above has said goodbye or sent this broker away, or when
 * nobody above was reached in time.
 */
import { errorText, isFluxError } from "../base/errors.ts";
import type { Address, KeyPair, Ports, TimerHandle } from "../base/ports.ts";
import { MessageType, type ControlMessage, type Message } from "../protocol/message.ts";
import { Control, control, edgeKey, identityOf, readWelcome, type PeerCard, type Welcome } from "./edge.ts";
import { Link } from "./link.ts";
import type { Pace } from "./pace.ts";
import type { Peer, Router } from "./router.ts";
import { STATE_NAMES, type StateName } from "./state-machine.ts";

const RETRY_DELAY_MS = 20;
const RETRY_DELAY_MAX_MS = 1000;
/** How long one ancestor may take to let this broker in again, before the next is asked, in milliseconds. */
const KNOCK_TIMEOUT_MS = 2000;

export interface UplinkEvents {
  /** The one above has welcomed this broker: for the first time, or again after its link had broken. */
  joined(peer: Peer, welcome: Welcome, isAgain: boolean): void;
  /** Events were missed, or are numbered anew. */
  missed(sequence: number, epoch: string): void;
  /** The one above entered a state. */
  state(state: StateName): void;
  /** The link broke; another is looked for. */
  parted(peer: Peer, reason: string): void;
  /** There is nobody above any more. `peer` is null where there was none at last. */
  lost(peer: Peer | null, reason: string): void;
  log(severity: number, text: string): void;
}

export interface UplinkOptions {
  readonly ports: Ports;
  readonly pace: Pace;
  readonly rank: number;
  readonly uuid: string;
  readonly keys: KeyPair;
  /** The ranks above this one in the planned tree, the parent first. */
  readonly ancestors: readonly number[];
  /** The parent may start later than this broker: connecting is tried without end. */
  readonly isPatient: boolean;
  /** How long another link is looked for when one broke, in milliseconds. */
  rejoinMs(): number;
  cardOf(rank: number): PeerCard | undefined;
  router(): Router;
  /** Whether what comes from above can be passed on. */
  hasRoom(): boolean;
  relieved(): void;
  readonly events: UplinkEvents;
}

export class Uplink {
  readonly #options: UplinkOptions;
  #link: Link | null = null;
  #peer: Peer | null = null;
  #rank: number | null = null;
  #retry: TimerHandle | null = null;
  #closed = false;
  #epoch = "";
  #isLooking = false;
  /** Called when the link has closed. */
  #parted: () => void = () => {};

  #isLeaving = false;

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  get link(): Link | null {
    return this.#link;
  }
  get peer(): Peer | null {
    return this.#peer;
  }
  /** The rank of the one above. */
  get rank(): number | null {
    return this.#rank;
  }
  /** Whether the link broke and another is looked for. */
  get isLooking(): boolean {
    return this.#isLooking;
  }

  /** Connects to the parent; tries until it answers. */
  connect(): void {
    void this.#tryParent(this.#options.ancestors[0]!, RETRY_DELAY_MS);
  }

  async #tryParent(parent: number, delayMs: number): Promise<void> {
    const { ports, events, cardOf, isPatient } = this.#options;
    if (this.#closed) return;
    try {
      this.#start(await this.#dial(parent), parent, { welcomed: () => {}, failed: (why) => this.#lose(why) });
    } catch (error) {
      if (this.#closed) return;
      const host = cardOf(parent)?.host ?? "parent";
      // A parent that does not know our key will not know it later; one that listened before is gone.
      const isGone = !isPatient && delayMs >= RETRY_DELAY_MAX_MS;
      if (isFluxError(error, "EPERM") || isGone) return this.#lose(errorText(error));
      if (delayMs >= RETRY_DELAY_MAX_MS) events.log(6, `waiting for ${host} (rank ${parent}): ${errorText(error)}`);
      if (delayMs === RETRY_DELAY_MS && isFluxError(error, "EHOSTUNREACH"))
        events.log(4, `unable to resolve upstream peer ${host} (rank ${parent}): ${errorText(error)}`);
      const nextMs = Math.min(delayMs * 2, RETRY_DELAY_MAX_MS);
      this.#retry = ports.clock.after(delayMs, () => void this.#tryParent(parent, nextMs));
    }
  }

  /** Throws FluxError. */
  async #dial(rank: number, timeoutMs?: number): Promise<Link> {
    const { ports, rank: own, keys, cardOf } = this.#options;
    const card = cardOf(rank);
    const address: Address = card!.address!;
    const security = {
      identity: identityOf(ports, own, keys.publicKey),
      key: edgeKey(ports, keys, card!.publicKey),
    };
    const limit = timeoutMs === undefined ? {} : { timeoutMs };
    return new Link(await ports.net.connect(address, { security, ...limit }), ports.clock, this.#options.pace);
  }

  /** Says hello over a link. Either `welcomed` or `failed` is called, once. */
  #start(link: Link, rank: number, { welcomed, failed }: { welcomed(): void; failed(reason: string): void }): void {
    const { rank: own, uuid, events, router, hasRoom, relieved } = this.#options;
    if (this.#closed) return link.destroy();
    const isAgain = this.#rank !== null;
    this.#link = link;
    let peer: Peer | null = null;
    let end: string | null = null;
    const takeControl = (message: ControlMessage): void => {
      if (message.controlType === Control.Goodbye) end = "the parent has ended";
      else if (message.controlType === Control.Disconnect) {
        const { reason } = message.payload?.value ?? {};
        end = typeof reason === "string" ? reason : "this broker was sent away";
      } else if (message.controlType === Control.State) events.state(STATE_NAMES[message.status] ?? "exit");
      else if (message.controlType === Control.Resync) {
        const { sequence, epoch } = message.payload?.value ?? {};
        if (typeof sequence === "number" && typeof epoch === "string") this.#miss(sequence, epoch);
      } else if (message.controlType === Control.Welcome && peer === null) {
        const welcome = readWelcome(message);
        if (welcome === null) {
          end = "the parent's welcome is malformed";
          return link.destroy();
        }
        peer = { uuid: welcome.uuid, rank, send: (each) => link.send(each) };
        this.#enter(peer, rank, welcome, isAgain);
        welcomed();
      }
    };
    link.start({
      hasRoom,
      relieved,
      message: (message: Message) => {
        if (message.type === MessageType.Control) takeControl(message);
        else if (peer !== null) router().receiveFrom(peer, message);
      },
      closed: (reason) => {
        if (this.#link === link) this.#link = null;
        const why = `${this.#nameOf(rank)}: ${end ?? reason ?? "lost connection"}`;
        if (peer === null) return failed(why);
        const isRejoining = !this.#closed && end === null && !this.#isLeaving && this.#options.rejoinMs() > 0;
        this.#peer = null;
        this.#isLooking = isRejoining;
        router().removePeer(peer);
        this.#parted();
        if (this.#closed) return;
        if (isRejoining) this.#rejoin(peer, why);
        else this.#lose(why);
      },
    });
    link.send(
      control(Control.Hello, 0, {
        rank: own,
        uuid,
        ...(isAgain && { sequence: router().eventSequence, epoch: this.#epoch }),
      }),
    );
  }

  #nameOf(rank: number): string {
    return `${this.#options.cardOf(rank)?.host ?? "parent"} (rank ${rank})`;
  }

  #enter(peer: Peer, rank: number, welcome: Welcome, isAgain: boolean): void {
    const router = this.#options.router();
    router.addPeer(peer);
    this.#peer = peer;
    this.#rank = rank;
    this.#isLooking = false;
    if (!isAgain) {
      router.eventSequence = welcome.sequence;
      this.#epoch = welcome.epoch;
    } else if (!welcome.resumes) this.#miss(welcome.sequence, welcome.epoch);
    this.#options.events.joined(peer, welcome, isAgain);
    router.release();
  }

  #miss(sequence: number, epoch: string): void {
    this.#options.router().restartEvents(sequence, () => {
      this.#epoch = epoch;
      this.#options.events.missed(sequence, epoch);
    });
  }

  #lose(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#isLooking = false;
    this.#options.router().release();
    this.#options.events.lost(null, reason);
  }

  /** Ends the link, and with it this broker's part in the instance. */
  leave(): void {
    this.#isLeaving = true;
    this.#link?.destroy();
  }

  // ---- Rejoining

  #rejoin(peer: Peer, reason: string): void {
    const { ports, rejoinMs, events } = this.#options;
    events.parted(peer, reason);
    void this.#knockAtAll(ports.clock.monotonicMs() + rejoinMs(), reason, RETRY_DELAY_MS);
  }

  /** Asks everybody above, from the nearest on, and again until somebody answers or the time is over. */
  async #knockAtAll(untilMs: number, reason: string, delayMs: number): Promise<void> {
    const { ports, ancestors } = this.#options;
    for (const rank of ancestors) {
      if (this.#closed) return;
      if (await this.#knock(rank)) return;
    }
    if (this.#closed) return;
    if (ports.clock.monotonicMs() >= untilMs) return this.#lose(reason);
    const nextMs = Math.min(delayMs * 2, RETRY_DELAY_MAX_MS);
    this.#retry = ports.clock.after(delayMs, () => void this.#knockAtAll(untilMs, reason, nextMs));
  }

  /** Resolves with whether this rank has let us in. */
  async #knock(rank: number): Promise<boolean> {
    const { ports, cardOf } = this.#options;
    if ((cardOf(rank)?.address ?? null) === null) return false;
    const link = await this.#dialInTime(rank);
    if (link === null) return false;
    return new Promise((resolve) => {
      const timer = ports.clock.after(KNOCK_TIMEOUT_MS, () => link.destroy());
      const answer = (isIn: boolean) => () => {
        timer.cancel();
        resolve(isIn);
      };
      if (this.#closed) answer(false)();
      this.#start(link, rank, { welcomed: answer(true), failed: answer(false) });
    });
  }

  /** A link to a rank, or null where there is none in time, whatever the network does. */
  #dialInTime(rank: number): Promise<Link | null> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const settle = (link: Link | null): void => {
        if (isOver) return link?.destroy();
        isOver = true;
        timer.cancel();
        resolve(link);
      };
      const timer = this.#options.ports.clock.after(2 * KNOCK_TIMEOUT_MS, () => settle(null));
      this.#dial(rank, KNOCK_TIMEOUT_MS).then(settle, (error: unknown) => {
        if (isFluxError(error)) settle(null);
        else reject(error as Error);
      });
    });
  }

  // ---- The end

  /** Stops looking for a link; one that is there stays until it closes. */
  stop(): void {
    this.#closed = true;
    this.#retry?.cancel();
  }

  /** Resolves when the link, which somebody ends, has closed. */
  parted(): Promise<void> {
    return new Promise((resolve) => (this.#parted = resolve));
  }
}
