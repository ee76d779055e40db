/**
 * Groups of brokers (`groups.*`): who is in `broker.online` and the like. Each broker knows the members in its own
 * subtree and tells its parent of changes, so the leader knows them all.
 *
 * Invariants: a rank that was lost is in no group. A client's membership ends with its connection.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { Idset } from "../formats/idset.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { RequestSet } from "../sdk/request-set.ts";
import { ANY_USER, ANYONE, requireString, type Methods } from "../sdk/service.ts";

/** Who joins for the broker itself, not for a client. */
export const BROKER = "broker";

export interface GroupsSurroundings {
  readonly rank: number;
  /** Tells the parent; not called on rank 0. */
  sendUp(update: object): void;
  /** The ranks that are reached by way of a neighbour. */
  ranksBehind(peer: string): Iterable<number>;
  /** The members of a group as known here changed. */
  changed(name: string, members: Idset): void;
}

export class Groups {
  readonly #surroundings: GroupsSurroundings;
  readonly #members = new Map<string, Idset>();
  /** Local joiners: group name to the route id of the client, or BROKER. */
  readonly #local = new Map<string, string>();
  readonly #watchers = new RequestSet<string>();

  constructor(surroundings: GroupsSurroundings) {
    this.#surroundings = surroundings;
  }

  members(name: string): Idset {
    return this.#members.get(name) ?? new Idset();
  }

  /** Joins this broker to a group. Throws EEXIST, except for the broker itself: it takes over from a client. */
  join(name: string, owner: string): void {
    const { rank } = this.#surroundings;
    if (this.#local.has(name) && owner !== BROKER)
      throw new FluxError("EEXIST", `rank ${rank} is already a member of ${name}`);
    this.#local.set(name, owner);
    this.#change(name, Idset.of(rank), true);
  }

  /** Throws ENOENT. */
  leave(name: string): void {
    const { rank } = this.#surroundings;
    if (!this.#local.delete(name)) throw new FluxError("ENOENT", `rank ${rank} is not a member of ${name}`);
    this.#change(name, Idset.of(rank), false);
  }

  /** Says of a rank below whether it is in a group, when it cannot do so itself. */
  mark(name: string, rank: number, isMember: boolean): void {
    this.#change(name, Idset.of(rank), isMember);
  }

  /** Takes ranks out of every group: they are lost. */
  removeRanks(ranks: Iterable<number>): void {
    const gone = Idset.from(ranks);
    for (const [name, members] of this.#members) if (members.overlaps(gone)) this.#change(name, gone, false);
  }

  /** Says anew who of this subtree is in which group: those above may never have heard, or have given it up. */
  tellAll(): void {
    const members = [...this.#members].map(([name, ranks]) => [name, ranks.format()] as const);
    this.#surroundings.sendUp({ members: Object.fromEntries(members) });
  }

  /** Takes what a neighbour says of all its ranks. */
  #replace(peer: string, members: JsonObject): void {
    const behind = Idset.from(this.#surroundings.ranksBehind(peer));
    for (const name of new Set([...this.#members.keys(), ...Object.keys(members)])) {
      const now = name in members ? Idset.parse(requireString(members, name)).intersect(behind) : new Idset();
      this.#change(name, behind.subtract(now), false);
      this.#change(name, now, true);
    }
  }

  #change(name: string, ranks: Idset, isMember: boolean): void {
    const before = this.members(name);
    const after = isMember ? before.union(ranks) : before.subtract(ranks);
    if (after.equals(before)) return;
    this.#members.set(name, after);
    if (this.#surroundings.rank !== 0)
      this.#surroundings.sendUp({ update: { [name]: [{ ranks: ranks.format(), set: isMember }] } });
    for (const [request, watched] of this.#watchers) if (watched === name) request.respond({ members: after.format() });
    this.#surroundings.changed(name, after);
  }

  methods(): Methods {
    return {
      get: { roles: ANY_USER, handler: (request) => this.#get(request) },
      join: (request) => this.#joinBy(request),
      leave: (request) => this.#leaveBy(request),
      update: (request) => this.#update(request),
      disconnect: { roles: ANYONE, handler: (request) => this.#disconnect(request) },
      "stats-get": { roles: ANYONE, handler: () => this.#stats() },
    };
  }

  #get(request: IncomingRequest): undefined {
    const name = requireString(request.json, "name");
    if (this.#surroundings.rank !== 0) throw new FluxError("EPROTO", "this RPC is only available on rank 0");
    request.respond({ members: this.members(name).format() });
    if (request.isStreaming) this.#watchers.add(request, name);
    return undefined;
  }

  #joinBy(request: IncomingRequest): null {
    requireLocal(request, "groups.join");
    this.join(requireString(request.json, "name"), request.sender);
    return null;
  }

  #leaveBy(request: IncomingRequest): null {
    requireLocal(request, "groups.leave");
    const name = requireString(request.json, "name");
    if (this.#local.get(name) !== request.sender)
      throw new FluxError("ENOENT", `rank ${this.#surroundings.rank} is not a member of ${name}`);
    this.leave(name);
    return null;
  }

  #update(request: IncomingRequest): undefined {
    const { update, members } = request.json;
    // From below only, and of what is below: what a lost neighbour still says counts no more.
    const [peer = ""] = request.message.route;
    if (isJsonObject(members)) {
      this.#replace(peer, members);
      return undefined;
    }
    if (!isJsonObject(update)) throw new FluxError("EPROTO");
    for (const [name, changes] of Object.entries(update))
      for (const change of changesOf(changes))
        this.#change(name, Idset.parse(requireString(change, "ranks")), change["set"] === true);
    return undefined;
  }

  #disconnect(request: IncomingRequest): undefined {
    this.#watchers.takeDisconnected(request);
    for (const [name, owner] of this.#local) if (owner === request.sender) this.leave(name);
    return undefined;
  }

  #stats(): JsonObject {
    return { subtree: Object.fromEntries([...this.#members].map(([name, members]) => [name, members.format()])) };
  }

  close(): void {
    this.#watchers.failAll(new FluxError("ENODATA"));
  }
}

/** Throws EPROTO. */
function changesOf(value: JsonValue | undefined): readonly JsonObject[] {
  if (!Array.isArray(value) || !value.every(isJsonObject)) throw new FluxError("EPROTO", "malformed group update");
  return value;
}

/** A request that came from this broker's own clients carries one route id only. */
function requireLocal(request: IncomingRequest, topic: string): void {
  if (request.message.route.length > 1) throw new FluxError("EPROTO", `${topic} is restricted to the local broker`);
}
