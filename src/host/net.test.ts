import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import * as rawNet from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError, isFluxError } from "../base/errors.ts";
import type { Address, ByteStream, Listener, ListenSecurity } from "../base/ports.ts";
import { chooseAddress, defaultRouteInterface } from "./address.ts";
import { nativeAddon } from "./native.ts";
import { nodeNet } from "./net.ts";

const net = nodeNet();
const directory = mkdtempSync(join(tmpdir(), "flux-net-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A stream whose data and end can be awaited. */
class Peer {
  readonly stream: ByteStream;
  received = "";
  readonly closed: Promise<Error | null>;
  #wake: () => void = () => undefined;

  constructor(stream: ByteStream) {
    this.stream = stream;
    this.closed = new Promise((resolve) => {
      stream.start({
        data: (chunk) => {
          this.received += utf8Decode(chunk);
          this.#wake();
        },
        close: resolve,
      });
    });
  }

  async until(length: number): Promise<string> {
    while (this.received.length < length) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.received;
  }
}

async function pair(
  address: Address,
  security?: { listen: ListenSecurity; identity: string; key: Uint8Array },
): Promise<{ listener: Listener; client: ByteStream; server: ByteStream }> {
  let accepted: (stream: ByteStream) => void = () => undefined;
  const server = new Promise<ByteStream>((resolve) => (accepted = resolve));
  const listener = await net.listen(address, (stream) => accepted(stream), security && { security: security.listen });
  const client = await net.connect(listener.address, security && { security });
  return { listener, client, server: await server };
}

const anyPort: Address = { kind: "tcp", host: "127.0.0.1", port: 0 };
const unixAt = (name: string): Address & { kind: "unix" } => ({ kind: "unix", path: join(directory, name) });

for (const [name, address] of [
  ["unix", unixAt("basic")],
  ["tcp", anyPort],
] as const) {
  test(`${name}: bytes go both ways, and a clean end is an end without error on both sides`, async () => {
    const { listener, client, server } = await pair(address);
    const [here, there] = [new Peer(client), new Peer(server)];
    client.write(utf8Encode("hello "));
    client.write(utf8Encode("broker"));
    assert.equal(await there.until(12), "hello broker");
    server.write(utf8Encode("welcome"));
    assert.equal(await here.until(7), "welcome");
    client.end();
    assert.deepEqual(await Promise.all([here.closed, there.closed]), [null, null]);
    await listener.close();
  });
}

test("what arrives before start() is kept, the end too", async () => {
  const { listener, client, server } = await pair(unixAt("early"));
  client.write(utf8Encode("early"));
  client.end();
  await new Promise((resolve) => setImmediate(resolve));
  const there = new Peer(server);
  assert.equal(there.received, "", "nothing is delivered inside start()");
  assert.equal(await there.closed, null);
  assert.equal(there.received, "early");
  const here = new Peer(client);
  assert.equal(await here.closed, null);
  await listener.close();
});

test("a writer is told to wait while the reader pauses, and of the drain when it goes on", async () => {
  const { listener, client, server } = await pair(unixAt("pressure"));
  let drained = false;
  let received = 0;
  const chunk = new Uint8Array(65536);
  let sent = 0;
  const drain = new Promise<void>((resolve) => {
    client.start({
      data: () => undefined,
      drain: () => {
        drained = true;
        resolve();
      },
      close: () => undefined,
    });
  });
  server.pause();
  const closed = new Promise<Error | null>((resolve) => {
    server.start({ data: (bytes) => (received += bytes.byteLength), close: resolve });
  });
  do sent += chunk.byteLength;
  while (client.write(chunk) || client.buffered < 4 * 1024 * 1024);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(received, 0);
  assert.equal(drained, false);
  assert.ok(client.buffered > 0);
  server.resume();
  await drain;
  client.end();
  assert.equal(await closed, null);
  assert.equal(received, sent);
  await listener.close();
});

test("what a peer wrote before it closed arrives, though it left something unread; then its stream closes", async () => {
  const { listener, client, server } = await pair(unixAt("unread"));
  const here = new Peer(client);
  client.pause();
  const there = new Peer(server);
  server.write(new Uint8Array(1000));
  client.write(utf8Encode("last words"));
  assert.equal(await there.until(10), "last words");
  // Unread bytes make the kernel report an error to the other side, beside the end.
  client.destroy();
  await there.closed;
  assert.equal(await here.closed, null);
  await listener.close();
});

test("many short chunks of one turn, and what is written while the reader is slow, arrive whole and in order", async () => {
  const { listener, client, server } = await pair(unixAt("chunks"));
  const there = new Peer(server);
  const here = new Peer(client);
  const words = Array.from({ length: 20_000 }, (_, index) => `${index},`);
  server.pause();
  for (const word of words) client.write(utf8Encode(word));
  server.resume();
  client.end();
  const text = words.join("");
  assert.equal(await there.until(text.length), text);
  assert.equal(await there.closed, null);
  assert.equal(await here.closed, null);
  await listener.close();
});

test("without the native addon the same holds", { skip: nativeAddon() === null && "there is no addon" }, () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawnSync(process.execPath, ["--test-reporter=tap", import.meta.filename], {
    env: { ...env, FLUX_NATIVE: "off" },
    encoding: "utf8",
  });
  assert.equal(child.status, 0, child.stdout);
  assert.match(child.stdout, /^# pass [1-9]/m);
});

test("destroy() closes both sides; whoever destroyed hears of no error", async () => {
  const { listener, client, server } = await pair(anyPort);
  const [here, there] = [new Peer(client), new Peer(server)];
  client.destroy();
  client.destroy();
  assert.equal(await here.closed, null);
  const seen = await there.closed;
  assert.ok(seen === null || seen instanceof FluxError);
  assert.equal(server.write(utf8Encode("into the void")), true);
  await listener.close();
});

test("accepted streams live on when the listener closes; a unix socket's file goes", async () => {
  const address = unixAt("closing");
  const { listener, client, server } = await pair(address);
  const there = new Peer(server);
  await listener.close();
  assert.equal(existsSync(address.path), false);
  client.write(utf8Encode("still here"));
  assert.equal(await there.until(10), "still here");
  client.destroy();
  await there.closed;
});

test("a unix peer's credentials are those of its process, on both sides", async () => {
  const { listener, client, server } = await pair(unixAt("credentials"));
  for (const { credentials } of [client, server]) {
    assert.equal(credentials?.uid, process.getuid?.());
    assert.ok(credentials?.pid === process.pid || credentials?.pid === 0, "0 without the native addon");
  }
  client.destroy();
  server.destroy();
  await listener.close();
});

test("the mode of a unix socket is the one asked for", async () => {
  const address = unixAt("mode");
  const listener = await net.listen(address, () => undefined, { mode: 0o600 });
  assert.equal(statSync(address.path).mode & 0o777, 0o600);
  await listener.close();
});

test("a path that does not fit a socket address is refused with the remedy", async () => {
  const address = unixAt("x".repeat(120));
  for (const attempt of [net.listen(address, () => undefined), net.connect(address)]) {
    await assert.rejects(attempt, (error) => {
      assert.ok(isFluxError(error, "ENAMETOOLONG"));
      assert.ok(error.message.includes(address.path) && /TMPDIR or rundir/.test(error.message));
      return true;
    });
  }
});

test("the socket file of a dead process is replaced, that of a living one is not, nor another file", async () => {
  const address = unixAt("stale");
  // Its owner dies without the chance to remove the file.
  spawnSync(process.execPath, [
    "-e",
    `require("net").createServer().listen(${JSON.stringify(address.path)}, () => process.kill(process.pid, "SIGKILL"))`,
  ]);
  assert.equal(existsSync(address.path), true);
  await assert.rejects(net.connect(address), (error) => isFluxError(error, "ECONNREFUSED"));
  const listener = await net.listen(address, (stream) => stream.destroy());
  await assert.rejects(
    net.listen(address, () => undefined),
    (error) => isFluxError(error, "EADDRINUSE"),
  );
  await listener.close();
  writeFileSync(address.path, "precious");
  await assert.rejects(
    net.listen(address, () => undefined),
    (error) => isFluxError(error, "EADDRINUSE"),
  );
  assert.equal(existsSync(address.path), true);
});

test("nobody there: the error names the place and the reason", async () => {
  const missing = unixAt("missing");
  await assert.rejects(net.connect(missing), (error) => {
    assert.ok(isFluxError(error, "ENOENT") && error.message.includes(missing.path));
    return true;
  });
  const listener = await net.listen(anyPort, () => undefined);
  await listener.close();
  await assert.rejects(net.connect(listener.address), (error) => isFluxError(error, "ECONNREFUSED"));
});

const rightKey = new Uint8Array(32).fill(7);

function keyring(refusals: [string | null, string][]): ListenSecurity {
  return {
    keyFor: (identity) => (identity === "rank1" ? rightKey : null),
    refused: (identity, reason) => refusals.push([identity, reason]),
  };
}

for (const [name, address] of [
  ["unix", unixAt("secure")],
  ["tcp", anyPort],
] as const) {
  test(`${name}, secured: who has the key is let in under its name`, async () => {
    const refusals: [string | null, string][] = [];
    const listen = keyring(refusals);
    const { listener, client, server } = await pair(address, { listen, identity: "rank1", key: rightKey });
    assert.equal(server.identity, "rank1");
    assert.equal(server.credentials?.uid, name === "unix" ? process.getuid?.() : undefined);
    const [here, there] = [new Peer(client), new Peer(server)];
    const large = "x".repeat(300_000);
    client.write(utf8Encode(large));
    assert.equal(await there.until(large.length), large);
    server.write(utf8Encode("secret"));
    assert.equal(await here.until(6), "secret");
    client.end();
    assert.deepEqual(await Promise.all([here.closed, there.closed]), [null, null]);
    assert.deepEqual(refusals, []);
    await listener.close();
  });
}

for (const [title, identity, key, reason] of [
  ["another key", "rank1", new Uint8Array(32).fill(8), /another key/],
  ["an unknown name", "rank9", rightKey, /no key is known/],
] as const) {
  test(`secured: a peer with ${title} is refused, and both sides are told`, async () => {
    const refusals: [string | null, string][] = [];
    const accepted: ByteStream[] = [];
    const listener = await net.listen(anyPort, (stream) => accepted.push(stream), { security: keyring(refusals) });
    await assert.rejects(net.connect(listener.address, { security: { identity, key } }), (error) => {
      assert.ok(isFluxError(error, "EPERM"), String(error));
      assert.match(error.message, /key/);
      return true;
    });
    assert.equal(accepted.length, 0);
    assert.equal(refusals.length, 1);
    assert.equal(refusals[0]![0], identity);
    assert.match(refusals[0]![1], reason);
    await listener.close();
  });
}

test("secured: a peer that speaks in the clear is refused", async () => {
  const { promise, resolve } = Promise.withResolvers<[string | null, string]>();
  const security: ListenSecurity = {
    keyFor: () => rightKey,
    refused: (identity, reason) => resolve([identity, reason]),
  };
  const listener = await net.listen(anyPort, () => assert.fail("accepted"), { security });
  const { port } = listener.address as Address & { kind: "tcp" };
  const socket = rawNet.connect(port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\n\r\n"));
  socket.on("error", () => socket.destroy());
  const [identity, reason] = await promise;
  assert.equal(identity, null);
  assert.match(reason, /protocol/);
  socket.destroy();
  await listener.close();
});

test("a peer that never answers the handshake runs into the time limit", async () => {
  const listener = await net.listen(anyPort, (stream) => new Peer(stream));
  const attempt = net.connect(listener.address, { security: { identity: "rank1", key: rightKey }, timeoutMs: 50 });
  await assert.rejects(attempt, (error) => isFluxError(error, "ETIMEDOUT"));
  await listener.close();
});

test("an inherited descriptor is a stream; one that is closed or no socket is refused", async () => {
  const accepted = Promise.withResolvers<ByteStream>();
  const listener = await net.listen(unixAt("inherit"), (stream) => accepted.resolve(stream));
  const program = `
    const { nodeNet } = await import(${JSON.stringify(new URL("./net.ts", import.meta.url).href)});
    const stream = nodeNet().openDescriptor(3);
    stream.start({ data: (chunk) => (stream.write(chunk), stream.end()), close: () => undefined });
    for (const descriptor of [0, 99]) {
      try { nodeNet().openDescriptor(descriptor); } catch (error) { process.stdout.write(error.errnum + " "); }
    }`;
  const socket = rawNet.connect(unixAt("inherit").path);
  await new Promise((resolve) => socket.once("connect", resolve));
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit", socket],
  });
  socket.destroy();
  let printed = "";
  child.stdout?.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  const there = new Peer(await accepted.promise);
  there.stream.write(utf8Encode("ping"));
  assert.equal(await there.until(4), "ping");
  assert.equal(await there.closed, null);
  await new Promise((resolve) => child.once("close", resolve));
  assert.equal(printed, "9 9 ");
  await listener.close();
});

test("the address for other hosts: a hint decides, then the default route, then what is not loopback", () => {
  const entry = (name: string, address: string, internal = false) =>
    ({ name, family: "IPv4", address, cidr: `${address}/24`, internal }) as const;
  const interfaces = [entry("lo", "127.0.0.1", true), entry("eth0", "10.77.0.3"), entry("ib0", "192.168.5.3")];
  assert.equal(chooseAddress(interfaces, null), "10.77.0.3");
  assert.equal(chooseAddress(interfaces, "ib0"), "192.168.5.3");
  assert.equal(chooseAddress(interfaces, null, "ib0"), "192.168.5.3");
  assert.equal(chooseAddress(interfaces, null, "192.168.0.0/16"), "192.168.5.3");
  assert.equal(chooseAddress(interfaces, null, "lo"), "127.0.0.1");
  assert.equal(chooseAddress([interfaces[0]!], null), "127.0.0.1");
  assert.throws(
    () => chooseAddress(interfaces, null, "eth7"),
    (error) => isFluxError(error, "ENODEV"),
  );
  const table =
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nib0\t00000000\t0105A8C0\t3\t0\t0\t0\t00000000\n";
  assert.equal(defaultRouteInterface(table), "ib0");
  assert.equal(defaultRouteInterface("Iface\n"), null);
  assert.match(net.hostAddress(), /^[0-9a-f.:]+$/);
});
