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
import { assert } from "../base/assert.ts";
import { errorText, isFluxError } from "../base/errors.ts";
import type { Address, ByteStream, KeyPair, Listener, Ports, TimerHandle } from "../base/ports.ts";
import { MessageType, type ControlMessage, type Message } from "../protocol/message.ts";
import { Control, control, edgeKey, identityOf, type OverlayEvents, type PeerCard, type Welcome } from "./edge.ts";
import { Health, SUBTREE_STATUSES, type SubtreeStatus } from "./health.ts";
import { Link } from "./link.ts";
import type { Peer, Router, Routes } from "./router.ts";
import { STATE_NAMES, stateNumber, type StateName } from "./state-machine.ts";
import type { Tree } from "./tree.ts";

const HEARTBEAT_MS = 2000;
const RETRY_DELAY_MS = 20;
const RETRY_DELAY_MAX_MS = 1000;
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
  /** A silent peer is given up after this many seconds. */
  readonly silenceLimit: number;
  readonly events: OverlayEvents;
}

interface ChildLink {
  readonly rank: number;
  readonly link: Link;
  readonly peer: Peer;
  saidGoodbye: boolean;
}

export class Overlay implements Routes {
  readonly health: Health;
  readonly #options: OverlayOptions;
  readonly #cards = new Map<number, PeerCard>();
  readonly #children = new Map<number, ChildLink>();
  readonly #unnamed = new Set<Link>();
  /** Children that came before this broker could tell them anything. */
  readonly #early: (() => void)[] = [];
  #router: Router | null = null;
  readonly #listeners: Listener[] = [];
  #parent: { link: Link; peer: Peer } | null = null;
  #parentLink: Link | null = null;
  #parted: () => void = () => {};
  #welcome: Omit<Welcome, "sequence" | "uuid"> | null = null;
  #state: StateName = "load-builtins";
  #heartbeat: TimerHandle | null = null;
  #retry: TimerHandle | null = null;
  #closed = false;

  constructor(options: OverlayOptions) {
    this.#options = options;
    const { clock } = options.ports;
    this.health = new Health(options.tree.childrenOf(options.rank), () => clock.monotonicMs() / 1000);
  }

  /** The router is made with this overlay as its routes, so it comes later. */
  attachRouter(router: Router): void {
    this.#router = router;
  }

  // ---- Routes

  get parent(): Peer | null {
    return this.#parent?.peer ?? null;
  }

  get children(): Iterable<Peer> {
    return [...this.#children.values()].map((child) => child.peer);
  }

  get childRanks(): number[] {
    return [...this.#children.keys()];
  }

  nextHop(rank: number): Peer | null {
    const { tree, rank: own } = this.#options;
    const child = tree.childTowards(own, rank);
    return child === null ? this.parent : (this.#children.get(child)?.peer ?? null);
  }

  /** The answer to `overlay.stats-get`. */
  stats(): object {
    const { tree, rank } = this.#options;
    return {
      "child-count": tree.childrenOf(rank).length,
      "child-connected": this.#children.size,
      "parent-count": this.#parent === null ? 0 : 1,
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
  open(welcome: Omit<Welcome, "sequence" | "uuid">): void {
    this.#welcome = welcome;
    for (const proceed of this.#early.splice(0)) proceed();
    this.#beat();
  }

  #accept(stream: ByteStream): void {
    const link = new Link(stream, this.#options.ports.clock);
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
        const hello = this.#readHello(link, message);
        if (hello === null) return link.destroy();
        child = { rank: hello.rank, link, peer: this.#peerOf(link, hello.uuid), saidGoodbye: false };
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

  #readHello(link: Link, message: Message): { rank: number; uuid: string } | null {
    const { rank: own, tree } = this.#options;
    if (message.type !== MessageType.Control || message.controlType !== Control.Hello) return null;
    const { rank, uuid } = message.payload?.value ?? {};
    if (typeof rank !== "number" || typeof uuid !== "string" || tree.parentOf(rank) !== own) return null;
    // The rank it claims is the rank whose key it holds.
    return link.identity === null || Number.parseInt(link.identity, 10) === rank ? { rank, uuid } : null;
  }

  #peerOf(link: Link, uuid: string): Peer {
    return { uuid, send: (message) => link.send(message) };
  }

  #admit(child: ChildLink): void {
    const { rank, link, peer } = child;
    if (this.#closed || this.#welcome === null || !this.#unnamed.delete(link)) return link.destroy();
    const router = this.#routerOrThrow();
    const before = this.#children.get(rank);
    if (before !== undefined) {
      before.link.destroy();
      this.#dropChild(before, "connected anew");
    }
    this.#children.set(rank, child);
    router.addPeer(peer);
    const welcome: Welcome = { ...this.#welcome, uuid: this.#options.uuid, sequence: router.eventSequence };
    link.send(control(Control.Welcome, 0, welcome));
    link.send(control(Control.State, stateNumber(this.#state)));
    this.#setChildStatus(rank, "partial", null);
    this.#options.events.childJoined(rank);
  }

  #fromChild(child: ChildLink, message: Message): void {
    if (message.type !== MessageType.Control) {
      if (this.#children.get(child.rank) === child) this.#routerOrThrow().receiveFrom(child.peer, message);
      return;
    }
    if (message.controlType === Control.Status)
      this.#setChildStatus(child.rank, SUBTREE_STATUSES[message.status] ?? "degraded", null);
    else if (message.controlType === Control.Goodbye) child.saidGoodbye = true;
  }

  #childClosed(child: ChildLink, reason: string | null): void {
    if (this.#children.get(child.rank) !== child) return;
    this.#dropChild(child, child.saidGoodbye ? null : (reason ?? "lost connection"));
  }

  #dropChild(child: ChildLink, reason: string | null): void {
    this.#children.delete(child.rank);
    this.#routerOrThrow().removePeer(child.peer);
    this.#setChildStatus(child.rank, reason === null ? "offline" : "lost", reason === null ? null : "lost connection");
    this.#options.events.childLeft(child.rank, reason);
  }

  #setChildStatus(rank: number, status: SubtreeStatus, error: string | null): void {
    if (this.health.update(rank, status, error)) this.#reportStatus();
  }

  #reportStatus(): void {
    this.#parent?.link.send(control(Control.Status, SUBTREE_STATUSES.indexOf(this.health.status)));
  }

  /** Ends the link to a child at once, as if it were lost. Returns whether there was one. */
  disconnectChild(rank: number): boolean {
    const child = this.#children.get(rank);
    if (child === undefined) return false;
    child.link.destroy();
    this.#dropChild(child, "disconnected");
    return true;
  }

  // ---- The parent

  /** Connects to the parent; tries until it answers. */
  connectParent(): void {
    const parentRank = this.#options.tree.parentOf(this.#options.rank);
    assert(parentRank !== null, "the root has no parent");
    const card = this.#cards.get(parentRank);
    assert(card !== undefined && card.address !== null, "the parent's address is known");
    void this.#tryParent(parentRank, card, card.address, RETRY_DELAY_MS);
  }

  async #tryParent(parentRank: number, card: PeerCard, address: Address, delayMs: number): Promise<void> {
    const { ports, rank, keys, events } = this.#options;
    if (this.#closed) return;
    const identity = identityOf(ports, rank, keys.publicKey);
    try {
      const key = edgeKey(ports, keys, card.publicKey);
      const stream = await ports.net.connect(address, { security: { identity, key } });
      this.#startParentLink(new Link(stream, ports.clock), parentRank);
    } catch (error) {
      if (this.#closed) return;
      // A parent that does not know our key will not know it later; one that listened before is gone.
      const isGone = !this.#options.isPatient && delayMs >= RETRY_DELAY_MAX_MS;
      if (isFluxError(error, "EPERM") || isGone) return events.parentLost(errorText(error));
      if (delayMs >= RETRY_DELAY_MAX_MS)
        events.log(6, `waiting for ${card.host} (rank ${parentRank}): ${errorText(error)}`);
      if (delayMs === RETRY_DELAY_MS && isFluxError(error, "EHOSTUNREACH"))
        events.log(4, `unable to resolve upstream peer ${card.host} (rank ${parentRank}): ${errorText(error)}`);
      const nextMs = Math.min(delayMs * 2, RETRY_DELAY_MAX_MS);
      this.#retry = ports.clock.after(delayMs, () => void this.#tryParent(parentRank, card, address, nextMs));
    }
  }

  #startParentLink(link: Link, parentRank: number): void {
    const { rank, uuid, events } = this.#options;
    if (this.#closed) return link.destroy();
    this.#parentLink = link;
    let saidGoodbye = false;
    link.start({
      hasRoom: () => this.#hasRoomBeside(link),
      relieved: () => this.#relieved(),
      message: (message) => {
        if (message.type !== MessageType.Control) {
          if (this.#parent !== null) this.#routerOrThrow().receiveFrom(this.#parent.peer, message);
        } else if (message.controlType === Control.Welcome) this.#welcomed(link, message);
        else if (message.controlType === Control.Goodbye) saidGoodbye = true;
        else if (message.controlType === Control.State) events.parentState(STATE_NAMES[message.status] ?? "exit");
      },
      closed: (reason) => {
        const parent = this.#parent;
        this.#parent = null;
        this.#parentLink = null;
        if (parent !== null) this.#routerOrThrow().removePeer(parent.peer);
        this.#parted();
        if (this.#closed) return;
        const why = saidGoodbye ? "the parent has ended" : (reason ?? "lost connection");
        events.parentLost(`${this.#cards.get(parentRank)?.host ?? "parent"} (rank ${parentRank}): ${why}`);
      },
    });
    link.send(control(Control.Hello, 0, { rank, uuid }));
  }

  #welcomed(link: Link, message: ControlMessage): void {
    const welcome = (message.payload?.value ?? {}) as unknown as Welcome;
    const router = this.#routerOrThrow();
    const peer = this.#peerOf(link, welcome.uuid);
    router.eventSequence = welcome.sequence;
    router.addPeer(peer);
    this.#parent = { link, peer };
    this.#reportStatus();
    this.#options.events.joined(welcome);
    this.#beat();
  }

  #routerOrThrow(): Router {
    assert(this.#router !== null, "the overlay has its router before it has peers");
    return this.#router;
  }

  // ---- All links

  /** Tells the children which state this broker entered. */
  announceState(state: StateName): void {
    this.#state = state;
    for (const child of this.#children.values()) child.link.send(control(Control.State, stateNumber(state)));
  }

  /** Bytes that wait to be sent to neighbours. */
  get queuedBytes(): number {
    let bytes = this.#parent?.link.queuedBytes ?? 0;
    for (const child of this.#children.values()) bytes += child.link.queuedBytes;
    return bytes;
  }

  /**
   * Whether large messages of a link can be passed on. From the parent they go to children only, from a child to the
   * parent or another child: so no two links ever wait for each other.
   */
  #hasRoomBeside(link: Link): boolean {
    if (link !== this.#parentLink && this.#parentLink?.isFull === true) return false;
    for (const child of this.#children.values()) if (child.link !== link && child.link.isFull) return false;
    return true;
  }

  #relieved(): void {
    for (const link of this.#links()) link.resume();
  }

  /** Shows every neighbour that this broker lives, and gives up those that have been silent for too long. */
  #beat(): void {
    if (this.#heartbeat !== null || this.#closed) return;
    const { clock } = this.#options.ports;
    const tick = (): void => {
      this.#heartbeat = clock.after(HEARTBEAT_MS, tick, { background: true });
      const now = clock.monotonicMs();
      for (const link of this.#links()) {
        if (now - link.sentMs >= HEARTBEAT_MS) link.send(control(Control.Heartbeat, 0));
        if (now - link.receivedMs > this.#options.silenceLimit * 1000) link.destroy();
      }
    };
    this.#heartbeat = clock.after(HEARTBEAT_MS, tick, { background: true });
  }

  *#links(): Iterable<Link> {
    if (this.#parentLink !== null) yield this.#parentLink;
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
    if (this.#parentLink === null) return;
    // The parent is to hear the goodbye before this process is gone.
    await new Promise<void>((resolve) => {
      this.#parted = resolve;
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
    this.#heartbeat?.cancel();
    this.#retry?.cancel();
  }
}
