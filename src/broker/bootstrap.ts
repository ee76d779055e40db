/**
 * How a broker learns its rank, the size of its instance and where its neighbours are. A launcher answers through a
 * `BootClient` (PMI); alone, nobody need be asked; a configuration says it all beforehand.
 */
import { base64Decode, base64Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../base/json.ts";
import type { Address, KeyPair } from "../base/ports.ts";
import type { PeerCard } from "./overlay.ts";

/** The key-value exchange that launchers offer (RFC 13). All ranks call `barrier` equally often. */
export interface BootClient {
  /** How the instance was booted: attribute `broker.boot-method`. */
  readonly method: string;
  initialize(): Promise<{ readonly rank: number; readonly size: number; readonly name: string }>;
  /** The value of a key, or null. What others put is visible after a barrier. */
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
  barrier(): Promise<void>;
  finalize(): Promise<void>;
  /** Known beforehand: nothing is exchanged. */
  readonly plan?: BootPlan;
}

/** An instance whose brokers know each other's place from the start. */
export interface BootPlan {
  /** The hosts in rank order. */
  readonly hosts: readonly string[];
  /** Parents in rank order (-1 for rank 0), where the plan has them. */
  readonly parents?: readonly number[];
  /** The one key pair of all brokers. */
  readonly keys: KeyPair;
  /** Where a rank listens, and where its children find it; null where that is not said. */
  bindAddress(rank: number): Address | null;
  connectAddress(rank: number): Address | null;
}

/** An instance of one broker. */
export function singleBoot(): BootClient {
  return {
    method: "single",
    initialize: () => Promise.resolve({ rank: 0, size: 1, name: "single" }),
    get: () => Promise.resolve(null),
    put: () => Promise.resolve(),
    barrier: () => Promise.resolve(),
    finalize: () => Promise.resolve(),
  };
}

/** `tcp://host:port`, `ipc://path`. */
export function formatEndpoint(address: Address): string {
  if (address.kind === "unix") return `ipc://${address.path}`;
  return address.host.includes(":")
    ? `tcp://[${address.host}]:${address.port}`
    : `tcp://${address.host}:${address.port}`;
}

/** Throws EINVAL. */
export function parseEndpoint(text: string): Address {
  if (text.startsWith("ipc://")) return { kind: "unix", path: text.slice("ipc://".length) };
  const match = /^tcp:\/\/(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text);
  if (match === null) throw new FluxError("EINVAL", `'${text}' is not an endpoint, like tcp://host:port or ipc://path`);
  return { kind: "tcp", host: match[1] ?? match[2]!, port: Number(match[3]) };
}

/** What a broker puts under its rank for its neighbours to read. No spaces: servers cut a value at the first one. */
export function encodeCard(card: PeerCard): string {
  const uri = [card.address, card.nearAddress ?? null].flatMap((each) => (each === null ? [] : [formatEndpoint(each)]));
  const text = stringifyJson({ host: card.host, pubkey: base64Encode(card.publicKey), uri });
  return text.replace(/[^!-~]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Throws EPROTO. */
export function decodeCard(text: string): PeerCard {
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EPROTO", "a broker's business card is not an object");
  const { host, pubkey, uri } = value;
  const publicKey = typeof pubkey === "string" ? base64Decode(pubkey) : null;
  if (typeof host !== "string" || publicKey === null || !Array.isArray(uri))
    throw new FluxError("EPROTO", "a broker's business card lacks host, pubkey or uri");
  const addresses = uri.flatMap((each) => (typeof each === "string" ? [parseEndpoint(each)] : []));
  const nearAddress = addresses.find(({ kind }) => kind === "unix") ?? null;
  const address = addresses.find(({ kind }) => kind === "tcp") ?? nearAddress;
  return { host, publicKey, address, nearAddress };
}

/** The card of a rank. Throws EPROTO where the launcher has none. */
export async function fetchCard(client: BootClient, rank: number): Promise<PeerCard> {
  const text = await client.get(String(rank));
  if (text === null) {
    const reason = "no broker has that rank; do two claim one?";
    throw new FluxError("EPROTO", `bootstrap: the launcher has no business card of rank ${rank}: ${reason}`);
  }
  return decodeCard(text);
}
