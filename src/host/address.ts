/**
 * Addresses of this machine: limits of unix socket paths, the address by which other hosts reach this one.
 *
 * Reads the interface table of the operating system and, on Linux, its routes.
 */
import { readFileSync } from "node:fs";
import { FluxError } from "../base/errors.ts";
import { UNIX_PATH_BYTES_MAX, type Address } from "../base/ports.ts";

/** Refuses a path that the operating system would refuse, or silently cut. */
export function checkUnixPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= UNIX_PATH_BYTES_MAX) return;
  throw new FluxError(
    "ENAMETOOLONG",
    `socket path ${path} is too long: ${length} bytes, the limit is ${UNIX_PATH_BYTES_MAX}; ` +
      `choose a shorter directory (set TMPDIR or rundir)`,
  );
}

/** An address as people write it. */
export function addressText(address: Address): string {
  if (address.kind === "unix") return address.path;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

export interface InterfaceAddress {
  readonly name: string;
  readonly family: "IPv4" | "IPv6";
  readonly address: string;
  /** The network, as "10.0.0.1/8". */
  readonly cidr: string | null;
  readonly internal: boolean;
}

/** The name of the interface that the default route uses, from the text of /proc/net/route; null where there is none. */
export function defaultRouteInterface(routeTable: string): string | null {
  for (const line of routeTable.split("\n").slice(1)) {
    const [name, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (name !== undefined && destination === "00000000" && mask === "00000000") return name;
  }
  return null;
}

/**
 * Chooses the address to publish: that of the named interface or network; else that of the default route's interface;
 * else the first that is not of the loopback. Throws ENODEV where a hint fits nothing.
 */
export function chooseAddress(
  interfaces: readonly InterfaceAddress[],
  defaultInterface: string | null,
  hint?: string,
): string {
  const usable = interfaces.filter((entry) => !isLinkLocal(entry)).sort(familyOrder);
  if (hint !== undefined && hint !== "") {
    const hinted = usable.find((entry) => entry.name === hint) ?? usable.find((entry) => isInNetwork(entry, hint));
    if (hinted !== undefined) return hinted.address;
    throw new FluxError("ENODEV", `this host has no interface or network '${hint}' with an address`);
  }
  const external = usable.filter((entry) => !entry.internal);
  const chosen = external.find((entry) => entry.name === defaultInterface) ?? external[0];
  return chosen?.address ?? "127.0.0.1";
}

function familyOrder(left: InterfaceAddress, right: InterfaceAddress): number {
  return left.family < right.family ? -1 : left.family > right.family ? 1 : 0;
}

/** Such addresses need a zone to be of use, which a peer cannot know. */
function isLinkLocal(entry: InterfaceAddress): boolean {
  return entry.family === "IPv6" && /^fe[89ab]/i.test(entry.address);
}

function ipv4Number(text: string): number | null {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) return null;
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

function isInNetwork(entry: InterfaceAddress, network: string): boolean {
  const [base, bitsText] = network.split("/");
  const baseNumber = ipv4Number(base ?? "");
  const own = ipv4Number(entry.address);
  const bits = bitsText === undefined ? 32 : Number(bitsText);
  if (baseNumber === null || own === null || !Number.isInteger(bits) || bits < 0 || bits > 32) {
    return entry.address === network;
  }
  const divisor = 2 ** (32 - bits);
  return Math.floor(own / divisor) === Math.floor(baseNumber / divisor);
}

/** The address of this machine to publish to others; by the hint "hostname" its name, which they look up themselves. */
export function hostAddress(hint?: string): string {
  const { hostname, networkInterfaces } = process.getBuiltinModule("node:os");
  if (hint === "hostname") return hostname();
  const interfaces: InterfaceAddress[] = [];
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    for (const { family, address, cidr, internal } of entries ?? []) {
      interfaces.push({ name, family, address, cidr, internal });
    }
  }
  return chooseAddress(interfaces, currentDefaultInterface(), hint);
}

function currentDefaultInterface(): string | null {
  try {
    return defaultRouteInterface(readFileSync("/proc/net/route", "utf8"));
  } catch {
    // Only Linux has this file; the first interface is the choice elsewhere.
    return null;
  }
}
