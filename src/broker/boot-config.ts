/**
 * Booting from the configuration (flux-config-bootstrap(5)): the table `[bootstrap]` lists the hosts in rank order, where
 * each listens, and the file with the key pair that all brokers share.
 */
import { base64Decode, base64Encode, bytesEqual, utf8Decode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { Address, KeyPair, Ports } from "../base/ports.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { parseEndpoint, singleBoot, type BootClient, type BootPlan } from "./bootstrap.ts";

interface HostEntry {
  readonly host: string;
  readonly bind: string | null;
  readonly connect: string | null;
  readonly parent: string | null;
}

function textOf(table: JsonObject, key: string): string | null {
  const value = table[key];
  if (value === undefined) return null;
  if (typeof value !== "string") throw new FluxError("EINVAL", `bootstrap.${key} must be a string`);
  return value;
}

/** The table of hosts, one entry per rank. Later entries of a host complete earlier ones. Throws EINVAL. */
function hostEntries(bootstrap: JsonObject): HostEntry[] {
  const { hosts } = bootstrap;
  if (hosts === undefined) return [];
  if (!Array.isArray(hosts)) throw new FluxError("EINVAL", "bootstrap.hosts must be an array of tables");
  const entries = new Map<string, HostEntry>();
  for (const table of hosts) {
    if (!isJsonObject(table)) throw new FluxError("EINVAL", "bootstrap.hosts must be an array of tables");
    const names = textOf(table, "host");
    if (names === null) throw new FluxError("EINVAL", "an entry of bootstrap.hosts lacks 'host'");
    for (const host of Hostlist.parse(names)) {
      const before = entries.get(host);
      entries.set(host, {
        host,
        bind: textOf(table, "bind") ?? before?.bind ?? null,
        connect: textOf(table, "connect") ?? before?.connect ?? null,
        parent: textOf(table, "parent") ?? before?.parent ?? null,
      });
    }
  }
  return [...entries.values()];
}

/** `tcp://%h:%p` with host and port filled in; `*` and interface names become addresses. */
function addressFrom(ports: Ports, template: string, host: string, port: string | null, isBind: boolean): Address {
  const text = template.replaceAll("%h", host).replaceAll("%p", port ?? "%p");
  if (text.includes("%p")) throw new FluxError("EINVAL", `bootstrap: '${template}' needs default_port`);
  const match = /^tcp:\/\/([^[:]+):(\d+)$/.exec(text);
  if (!isBind || match === null) return parseEndpoint(text);
  const name = match[1]!;
  const isName = !/^[\d.]+$/.test(name) && name !== host && name !== "*";
  const address = name === "*" ? "0.0.0.0" : isName ? ports.net.hostAddress(name) : name;
  return { kind: "tcp", host: address, port: Number(match[2]) };
}

function portText(bootstrap: JsonObject): string | null {
  const port = bootstrap["default_port"];
  if (port === undefined) return null;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535)
    throw new FluxError("EINVAL", "bootstrap.default_port must be a port number");
  return String(port);
}

function parentsOf(entries: readonly HostEntry[]): number[] | undefined {
  if (entries.every((entry) => entry.parent === null)) return undefined;
  return entries.map((entry, rank) => {
    if (rank === 0 && entry.parent === null) return -1;
    const parent = entry.parent === null ? 0 : entries.findIndex(({ host }) => host === entry.parent);
    if (parent < 0 || parent >= rank)
      throw new FluxError("EINVAL", `bootstrap: the parent of ${entry.host} must come before it in bootstrap.hosts`);
    return parent;
  });
}

/** Throws EINVAL with a sentence that names what is wrong. */
export function configBoot(ports: Ports, bootstrap: JsonObject, hostname: string): BootClient {
  const entries = hostEntries(bootstrap);
  const method = "config";
  const certificate = textOf(bootstrap, "curve_cert");
  if (entries.length === 0) {
    if (certificate !== null) readKeys(ports, certificate);
    return { ...singleBoot(), method };
  }
  const rank = entries.findIndex(({ host }) => host === hostname);
  if (rank < 0) throw new FluxError("ENOENT", `host ${hostname} not found in bootstrap.hosts`);
  const port = portText(bootstrap);
  const defaultBind = textOf(bootstrap, "default_bind");
  const defaultConnect = textOf(bootstrap, "default_connect");
  const place = (
    of: number,
    own: string | null | undefined,
    fallback: string | null,
    isBind: boolean,
  ): Address | null => {
    const template = own ?? fallback;
    return template === null ? null : addressFrom(ports, template, entries[of]!.host, port, isBind);
  };
  const parents = parentsOf(entries);
  const plan: BootPlan = {
    hosts: entries.map(({ host }) => host),
    ...(parents === undefined ? {} : { parents }),
    keys: entries.length === 1 && certificate === null ? ports.codec.generateKeyPair() : readKeys(ports, certificate),
    bindAddress: (of) => place(of, entries[of]?.bind, defaultBind, true),
    connectAddress: (of) => place(of, entries[of]?.connect, defaultConnect, false),
  };
  return {
    ...singleBoot(),
    method,
    plan,
    initialize: () => Promise.resolve({ rank, size: entries.length, name: "config" }),
  };
}

/** The key file that `flux keygen` writes. */
export function formatKeyFile(keys: KeyPair, metadata: Readonly<Record<string, string>>): string {
  return [
    "#   Key pair of a Flux instance, made by flux keygen. Give every broker a copy; let nobody else read it.",
    "metadata",
    ...Object.entries(metadata).map(([name, value]) => `    ${name} = "${value}"`),
    "curve",
    `    public-key = "${base64Encode(keys.publicKey)}"`,
    `    secret-key = "${base64Encode(keys.privateKey)}"`,
    "",
  ].join("\n");
}

function readKeys(ports: Ports, path: string | null): KeyPair {
  if (path === null) throw new FluxError("EINVAL", "bootstrap.curve_cert is not set: make a key file with flux keygen");
  const info = ports.disk.info(path);
  if (info === null) throw new FluxError("ENOENT", `curve_cert ${path}: No such file or directory`);
  if ((info.mode & 0o077) !== 0) throw new FluxError("EPERM", `curve_cert ${path}: others can read it; use chmod 0600`);
  const text = utf8Decode(ports.disk.readFile(path));
  const key = (name: string): Uint8Array => {
    const match = new RegExp(`^\\s*${name}\\s*=\\s*"([^"]+)"`, "m").exec(text);
    const bytes = match === null ? null : base64Decode(match[1]!);
    if (bytes === null || bytes.byteLength !== 32)
      throw new FluxError("EINVAL", `curve_cert ${path}: no ${name} in it; make a key file with flux keygen`);
    return bytes;
  };
  const keys = { publicKey: key("public-key"), privateKey: key("secret-key") };
  if (bytesEqual(keys.publicKey, keys.privateKey)) throw new FluxError("EINVAL", `curve_cert ${path}: not a key pair`);
  return keys;
}
