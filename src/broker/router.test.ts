import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError, isFluxError } from "../base/errors.ts";
import { MessageType, Payload, Role, type Message } from "../protocol/message.ts";
import { Handle } from "../sdk/handle.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { RequestSet } from "../sdk/request-set.ts";
import { ANY_USER, Server, type Methods } from "../sdk/service.ts";
import { CALLED_MAX } from "./calls.ts";
import { remember, type Outstanding } from "./outstanding.ts";
import type { Credentials, Port } from "./port.ts";
import { Router, type Peer } from "./router.ts";

const OWNER: Credentials = { userid: 1000, rolemask: Role.Owner | Role.Local };
const GUEST: Credentials = { userid: 2000, rolemask: Role.User | Role.Local };

/** Routers of a tree in one process: rank 0 at the root, every other a child of the rank given. */
class Tree {
  readonly routers: Router[] = [];
  /** The leader's services are not there yet. */
  isStarting = false;
  readonly #links = new Map<string, { parent: Peer; child: Peer }>();

  constructor(parents: readonly number[]) {
    const size = parents.length + 1;
    const parentOf = (rank: number): number => (rank === 0 ? -1 : parents[rank - 1]!);
    const subtree = (root: number, rank: number): boolean =>
      rank === root || (rank > 0 && subtree(root, parentOf(rank)));
    for (let rank = 0; rank < size; rank++) {
      let uuid = 0;
      const children = (): number[] => parents.flatMap((parent, index) => (parent === rank ? [index + 1] : []));
      const link = (child: number): Peer | null => this.#links.get(`${rank}-${child}`)?.child ?? null;
      const up = (): Peer | null => this.#links.get(`${parentOf(rank)}-${rank}`)?.parent ?? null;
      const isStarting = (): boolean => this.isStarting && rank === 0;
      const routes = {
        get isStarting() {
          return isStarting();
        },
        get parent() {
          return up();
        },
        get children() {
          return children().flatMap((child) => link(child) ?? []);
        },
        nextHop: (target: number) => {
          const below = children().find((child) => subtree(child, target));
          return below === undefined ? up() : link(below);
        },
      };
      this.routers.push(
        new Router({ rank, size, ownerUserid: 1000, routes, newUuid: () => `r${rank}-${uuid++}`, defer: setImmediate }),
      );
    }
    parents.forEach((parent, index) => this.#connect(parent, index + 1));
  }

  #connect(parentRank: number, childRank: number): void {
    const parentRouter = this.routers[parentRank]!;
    const childRouter = this.routers[childRank]!;
    // Each peer object is how one side sees the other; what is sent arrives in a later turn, as over a socket.
    const parent: Peer = {
      uuid: `broker-${parentRank}`,
      send: (message) => setImmediate(() => parentRouter.receiveFrom(child, message)),
    };
    const child: Peer = {
      uuid: `broker-${childRank}`,
      send: (message) => setImmediate(() => childRouter.receiveFrom(parent, message)),
    };
    this.#links.set(`${parentRank}-${childRank}`, { parent, child });
    parentRouter.addPeer(child);
    childRouter.addPeer(parent);
  }

  breakLink(parentRank: number, childRank: number): void {
    const link = this.#links.get(`${parentRank}-${childRank}`)!;
    this.#links.delete(`${parentRank}-${childRank}`);
    this.routers[parentRank]!.removePeer(link.child);
    this.routers[childRank]!.removePeer(link.parent);
  }

  client(rank: number, credentials: Credentials = OWNER): Handle {
    return new Handle(this.routers[rank]!.attach(credentials));
  }

  serve(rank: number, name: string, methods: Methods): Port {
    const router = this.routers[rank]!;
    const port = router.attach(OWNER);
    const server = new Server(new Handle(port), {
      rank,
      fatal: (error) => {
        throw error;
      },
    });
    server.add(name, methods);
    router.addService(port, name);
    return port;
  }
}

const whoami = (rank: number): Methods => ({ rank: { roles: ANY_USER, handler: () => ({ rank }) } });

function rejectsWith(errno: Parameters<typeof isFluxError>[1], text?: RegExp): (error: unknown) => boolean {
  return (error) => isFluxError(error, errno) && (text === undefined || text.test(error.message));
}

test("a request to ANY finds the nearest broker upstream that has the service", async () => {
  const tree = new Tree([0, 1]);
  tree.serve(0, "who", whoami(0));
  assert.deepEqual(await tree.client(2).rpc("who.rank"), { rank: 0 });
  tree.serve(1, "who", whoami(1));
  assert.deepEqual(await tree.client(2).rpc("who.rank"), { rank: 1 });
  assert.deepEqual(await tree.client(0).rpc("who.rank"), { rank: 0 });
});

test("a request to a rank is served there, up and down the tree, or refused there", async () => {
  const tree = new Tree([0, 0, 1, 2]);
  for (let rank = 0; rank < 5; rank++) tree.serve(rank, "who", whoami(rank));
  for (let from = 0; from < 5; from++)
    for (let rank = 0; rank < 5; rank++)
      assert.deepEqual(await tree.client(from).rpc("who.rank", {}, { nodeid: rank }), { rank });
  await assert.rejects(
    tree.client(3).rpc("none.x", {}, { nodeid: 4 }),
    rejectsWith("ENOSYS", /No service matching none\.x/),
  );
  await assert.rejects(tree.client(3).rpc("who.rank", {}, { nodeid: 99 }), rejectsWith("EHOSTUNREACH"));
});

test("UPSTREAM skips the broker of the sender", async () => {
  const tree = new Tree([0]);
  tree.serve(0, "who", whoami(0));
  tree.serve(1, "who", whoami(1));
  assert.deepEqual(await tree.client(1).rpc("who.rank", {}, { upstream: true, nodeid: 1 }), { rank: 0 });
  await assert.rejects(tree.client(0).rpc("who.rank", {}, { upstream: true, nodeid: 0 }), rejectsWith("EHOSTUNREACH"));
});

test("of a request under way its address is kept, not what it says", () => {
  const outstanding: Outstanding = new Map();
  const payload = Payload.raw(new Uint8Array(1000));
  const common = {
    type: MessageType.Request,
    topic: "content.store",
    flags: 0,
    userid: 1,
    rolemask: Role.Owner,
  } as const;
  remember(outstanding, { ...common, payload, route: ["hop", "sender"], nodeid: 0, matchtag: 7 });
  const kept = outstanding.get("sender")!.get(7)!;
  assert.equal(kept.payload, null);
  assert.deepEqual(kept.route, ["hop", "sender"]);
});

test("when a peer on the way is lost, what was under way fails with EHOSTUNREACH, once", async () => {
  const tree = new Tree([0, 1]);
  const held: IncomingRequest[] = [];
  tree.serve(2, "slow", {
    wait: (request) => void held.push(request),
    stream: { streaming: true, handler: (request) => void held.push(request) },
  });
  const client = tree.client(0);
  const call = client.rpc("slow.wait", {}, { nodeid: 2 });
  const items: number[] = [];
  const stream = (async () => {
    for await (const { item } of client.stream<{ item: number }>("slow.stream", {}, { nodeid: 2 })) items.push(item);
  })();
  while (held.length < 2) await new Promise(setImmediate);
  held[1]!.respond({ item: 1 });
  while (items.length < 1) await new Promise(setImmediate);
  tree.breakLink(1, 2);
  // Rank 1 answers for the lost rank; the failure of the rank itself must not come a second time.
  await assert.rejects(call, rejectsWith("EHOSTUNREACH"));
  await assert.rejects(stream, rejectsWith("EHOSTUNREACH"));
  await assert.rejects(client.rpc("slow.wait", {}, { nodeid: 2 }), rejectsWith("EHOSTUNREACH"));
});

test("events are numbered by the leader and reach every rank in order, also their publisher", async () => {
  const tree = new Tree([0, 0, 1]);
  const seen: string[][] = [];
  for (let rank = 0; rank < 4; rank++) {
    const events: string[] = [];
    seen.push(events);
    await tree.client(rank).subscribe("job.", (event) => events.push(`${event.sequence} ${event.topic}`));
  }
  tree.client(3).sendEvent("job.one");
  tree.client(3).sendEvent("other");
  tree.client(0).sendEvent("job.two");
  while (seen.some((events) => events.length < 2)) await new Promise(setImmediate);
  for (const events of seen) assert.deepEqual(events, seen[0]);
  assert.deepEqual(seen[0]!.map((line) => line.split(" ")[1]).toSorted(), ["job.one", "job.two"]);
});

test("a guest speaks for itself only, and may not call what is the owner's", async () => {
  const tree = new Tree([]);
  tree.serve(0, "svc", {
    mine: { handler: () => null },
    all: { roles: ANY_USER, handler: (request) => ({ userid: request.userid, rolemask: request.rolemask }) },
  });
  const guest = tree.client(0, GUEST);
  await assert.rejects(guest.rpc("svc.mine"), rejectsWith("EPERM", /owner credentials/));
  assert.deepEqual(await guest.rpc("svc.all", {}, { userid: 1000, rolemask: Role.Owner }), {
    userid: 2000,
    rolemask: GUEST.rolemask,
  });
  assert.deepEqual(await tree.client(0).rpc("svc.all", {}, { userid: 7, rolemask: Role.User }), {
    userid: 7,
    rolemask: Role.User,
  });
});

test("a private event reaches its sender and the owner, no other guest", async () => {
  const tree = new Tree([]);
  const seen: string[] = [];
  for (const [name, credentials] of [
    ["owner", OWNER],
    ["sender", GUEST],
    ["other", { ...GUEST, userid: 3000 }],
  ] as const)
    await tree.client(0, credentials).subscribe("x", () => seen.push(name));
  tree.client(0, GUEST).sendEvent("x", {}, { isPrivate: true });
  await new Promise(setImmediate);
  assert.deepEqual(seen.toSorted(), ["owner", "sender"]);
});

test("a service name belongs to one port; guests may offer names of their own only", async () => {
  const tree = new Tree([]);
  await tree.client(0).rpc("service.add", { service: "mine" });
  await assert.rejects(tree.client(0).rpc("service.add", { service: "mine" }), rejectsWith("EEXIST"));
  await assert.rejects(tree.client(0).rpc("service.remove", { service: "mine" }), rejectsWith("ENOENT"));
  await assert.rejects(tree.client(0, GUEST).rpc("service.add", { service: "job" }), rejectsWith("EPERM"));
  await tree.client(0, GUEST).rpc("service.add", { service: "2000-job" });
});

test("when a client goes, every service it called is told, and its streams are found by that", async () => {
  const tree = new Tree([0]);
  const open = new RequestSet<null>();
  const told: string[] = [];
  tree.serve(0, "watch", {
    it: { streaming: true, handler: (request) => void open.add(request, null) },
    disconnect: (request) => {
      told.push(request.sender);
      for (const [gone] of open.takeDisconnected(request)) told.push(gone.topic);
      return undefined;
    },
  });
  const client = tree.client(1);
  const stream = client.stream("watch.it");
  const ended = stream.next();
  while (open.size === 0) await new Promise(setImmediate);
  client.close();
  await assert.rejects(ended, rejectsWith("ECANCELED"));
  while (told.length < 2) await new Promise(setImmediate);
  assert.equal(told[1], "watch.it");
  assert.equal(open.size, 0);
});

test("when a broker is lost, the services that clients behind it called are told, each once", async () => {
  const tree = new Tree([0, 1, 2]);
  const gone: string[] = [];
  const open: IncomingRequest[] = [];
  const methods = (name: string): Methods => ({
    open: { streaming: true, handler: (request) => void open.push(request) },
    disconnect: ({ sender }) =>
      void gone.push(`${name} ${[...new Set(open.map((each) => each.sender))].indexOf(sender)}`),
  });
  tree.serve(0, "far", methods("far"));
  tree.serve(1, "near", methods("near"));
  const calls = async (client: Handle, count: number): Promise<void> => {
    for (const service of ["far", "near", "far"]) client.open(`${service}.open`, {}, { item: () => {}, end: () => {} });
    while (open.length < count) await new Promise((resolve) => setImmediate(resolve));
  };
  const left = tree.client(3);
  await calls(left, 3);
  left.close();
  while (gone.length < 2) await new Promise((resolve) => setImmediate(resolve));
  gone.length = 0;
  await calls(tree.client(3), 6);
  await calls(tree.client(1), 9);
  tree.breakLink(1, 2);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(gone.toSorted(), ["far 1", "near 1"], "not for those who said goodbye, or are still there");
});

test("a client that calls ever new services is remembered for the last ones only", async () => {
  const tree = new Tree([]);
  const client = tree.client(0);
  const told: string[] = [];
  for (const name of ["first", "last"]) tree.serve(0, name, { it: () => ({}), disconnect: () => void told.push(name) });
  await client.rpc("first.it");
  for (let job = 0; job < 2 * CALLED_MAX; job++)
    await assert.rejects(client.rpc(`job-${job}.it`), rejectsWith("ENOSYS"));
  await client.rpc("last.it");
  client.close();
  while (told.length === 0) await new Promise(setImmediate);
  assert.deepEqual(told, ["last"]);
});

test("a stream is cancelled by its sender and matchtag, and ends without an error", async () => {
  const tree = new Tree([]);
  const open = new RequestSet<null>();
  tree.serve(0, "watch", {
    it: { streaming: true, handler: (request) => void (open.add(request, null), request.respond({ n: 1 })) },
    cancel: (request) => {
      open.takeCanceled(request)?.[0].end();
      return undefined;
    },
  });
  const client = tree.client(0);
  const stream = client.stream<{ n: number }>("watch.it", {}, { cancelTopic: "watch.cancel" });
  assert.deepEqual(await stream.next(), { done: false, value: { n: 1 } });
  stream.cancel();
  assert.equal((await stream.next()).done, true);
  assert.equal(open.size, 0);
});

test("a streaming method refuses a plain request with EPROTO", async () => {
  const tree = new Tree([]);
  tree.serve(0, "svc", { s: { streaming: true, handler: () => undefined } });
  await assert.rejects(tree.client(0).rpc("svc.s"), rejectsWith("EPROTO"));
});

test("an aborted call fails with ECANCELED; its late answer is not taken for another's", async () => {
  const tree = new Tree([]);
  const held: IncomingRequest[] = [];
  tree.serve(0, "svc", { hold: (request) => void held.push(request), now: () => ({ ok: true }) });
  const client = tree.client(0);
  const abort = new AbortController();
  const call = client.rpc("svc.hold", {}, { signal: abort.signal });
  while (held.length === 0) await new Promise(setImmediate);
  abort.abort();
  await assert.rejects(call, rejectsWith("ECANCELED"));
  const next = client.rpc("svc.now");
  held[0]!.respond({ late: true });
  assert.deepEqual(await next, { ok: true });
});

test("a handler's FluxError becomes the error response, with its sentence", async () => {
  const tree = new Tree([]);
  tree.serve(0, "svc", {
    sync: () => {
      throw new FluxError("EINVAL", "that is wrong");
    },
    async: () => Promise.reject(new FluxError("ENOENT")),
  });
  await assert.rejects(tree.client(0).rpc("svc.sync"), rejectsWith("EINVAL", /^that is wrong$/));
  await assert.rejects(tree.client(0).rpc("svc.async"), rejectsWith("ENOENT", /^No such file or directory$/));
});

test("messages sent while another is handled are delivered after it, in order", async () => {
  const tree = new Tree([]);
  const order: string[] = [];
  const inner = tree.client(0);
  tree.serve(0, "b", { x: () => (order.push("b"), null) });
  tree.serve(0, "a", {
    x: () => {
      void inner.rpc("b.x");
      order.push("a");
      return null;
    },
  });
  const client = tree.client(0);
  await Promise.all([client.rpc("a.x"), client.rpc("a.x")]);
  await new Promise(setImmediate);
  assert.deepEqual(order, ["a", "a", "b", "b"]);
});

test("a foreign message of an unknown kind moves nothing", () => {
  const tree = new Tree([]);
  const control: Message = {
    type: MessageType.Control,
    topic: "",
    payload: null,
    flags: 0,
    userid: 0,
    rolemask: 0,
    route: [],
    controlType: 0,
    status: 0,
  };
  tree.routers[0]!.attach(OWNER).send(control);
});

test("a name that ends with -* stands for all names that begin so, where no one has the name itself", async () => {
  const tree = new Tree([]);
  const family = tree.client(0);
  const own = tree.client(0);
  family.serveRequests((request) => request.respond({ by: "family" }));
  own.serveRequests((request) => request.respond({ by: "own" }));
  await family.rpc("service.add", { service: "7-shell-*" });
  await own.rpc("service.add", { service: "7-shell-b" });
  const client = tree.client(0);
  assert.deepEqual(await client.rpc("7-shell-a.stdin"), { by: "family" });
  assert.deepEqual(await client.rpc("7-shell-b.stdin"), { by: "own" });
  await assert.rejects(client.rpc("8-shell-a.stdin"), rejectsWith("ENOSYS"));
  await family.rpc("service.remove", { service: "7-shell-*" });
  await assert.rejects(client.rpc("7-shell-a.stdin"), rejectsWith("ENOSYS"));
});

test("a leader that comes back lets those that rejoin wait for its services; its own clients hear at once that there is none", async () => {
  const tree = new Tree([0]);
  tree.isStarting = true;
  const [leader] = tree.routers;
  const above = tree.client(1).rpc("store.put", {});
  const direct = tree.client(1).rpc("store.put", {}, { nodeid: 0 });
  await assert.rejects(tree.client(0).rpc("store.put", {}), (error) => isFluxError(error, "ENOSYS"));
  let settled = 0;
  for (const call of [above, direct]) void call.finally(() => void settled++);
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  assert.equal(settled, 0);
  tree.serve(0, "store", { put: { roles: ANY_USER, handler: () => ({ done: true }) } });
  tree.isStarting = false;
  leader!.release();
  assert.deepEqual(await Promise.all([above, direct]), [{ done: true }, { done: true }]);
});
