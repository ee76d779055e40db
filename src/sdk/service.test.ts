/** Serving: who may call, how answers and errors get out, what every service has; and the set of open requests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Errno, FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import {
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Payload,
  Role,
  type Message,
  type RequestMessage,
  type ResponseMessage,
} from "../protocol/message.ts";
import { Handle } from "./handle.ts";
import { RequestSet } from "./request-set.ts";
import type { IncomingRequest } from "./request.ts";
import { ANY_USER, Server, type Methods } from "./service.ts";

/** A served Handle: requests go in, answers come out. */
class Bench {
  readonly answers: ResponseMessage[] = [];
  readonly fatal: unknown[] = [];
  readonly server: Server;
  #receive: (message: Message) => void = () => {};

  constructor(methods: Methods = {}) {
    const handle = new Handle({
      start: (receive) => void (this.#receive = receive),
      send: (message) => void (message.type === MessageType.Response && this.answers.push(message)),
      close: () => {},
    });
    this.server = new Server(handle, { rank: 3, fatal: (error) => this.fatal.push(error) });
    this.server.add("svc", methods);
  }

  /** Delivers a request and returns what has been answered by then, as [errnum, payload]. */
  request(
    topic: string,
    options: Partial<RequestMessage> & { json?: object } = {},
  ): [number, JsonObject | string | null][] {
    const { json, ...fields } = options;
    this.#receive({
      type: MessageType.Request,
      topic,
      payload: json === undefined ? null : Payload.json(json),
      flags: 0,
      userid: 1000,
      rolemask: Role.Owner,
      route: ["client"],
      nodeid: NODEID_ANY,
      matchtag: 1,
      ...fields,
    });
    return this.take();
  }

  take(): [number, JsonObject | string | null][] {
    return this.answers.splice(0).map(({ errnum, payload }) => {
      if (errnum !== 0) return [errnum, payload?.text ?? null];
      return [0, payload === null ? null : payload.value];
    });
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what a handler returns is the answer: an object, nothing, or later", async () => {
  const held: IncomingRequest[] = [];
  const bench = new Bench({
    object: () => ({ a: 1 }),
    empty: () => null,
    later: (request) => void held.push(request),
    soon: () => Promise.resolve({ b: 2 }),
  });
  assert.deepEqual(bench.request("svc.object"), [[0, { a: 1 }]]);
  assert.deepEqual(bench.request("svc.empty"), [[0, null]]);
  assert.deepEqual(bench.request("svc.later"), []);
  held[0]!.respond({ c: 3 });
  assert.deepEqual(bench.take(), [[0, { c: 3 }]]);
  assert.deepEqual(bench.request("svc.soon"), []);
  await turn();
  assert.deepEqual(bench.take(), [[0, { b: 2 }]]);
});

test("a second final answer is a broken invariant", () => {
  const held: IncomingRequest[] = [];
  const bench = new Bench({ later: (request) => void held.push(request) });
  bench.request("svc.later");
  held[0]!.respond();
  assert.throws(() => held[0]!.respond(), { name: "AssertionError", message: /second final response to svc.later/ });
});

test("a FluxError is answered; any other error is the broker's end", async () => {
  const bench = new Bench({
    refused: () => {
      throw new FluxError("EINVAL", "not so");
    },
    refusedLater: () => Promise.reject(new FluxError("ENOENT")),
    broken: () => {
      throw new TypeError("bug");
    },
    brokenLater: () => Promise.reject(new TypeError("bug")),
  });
  assert.deepEqual(bench.request("svc.refused"), [[Errno.EINVAL, "not so"]]);
  bench.request("svc.refusedLater");
  await turn();
  assert.deepEqual(bench.take(), [[Errno.ENOENT, null]]);
  assert.deepEqual(bench.request("svc.broken"), []);
  bench.request("svc.brokenLater");
  await turn();
  assert.deepEqual(bench.fatal.map(String), ["TypeError: bug", "TypeError: bug"]);
});

test("methods are the owner's, unless they say otherwise (RFC 12)", () => {
  const bench = new Bench({ mine: () => null, all: { roles: ANY_USER, handler: () => null } });
  const guest = { rolemask: Role.User };
  assert.deepEqual(bench.request("svc.mine", guest), [[Errno.EPERM, "Request requires owner credentials"]]);
  assert.deepEqual(bench.request("svc.all", guest), [[0, null]]);
  assert.deepEqual(bench.request("svc.all", { rolemask: Role.None })[0]?.[0], Errno.EPERM);
});

test("a streaming method ends with ENODATA, after the last item; plain requests are refused", () => {
  const bench = new Bench({
    one: { streaming: true, handler: () => ({ n: 1 }) },
    none: { streaming: true, handler: () => null },
  });
  const streaming = { flags: MessageFlag.Streaming };
  assert.deepEqual(bench.request("svc.one"), [[Errno.EPROTO, null]]);
  assert.deepEqual(bench.request("svc.one", streaming), [
    [0, { n: 1 }],
    [Errno.ENODATA, null],
  ]);
  assert.deepEqual(bench.request("svc.none", streaming), [[Errno.ENODATA, null]]);
});

test("a request that wants no answer gets none, right or wrong", () => {
  const bench = new Bench({ object: () => ({ a: 1 }) });
  for (const topic of ["svc.object", "svc.unknown", "other.x"])
    assert.deepEqual(bench.request(topic, { flags: MessageFlag.NoResponse }), [], topic);
});

test("methods are found by the longest service name; what is unknown is said", () => {
  const bench = new Bench({ "a.b": () => ({ is: "svc" }) });
  bench.server.add("svc.sub", { x: () => ({ is: "svc.sub" }) });
  assert.deepEqual(bench.request("svc.a.b"), [[0, { is: "svc" }]]);
  assert.deepEqual(bench.request("svc.sub.x"), [[0, { is: "svc.sub" }]]);
  assert.deepEqual(bench.request("svc.constructor"), [[Errno.ENOSYS, "Unknown service method 'svc.constructor'"]]);
  assert.deepEqual(bench.request("svc"), [[Errno.ENOSYS, "No service matching svc is registered"]]);
  bench.server.remove("svc.sub");
  assert.equal(bench.request("svc.sub.x")[0]?.[0], Errno.ENOSYS);
  assert.deepEqual(bench.request("gone.disconnect", { flags: MessageFlag.NoResponse }), []);
});

test("every service answers ping with what it was sent, its rank and the way", () => {
  const bench = new Bench();
  const route = ["0123456789abcdef", "fedcba98"];
  assert.deepEqual(bench.request("svc.ping", { json: { seq: 5, pad: "p" }, rolemask: Role.User, route }), [
    [0, { seq: 5, pad: "p", route: "fedcba98!01234567", userid: 1000, rolemask: Role.User, rank: 3 }],
  ]);
});

test("every service has debug flags; an operation that there is not is refused", () => {
  const bench = new Bench();
  const debug = (op: unknown, flags: unknown) => bench.request("svc.debug", { json: { op, flags } as object })[0];
  assert.deepEqual(debug("setbit", 5), [0, { flags: 5 }]);
  assert.deepEqual(debug("clrbit", 1), [0, { flags: 4 }]);
  assert.deepEqual(debug("set", 3), [0, { flags: 3 }]);
  assert.deepEqual(debug("clr", 0), [0, { flags: 0 }]);
  for (const op of ["constructor", "flip", 1]) assert.equal(debug(op, 1)?.[0], Errno.EPROTO, String(op));
  assert.equal(bench.server.debugFlags.get("svc"), 0);
});

test("open requests are found by sender and matchtag, or by sender alone, and fail together", () => {
  const open = new RequestSet<string>();
  const bench = new Bench({
    watch: { streaming: true, handler: (request) => open.add(request, request.sender) as undefined },
    cancel: (request) => {
      open.takeCanceled(request)?.[0].end();
      return undefined;
    },
    disconnect: (request) => {
      assert.deepEqual(
        open.takeDisconnected(request).map(([, state]) => state),
        ["b", "b"],
      );
      return undefined;
    },
  });
  const from = (sender: string, matchtag: number) => ({ route: [sender], matchtag, flags: MessageFlag.Streaming });
  const quiet = (sender: string) => ({ route: [sender], flags: MessageFlag.NoResponse });
  for (const [sender, matchtag] of [
    ["a", 1],
    ["a", 2],
    ["b", 1],
    ["b", 2],
    ["c", 1],
  ] as const)
    assert.deepEqual(bench.request("svc.watch", from(sender, matchtag)), []);
  assert.equal(open.size, 5);
  assert.deepEqual(bench.request("svc.cancel", { ...quiet("a"), json: { matchtag: 2 } }), [[Errno.ENODATA, null]]);
  assert.deepEqual(bench.request("svc.cancel", { ...quiet("a"), json: { matchtag: 2 } }), [], "once");
  assert.deepEqual(bench.request("svc.cancel", { ...quiet("d"), json: { matchtag: 1 } }), [], "not another's");
  assert.deepEqual(bench.request("svc.disconnect", quiet("b")), [], "who is gone is sent nothing");
  assert.deepEqual(
    [...open].map(([request, state]) => [state, request.matchtag, open.has(request)]),
    [
      ["a", 1, true],
      ["c", 1, true],
    ],
  );
  open.failAll(new FluxError("ENOSYS", "unloading"));
  assert.deepEqual(bench.take(), [
    [Errno.ENOSYS, "unloading"],
    [Errno.ENOSYS, "unloading"],
  ]);
  assert.equal(open.size, 0);
});

test("who is gone while its request is looked into is not waited for any more", async () => {
  const open = new RequestSet<null>();
  const gone: number[] = [];
  let look: () => void = () => {};
  const bench = new Bench({
    watch: {
      streaming: true,
      handler: async (request) => {
        await new Promise<void>((resolve) => (look = resolve));
        open.add(request, null);
        request.respond({ item: 1 });
        return undefined;
      },
    },
    disconnect: (request) => void gone.push(open.takeDisconnected(request).length),
  });
  bench.request("svc.watch", { flags: MessageFlag.Streaming });
  bench.request("svc.disconnect", { flags: MessageFlag.NoResponse, route: ["other"] });
  look();
  await turn();
  assert.equal(open.size, 1, "another one left");
  assert.deepEqual(bench.take(), [[0, { item: 1 }]]);
  bench.request("svc.watch", { flags: MessageFlag.Streaming, route: ["second"] });
  bench.request("svc.disconnect", { flags: MessageFlag.NoResponse, route: ["second"] });
  look();
  await turn();
  assert.equal(open.size, 1);
  assert.deepEqual(bench.take(), []);
  assert.deepEqual([gone, bench.fatal], [[0, 0], []]);
});
