/**
 * The overlay network of one broker: a link to its parent and one to each child, mutually authenticated; who is there,
 * who was lost, and which way a rank lies.
 *
 * Invariants: a peer takes part in routing from its hello (at the parent) or its welcome (at the child) until its link is
 * gone, and a new link of the same rank ends the old one first. Nothing is accepted from a child whose key is not known.
 *
 * Between neighbours travel control messages besides the routed ones: heartbeat, status of the subtree, goodbye, hello
 * and welcome, the state of the parent. It does not decide what a loss means for this broker: it tells.
 */
import type { JsonObject } from "../base/json.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { assert } from "../base/assert.ts";
import type { Address, ByteStream, KeyPair, Listener, Ports } from "../base/ports.ts";
import { MessageType, type Message } from "../protocol/message.ts";
import {
  Control,
  control,
  DISCONNECTED,
  edgeKey,
  identityOf,
  type Hello,
  type OverlayEvents,
  type PeerCard,
  type Welcome,
  readHello,
  statusLeft,
} from "./edge.ts";
import { Health, SUBTREE_STATUSES, type SubtreeStatus } from "./health.ts";
import { Link } from "./link.ts";
import { isSmallTalk, Pace } from "./pace.ts";
import type { Peer, Router, Routes } from "./router.ts";
import { isEnding, stateNumber, type StateName } from "./state-machine.ts";
import { Pulse, type Pulsed, type PulseLimits } from "./pulse.ts";
import type { Tree } from "./tree.ts";
import { Uplink } from "./uplink.ts";

/** How long the parent may take to close its end when this broker ends. */
const CLOSE_PATIENCE_MS = 500;
/** A peer that connected must say who it is within this time. */
const HELLO_TIMEOUT_MS = 10_000;

export type { OverlayEvents, PeerCard, Welcome } from "./edge.ts";

export interface OverlayOptions {
  readonly ports: Ports;
  readonly rank: number;
  readonly tree: Tree;
  readonly uuid: string;
  readonly hostname: string;
  readonly keys: KeyPair;
  /** The parent may start later than this broker: connecting is tried without end. */
  readonly isPatient: boolean;
  /** No child is welcome: an instance is being repaired. */
  readonly isAlone: boolean;
  /** How long another link to somebody above is looked for when the one to the parent broke, in milliseconds. */
  readonly rejoinMs: number;
  /** When a silent peer is torpid, and when it is given up. */
  readonly limits: () => PulseLimits;
  readonly events: OverlayEvents;
}

interface ChildLink extends Hello {
  readonly link: Link;
  readonly peer: Peer;
  saidGoodbye: boolean;
}

export class Overlay implements Routes {
  readonly health: Health;
  /** Of all bulk work of this broker. */
  readonly pace: Pace;
  readonly #options: OverlayOptions;
  readonly #cards = new Map<number, PeerCard>();
  readonly #children = new Map<number, ChildLink>();
  readonly #unnamed = new Set<Link>();
  /** Children that came before this broker could tell them anything. */
  readonly #early: (() => void)[] = [];
  #router: Router | null = null;
  readonly #listeners: Listener[] = [];
  readonly #uplink: Uplink;
  #welcome: Omit<Welcome, "sequence" | "uuid" | "resumes"> | null = null;
  #state: StateName = "load-builtins";
  readonly #pulse: Pulse;
  #closed = false;

  constructor(options: OverlayOptions) {
    this.#options = options;
    const { clock } = options.ports;
    this.pace = new Pace(clock);
    this.#uplink = this.#makeUplink();
    this.#pulse = new Pulse(clock, options.limits, () => this.#neighbours());
    this.health = new Health(options.tree.childrenOf(options.rank), () => clock.monotonicMs() / 1000);
  }

  /** The router is made with this overlay as its routes, so it comes later. */
  attachRouter(router: Router): void {
    this.#router = router;
  }

  // ---- Routes

  get parent(): Peer | null {
    return this.#uplink.peer;
  }

  get children(): Iterable<Peer> {
    return [...this.#children.values()].map((child) => child.peer);
  }

  get childRanks(): number[] {
    return [...this.#children.keys()];
  }

  nextHop(rank: number): Peer | null {
    // Below a child that is lost, or not below at all: those above may know.
    return this.#childOnTheWay(rank)?.peer ?? this.parent;
  }

  /** The child by which a rank is reached: its planned one, or one that was left behind by that and taken in here. */
  childTowards(rank: number): number | null {
    return this.#childOnTheWay(rank)?.rank ?? null;
  }

  #childOnTheWay(rank: number): ChildLink | null {
    const { tree, rank: own } = this.#options;
    for (let hop: number | null = rank; hop !== null && hop !== own; hop = tree.parentOf(hop)) {
      const child = this.#children.get(hop);
      if (child !== undefined) return child;
    }
    return null;
  }

  /** The ranks that are reached by way of a peer. */
  ranksBehind(uuid: string): number[] {
    const child = [...this.#children.values()].find(({ peer }) => peer.uuid === uuid);
    if (child === undefined) return [];
    const { tree } = this.#options;
    return [child.rank, ...tree.descendantsOf(child.rank)].filter((rank) => this.#childOnTheWay(rank) === child);
  }

  /** The answer to `overlay.stats-get`. */
  stats(): object {
    const { tree, rank } = this.#options;
    return {
      "child-count": tree.childrenOf(rank).length,
      "child-connected": this.#children.size,
      "parent-count": this.parent === null ? 0 : 1,
      "parent-rpc": 0,
      "child-rpc": 0,
      interthread: { sendq: 0, recvq: 0 },
      "queued-bytes": this.queuedBytes,
    };
  }

  // ---- Listening

  /** Makes a neighbour known: only known ones get a connection. */
  setCard(rank: number, card: PeerCard): void {
    this.#cards.set(rank, card);
  }

  /** Listens for children; may be called once for each kind of address. Resolves with the one that they connect to. */
  async listen(address: Address): Promise<Address> {
    const { ports, events, keys } = this.#options;
    const keyFor = (identity: string): Uint8Array | null => {
      const card = this.#cards.get(Number.parseInt(identity, 10));
      if (card === undefined) return null;
      const expected = identityOf(ports, Number.parseInt(identity, 10), card.publicKey);
      return identity === expected ? edgeKey(ports, keys, card.publicKey) : null;
    };
    const refused = (identity: string | null, reason: string): void =>
      events.log(3, `refused a connection from ${identity === null ? "a stranger" : `'${identity}'`}: ${reason}`);
    const security = { keyFor, refused };
    const listener = await ports.net.listen(address, (stream) => this.#accept(stream), { security });
    this.#listeners.push(listener);
    return listener.address;
  }

  /** From now on children are welcomed. */
  open(welcome: Omit<Welcome, "sequence" | "uuid" | "resumes">): void {
    this.#welcome = welcome;
    for (const proceed of this.#early.splice(0)) proceed();
    this.#pulse.start();
  }

  /** Those who join from now on are given this configuration. */
  announceConfig(config: JsonObject): void {
    if (this.#welcome !== null) this.#welcome = { ...this.#welcome, config };
  }

  #accept(stream: ByteStream): void {
    const link = new Link(stream, this.#options.ports.clock, this.pace);
    this.#unnamed.add(link);
    let child: ChildLink | null = null;
    const timeout = this.#options.ports.clock.after(HELLO_TIMEOUT_MS, () => child ?? link.destroy(), {
      background: true,
    });
    link.start({
      hasRoom: () => this.#hasRoomBeside(link),
      relieved: () => this.#relieved(),
      message: (message) => {
        if (child !== null) return this.#fromChild(child, message);
        timeout.cancel();
        const hello = readHello(message, link.identity, this.#options);
        if (hello === null) return link.destroy();
        child = { ...hello, link, peer: this.#peerOf(link, hello), saidGoodbye: false };
        const accepted = child;
        if (this.#welcome === null) this.#early.push(() => this.#admit(accepted));
        else this.#admit(accepted);
      },
      closed: (reason) => {
        timeout.cancel();
        this.#unnamed.delete(link);
        if (child !== null) this.#childClosed(child, reason);
      },
    });
  }

  #peerOf(link: Link, { uuid, rank }: Hello): Peer {
    return { uuid, rank, send: (message) => link.send(message) };
  }

  #admit(child: ChildLink): void {
    const { rank, link, peer } = child;
    if (this.#closed || this.#welcome === null || !this.#unnamed.delete(link)) return link.destroy();
    const router = this.#routerOrThrow();
    const before = this.#children.get(rank);
    if (this.#options.isAlone) return this.#turnAway(link, `rank ${rank} may not join: recovery is in progress`);
    if (before !== undefined && before.uuid !== child.uuid && this.#isAlive(before))
      return this.#turnAway(link, `rank ${rank} is taken: another broker claims to be it`);
    if (before !== undefined) {
      before.link.destroy();
      this.#dropChild(before, "connected anew");
    }
    this.#children.set(rank, child);
    const host = Hostlist.tryParse(this.#welcome.hostlist)?.nth(rank) ?? "unknown";
    this.#options.events.log(7, `accepting connection from ${host} (rank ${rank})`);
    router.addPeer(peer);
    const isSame = child.sequence !== null && child.epoch === this.#welcome.epoch;
    const missed = isSame ? router.eventsAfter(child.sequence) : null;
    const resumes = missed !== null;
    const welcome: Welcome = { ...this.#welcome, uuid: this.#options.uuid, sequence: router.eventSequence, resumes };
    link.send(control(Control.Welcome, 0, welcome));
    for (const event of missed ?? []) link.send(event);
    link.send(control(Control.State, stateNumber(this.#state)));
    this.#setChildStatus(rank, "partial", null);
  }

  #turnAway(link: Link, reason: string): void {
    this.#options.events.log(3, `refused a connection: ${reason}`);
    link.send(control(Control.Disconnect, 0, { reason }));
    link.end();
  }

  /** A living child says something every few seconds. */
  #isAlive({ link }: ChildLink): boolean {
    return this.#options.ports.clock.monotonicMs() - link.receivedMs < 3 * this.#pulse.intervalMs;
  }

  #fromChild(child: ChildLink, message: Message): void {
    if (message.type !== MessageType.Control) {
      if (isSmallTalk(message)) this.pace.spoke(child);
      if (this.#children.get(child.rank) === child) this.#routerOrThrow().receiveFrom(child.peer, message);
      return;
    }
    if (message.controlType === Control.Status)
      this.#setChildStatus(child.rank, SUBTREE_STATUSES[message.status] ?? "degraded", null);
    else if (message.controlType === Control.Goodbye) child.saidGoodbye = true;
  }

  #childClosed(child: ChildLink, reason: string | null): void {
    const why = child.saidGoodbye ? null : (reason ?? "lost connection");
    if (this.#children.get(child.rank) === child) this.#dropChild(child, why);
  }

  #dropChild(child: ChildLink, reason: string | null): void {
    this.#children.delete(child.rank);
    this.#routerOrThrow().removePeer(child.peer);
    this.#setChildStatus(child.rank, ...statusLeft(reason));
    this.#options.events.childLeft(child.rank, reason);
  }

  #setChildStatus(rank: number, status: SubtreeStatus, error: string | null): void {
    if (this.health.update(rank, status, error)) this.#reportStatus();
  }

  #reportStatus(): void {
    if (this.parent !== null)
      this.#uplink.link?.send(control(Control.Status, SUBTREE_STATUSES.indexOf(this.health.status)));
  }

  /** Ends the link to a child at once, as if it were lost. Returns whether there was one. */
  disconnectChild(rank: number): boolean {
    const child = this.#children.get(rank); // Where it is: it is not to come back by itself.
    if (child === undefined) return false;
    child.link.send(control(Control.Disconnect, 0));
    child.link.end();
    this.#dropChild(child, DISCONNECTED);
    return true;
  }

  // ---- The one above

  /** Parts from the one above, for good. */
  disconnectParent(): void {
    this.#uplink.leave();
  }

  /** Connects to the parent; tries until it answers. */
  connectParent(): void {
    this.#uplink.connect();
  }

  /** The rank of the one above: the parent, or who has taken this broker in after that was lost. */
  get parentRank(): number | null {
    return this.#uplink.rank;
  }

  #makeUplink(): Uplink {
    const { ports, rank, uuid, keys, isPatient, rejoinMs, tree, events } = this.#options;
    return new Uplink({
      ports,
      pace: this.pace,
      rank,
      uuid,
      keys,
      ancestors: tree.ancestorsOf(rank),
      isPatient,
      rejoinMs: () => (isEnding(this.#state) ? 0 : rejoinMs),
      cardOf: (of) => this.#cards.get(of),
      router: () => this.#routerOrThrow(),
      hasRoom: () => this.#hasRoomBeside(this.#uplink.link),
      relieved: () => this.#relieved(),
      events: {
        joined: (_peer, welcome, isAgain) => {
          this.#reportStatus();
          events.joined(welcome, isAgain);
          this.#pulse.start();
        },
        missed: (sequence, epoch) => this.#missed(sequence, epoch),
        state: (state) => events.parentState(state),
        parted: (_peer, reason) => events.parentParted(reason),
        lost: (_peer, reason) => events.parentLost(reason),
        log: (severity, text) => events.log(severity, text),
      },
    });
  }

  /** Events were missed, or begin anew: those below hear so, too. */
  #missed(sequence: number, epoch: string): void {
    if (this.#welcome !== null) this.#welcome = { ...this.#welcome, epoch };
    for (const child of this.#children.values()) child.link.send(control(Control.Resync, 0, { sequence, epoch }));
  }

  get isLooking(): boolean {
    return this.#uplink.isLooking;
  }
  get isStarting(): boolean {
    return this.#options.rank === 0 && stateNumber(this.#state) < stateNumber("quorum");
  }

  #routerOrThrow(): Router {
    assert(this.#router !== null, "the overlay has its router before it has peers");
    return this.#router;
  }

  // ---- All links

  /** Tells the children which state this broker entered. */
  announceState(state: StateName): void {
    this.#state = state;
    if (!this.isStarting) this.#router?.release();
    for (const child of this.#children.values()) child.link.send(control(Control.State, stateNumber(state)));
  }

  /** Bytes that wait to be sent to neighbours. */
  get queuedBytes(): number {
    let bytes = this.#uplink.link?.queuedBytes ?? 0;
    for (const child of this.#children.values()) bytes += child.link.queuedBytes;
    return bytes;
  }

  /**
   * Whether large messages of a link can be passed on. From the parent they go to children only, from a child to the
   * parent or another child: so no two links ever wait for each other.
   */
  #hasRoomBeside(link: Link | null): boolean {
    const above = this.#uplink.link;
    if (link !== above && above?.isFull === true) return false;
    for (const child of this.#children.values()) if (child.link !== link && child.link.isFull) return false;
    return true;
  }

  #relieved(): void {
    for (const link of this.#links()) link.resume();
  }

  *#neighbours(): Iterable<Pulsed> {
    if (this.#uplink.link !== null) yield { link: this.#uplink.link };
    for (const { rank, link: below } of this.#children.values())
      yield { link: below, torpid: (is, seconds) => this.#options.events.childTorpid(rank, is, seconds) };
  }

  *#links(): Iterable<Link> {
    if (this.#uplink.link !== null) yield this.#uplink.link;
    for (const child of this.#children.values()) yield child.link;
  }

  /** Says goodbye to the neighbours and closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#stopTimers();
    for (const link of this.#links()) {
      link.send(control(Control.Goodbye, 0));
      link.end();
    }
    for (const link of this.#unnamed) link.destroy();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    if (this.#uplink.link === null) return;
    // The parent is to hear the goodbye before this process is gone.
    await new Promise<void>((resolve) => {
      void this.#uplink.parted().then(resolve);
      this.#options.ports.clock.after(CLOSE_PATIENCE_MS, resolve, { background: true });
    });
  }

  /** Drops everything at once. */
  destroy(): void {
    this.#stopTimers();
    for (const link of this.#links()) link.destroy();
    for (const link of this.#unnamed) link.destroy();
    for (const listener of this.#listeners) void listener.close();
  }

  #stopTimers(): void {
    this.#closed = true;
    this.#pulse.stop();
    this.#uplink.stop();
  }
}
