/**
 * What neighbours in the tree know of each other: names, keys, and the control messages between them.
 */
import { hexEncode, utf8Encode } from "../base/bytes.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { Address, KeyPair, Ports } from "../base/ports.ts";
import { MessageType, Payload, Role, USERID_UNKNOWN, type ControlMessage, type Message } from "../protocol/message.ts";
import type { StateName } from "./state-machine.ts";
import type { Tree } from "./tree.ts";

/** Kinds of control messages: `status` carries a number of their own, hello and welcome a payload. */
export const Control = {
  Heartbeat: 0,
  Status: 1,
  Goodbye: 2,
  Hello: 3,
  Welcome: 4,
  State: 5,
  Disconnect: 6,
  Resync: 7,
} as const;

/** The reason for which a child left, if somebody sent it away. */
export const DISCONNECTED = "disconnected by request";
/** What is remembered of a child that left: its status, and the error that `flux overlay errors` tells. */
export function statusLeft(reason: string | null): ["offline" | "lost", string] {
  if (reason === null) return ["offline", "administrative shutdown"];
  return ["lost", reason === DISCONNECTED ? "administrative disconnect" : "lost connection"];
}

export function control(controlType: number, status: number, payload?: object): ControlMessage {
  return {
    type: MessageType.Control,
    topic: "",
    payload: payload === undefined ? null : Payload.json(payload),
    flags: 0,
    userid: USERID_UNKNOWN,
    rolemask: Role.None,
    route: [],
    controlType,
    status,
  };
}

/** The name by which a broker presents itself: its rank and what its public key hashes to. */
export function identityOf(ports: Ports, rank: number, publicKey: Uint8Array): string {
  return `${rank}.${hexEncode(ports.codec.digest("sha256", publicKey).subarray(0, 16))}`;
}

/** The key of an edge: both ends can make it, nobody else. */
export function edgeKey(ports: Ports, own: KeyPair, peerPublicKey: Uint8Array): Uint8Array {
  const secret = ports.codec.sharedSecret(own.privateKey, peerPublicKey);
  const label = utf8Encode("flux overlay edge");
  const input = new Uint8Array(label.byteLength + secret.byteLength);
  input.set(label);
  input.set(secret, label.byteLength);
  return ports.codec.digest("sha256", input);
}

/** Where a neighbour is and by which key it is known. */
export interface PeerCard {
  readonly host: string;
  readonly publicKey: Uint8Array;
  /** Null for a broker that does not listen. */
  readonly address: Address | null;
  /** Where brokers of the same node reach it without the network; absent where they, too, use `address`. */
  readonly nearAddress?: Address | null;
}

/** What a child says of itself. */
export interface Hello {
  readonly rank: number;
  readonly uuid: string;
  /** The number of the last event that it saw, where it was part of the instance before. */
  readonly sequence: number | null;
  readonly epoch: string | null;
}

/** Reads the first message of a link; null where it is no hello of somebody below. */
export function readHello(
  message: Message,
  identity: string | null,
  { rank: own, tree }: { readonly rank: number; readonly tree: Tree },
): Hello | null {
  if (message.type !== MessageType.Control || message.controlType !== Control.Hello) return null;
  const { rank, uuid, sequence = null, epoch = null } = message.payload?.value ?? {};
  if (typeof rank !== "number" || typeof uuid !== "string" || !tree.ancestorsOf(rank).includes(own)) return null;
  if (sequence !== null && typeof sequence !== "number") return null;
  if (epoch !== null && typeof epoch !== "string") return null;
  // The rank it claims is the rank whose key it holds.
  return identity === null || Number.parseInt(identity, 10) === rank ? { rank, uuid, sequence, epoch } : null;
}

export interface OverlayEvents {
  /** Somebody above has welcomed this broker, for the first time or again; what it told. */
  joined(welcome: Welcome, isAgain: boolean): void;
  /** The link to the one above broke; another is looked for. */
  parentParted(reason: string): void;
  /** The parent entered a state. */
  parentState(state: StateName): void;
  parentLost(reason: string): void;
  /** `reason` is null where the child said goodbye. */
  childLeft(rank: number, reason: string | null): void;
  /** A child has been silent for some time, or says something again. */
  childTorpid(rank: number, isTorpid: boolean, silentSeconds: number): void;
  log(severity: number, text: string): void;
}

/** What a broker learns from its parent. */
export interface Welcome {
  readonly uuid: string;
  readonly sequence: number;
  readonly hostlist: string;
  readonly config: JsonObject;
  readonly starttime: string;
  /** Tells one life of the leader from the next: event numbers begin anew with each. */
  readonly epoch: string;
  /** All events after the one that the broker named in its hello follow. */
  readonly resumes: boolean;
}

/** Reads a welcome; null where it is malformed. */
export function readWelcome({ payload }: ControlMessage): Welcome | null {
  const { uuid, sequence, hostlist, config, starttime, epoch, resumes } = payload?.value ?? {};
  if (typeof uuid !== "string" || typeof sequence !== "number" || typeof hostlist !== "string") return null;
  if (typeof starttime !== "string" || typeof epoch !== "string" || !isJsonObject(config)) return null;
  return { uuid, sequence, hostlist, config, starttime, epoch, resumes: resumes === true };
}
