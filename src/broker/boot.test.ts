/** How brokers find each other: business cards, the table [bootstrap], keys that fit and keys that do not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { Ports } from "../base/ports.ts";
import { parseToml } from "../formats/toml.ts";
import { startProcess } from "../testkit/instance.ts";
import { World } from "../testkit/world.ts";
import { configBoot, formatKeyFile } from "./boot-config.ts";
import { decodeCard, encodeCard, formatEndpoint, parseEndpoint } from "./bootstrap.ts";
import { Broker } from "./broker.ts";

const MINUTE_MS = 60_000;

test("endpoints and business cards survive their text, which has no spaces", () => {
  for (const text of ["tcp://10.0.0.1:8050", "tcp://[::1]:99", "ipc:///tmp/flux-x/tbon-0"])
    assert.equal(formatEndpoint(parseEndpoint(text)), text);
  assert.throws(() => parseEndpoint("http://x"), FluxError);
  const nearAddress = parseEndpoint("ipc:///tmp/my dir ü/tbon-0");
  const address = parseEndpoint("tcp://10.0.0.1:8050");
  const card = { host: "node1", publicKey: new Uint8Array(32).fill(7), address, nearAddress: null };
  assert.doesNotMatch(encodeCard(card), /\s/);
  assert.deepEqual(decodeCard(encodeCard(card)), card);
  const both = { ...card, nearAddress };
  assert.match(encodeCard(both), /^[!-~]+$/);
  assert.deepEqual(decodeCard(encodeCard(both)), both);
  const near = { ...card, address: null, nearAddress };
  assert.deepEqual(decodeCard(encodeCard(near)), { ...near, address: nearAddress }, "all are on one node");
  assert.throws(() => decodeCard("{}"), FluxError);
});

const KEY_PATH = "/etc/flux/key";

const TABLE = (hosts: string): string => `
[bootstrap]
curve_cert = "${KEY_PATH}"
default_port = 8050
default_bind = "tcp://%h:%p"
default_connect = "tcp://%h:%p"
hosts = [ ${hosts} ]
`;

interface Ended {
  readonly exitCode: number | null;
  readonly stderr: string;
}

/** Brokers on hosts node0, node1 …, each with the key file that `keyText` gives its rank. */
async function bootAll(
  size: number,
  toml: string,
  keyText: (rank: number, ports: Ports) => string,
  initialProgram: readonly string[] = ["exit", "0"],
): Promise<Ended[]> {
  const world = new World(`boot ${toml}`);
  const ended = Array.from({ length: size }, () => ({ exitCode: null as number | null, stderr: "" }));
  const bootstrap = parseToml(toml)["bootstrap"] as object;
  for (const [rank, state] of ended.entries()) {
    startProcess(
      world,
      `node${rank}`,
      ["flux-broker"],
      {},
      (process) => {
        const ports = world.portsOf(process);
        ports.disk.makeDirectory("/etc/flux", { recursive: true });
        ports.disk.writeFile(KEY_PATH, utf8Encode(keyText(rank, ports)), { mode: 0o600 });
        const broker = new Broker({
          ports,
          boot: configBoot(ports, { ...bootstrap }, ports.host.hostname),
          modules: {},
          initialProgram,
          stderr: (text) => (state.stderr += text),
        });
        void broker.run().then((code) => process.exit(code));
      },
      (code) => (state.exitCode = code),
    );
  }
  await world.timeline.runUntil(() => ended.every(({ exitCode }) => exitCode !== null), 5 * MINUTE_MS);
  return ended;
}

/** One key file, as `flux keygen` makes it, for all who ask. */
function sharedKey(): (rank: number, ports: Ports) => string {
  let text: string | null = null;
  return (_rank, ports) => (text ??= formatKeyFile(ports.codec.generateKeyPair(), { name: "test" }));
}

test("hosts that share a key file become an instance, in the order of the table", async () => {
  const ended = await bootAll(3, TABLE('{ host = "node[0-2]" }'), sharedKey());
  assert.deepEqual(
    ended.map(({ exitCode }) => exitCode),
    [0, 0, 0],
  );
});

test("a host with another key is refused: it says so and ends, the others go on without it", async () => {
  const shared = sharedKey();
  const stranger = sharedKey();
  const ended = await bootAll(2, TABLE('{ host = "node[0-1]" }'), (rank, ports) =>
    (rank === 0 ? shared : stranger)(rank, ports),
  );
  assert.equal(ended[1]!.exitCode, 1);
  assert.match(ended[1]!.stderr, /broker\.crit\[1\]: lost the parent/);
  assert.match(ended[0]!.stderr, /overlay\.err\[0\]: refused a connection from '1\./);
  assert.equal(ended[0]!.exitCode, null);
});

test("what is wrong with [bootstrap] is named", () => {
  const world = new World("errors");
  const cases: readonly (readonly [toml: string, host: string, message: RegExp])[] = [
    [TABLE('{ host = "node[0-1]" }'), "other", /host other not found in bootstrap\.hosts/],
    [TABLE("{ bind = 'tcp://x:1' }"), "node0", /lacks 'host'/],
    [TABLE('{ host = "node[0-1]" }').replace("8050", '"x"'), "node0", /default_port must be a port number/],
    [TABLE('{ host = "node[0-1]" }').replace(/curve_cert.*/, ""), "node0", /curve_cert is not set/],
    [TABLE('{ host = "node[0-1]" }').replace(KEY_PATH, "/nosuch"), "node0", /curve_cert \/nosuch: No such file/],
    [TABLE('{ host = "node0", parent = "node1" }, { host = "node1" }'), "node0", /parent of node0/],
    [TABLE('{ host = "node0" }, { host = "node1", parent = "x" }'), "node0", /parent of node1/],
  ];
  let seen = 0;
  startProcess(
    world,
    "node0",
    ["check"],
    {},
    (process) => {
      const ports = world.portsOf(process);
      for (const [toml, host, message] of cases) {
        const bootstrap = parseToml(toml)["bootstrap"] as object;
        assert.throws(
          () => configBoot(ports, { ...bootstrap }, host),
          (error) => error instanceof FluxError && message.test(error.message),
          String(message),
        );
        seen++;
      }
      process.exit(0);
    },
    () => {},
  );
  return world.timeline.runToQuiet(MINUTE_MS).then(() => assert.equal(seen, cases.length));
});

test("a key file that is named must be one, also where nobody needs it", async () => {
  await assert.rejects(
    bootAll(1, TABLE('{ host = "node0" }'), () => ""),
    /no public-key in it/,
  );
});

test("an instance of one host needs no key", async () => {
  const [only] = await bootAll(1, TABLE('{ host = "node0" }').replace(/curve_cert.*/, ""), () => "", ["exit", "5"]);
  assert.equal(only!.exitCode, 5);
});
