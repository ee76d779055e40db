/** Terminal sessions: what clients see, when a program waits for them, how sessions end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../base/json.ts";
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import {
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Payload,
  Role,
  type RequestMessage,
  type ResponseMessage,
  settleTransit,
} from "../../protocol/message.ts";
import { IncomingRequest } from "../../sdk/request.ts";
import { TerminalSession } from "./session.ts";

/** A session, its program, and what its clients have been told. */
class Stage {
  readonly session: TerminalSession;
  readonly typed: string[] = [];
  readonly sizes: string[] = [];
  readonly told = new Map<string, JsonObject[]>();
  /** Answers stay on the way. */
  isSlow = false;
  isHeld = false;
  signals: number[] = [];
  #underWay: ResponseMessage[] = [];

  constructor(options: { waitsForClient?: boolean; runsUnseen?: boolean } = {}) {
    const rest = { waitsForClient: false, runsUnseen: false, ...options };
    this.session = new TerminalSession({ id: 0, name: "sh", createdAt: 1, ...rest });
  }

  start(): this {
    this.session.bind({
      pid: 77,
      write: (chunk) => this.typed.push(utf8Decode(chunk)) > 0,
      drained: () => Promise.resolve(),
      resize: (rows, columns) => void this.sizes.push(`${rows}x${columns}`),
      kill: (signum) => void this.signals.push(signum),
      hold: (isHeld) => void (this.isHeld = isHeld),
    });
    return this;
  }

  print(text: string): void {
    this.session.output(utf8Encode(text));
  }

  send(sender: string, json: object, isStreaming = false): unknown {
    const message: RequestMessage = {
      type: MessageType.Request,
      topic: "1-terminus.0",
      payload: Payload.json(json),
      flags: isStreaming ? MessageFlag.Streaming : 0,
      userid: 1,
      rolemask: Role.Owner,
      route: [sender],
      nodeid: NODEID_ANY,
      matchtag: 1,
    };
    return this.session.receive(new IncomingRequest({ respond: (response) => this.#take(sender, response) }, message));
  }

  attach(sender: string, mode = "rw"): void {
    this.send(sender, { type: "attach", mode, winsize: { rows: 30, cols: 100 } }, true);
  }

  /** All data that a client got, and in brackets how it ended. */
  seen(sender: string): string {
    return (this.told.get(sender) ?? [])
      .map((item) =>
        item["type"] === "data" ? String(item["data"]) : item["type"] === "exit" ? `[${item["status"]}]` : "",
      )
      .join("");
  }

  /** What was under way has arrived. */
  async arrive(): Promise<void> {
    for (const response of this.#underWay.splice(0)) settleTransit(response);
    await Promise.resolve();
  }

  #take(sender: string, response: ResponseMessage): void {
    if (response.payload !== null) this.told.set(sender, [...(this.told.get(sender) ?? []), response.payload.value]);
    if (this.isSlow) this.#underWay.push(response);
    else settleTransit(response);
  }
}

test("every client that reads gets what is printed from its attachment on; what is typed is typed once", async () => {
  const stage = new Stage().start();
  stage.attach("a");
  stage.print("one ");
  stage.attach("b", "ro");
  stage.print("two");
  await stage.send("a", { type: "data", data: "ls\r" });
  assert.deepEqual([stage.seen("a"), stage.seen("b")], ["one two", "two"]);
  assert.deepEqual(stage.typed, ["ls\r"]);
  await assert.rejects(async () => stage.send("b", { type: "data", data: "x" }), /read-only/);
  assert.throws(() => stage.send("stranger", { type: "resize", winsize: {} }), /not attached/);
});

test("what is printed before anyone looks waits for the first client, and beyond a limit the program does, too", () => {
  const stage = new Stage().start();
  const line = "x".repeat(1000);
  for (let count = 0; count < 70; count++) stage.print(line);
  assert.equal(stage.isHeld, true);
  stage.attach("typist", "wo");
  assert.deepEqual([stage.seen("typist"), stage.isHeld], ["", true]);
  stage.attach("a");
  assert.equal(stage.seen("a"), line.repeat(70));
  assert.equal(stage.isHeld, false);
});

test("a program that was looked at goes on when nobody looks; who comes back gets the last of what it printed", () => {
  const stage = new Stage().start();
  stage.attach("a");
  stage.send("a", { type: "detach" });
  assert.equal(stage.seen("a"), "[0]");
  for (let count = 0; count < 1000; count++) stage.print(`${String(count).padStart(999)}\n`);
  assert.equal(stage.isHeld, false);
  stage.attach("b");
  const seen = stage.seen("b");
  assert.ok(seen.endsWith(" 999\n") && seen.length <= 65 * 1024, `${seen.length} characters`);
});

test("a client that reads slowly holds the program back, until it has read or is gone, or the program is to die", async () => {
  for (const release of ["read", "gone", "killed"]) {
    const stage = new Stage().start();
    stage.isSlow = true;
    stage.attach("a");
    for (let count = 0; count < 300; count++) stage.print("x".repeat(1024));
    assert.equal(stage.isHeld, true);
    if (release === "read") await stage.arrive();
    else if (release === "gone") stage.session.disconnect("a");
    else stage.session.kill(9);
    assert.equal(stage.isHeld, false, release);
  }
});

test("a program that ends tells its clients, and one that nobody has looked at can wait for the first", async () => {
  const stage = new Stage({ waitsForClient: true }).start();
  stage.print("bye");
  stage.session.exited(3 << 8);
  let isClosed = false;
  void stage.session.closed.then(() => (isClosed = true));
  await Promise.resolve();
  assert.deepEqual([isClosed, stage.session.describe()["exited"]], [false, 1]);
  stage.attach("a");
  assert.equal(await stage.session.closed, 3 << 8);
  assert.equal(stage.seen("a"), `bye[${3 << 8}]`);
});

test("who ends a session does not wait for anyone to look", async () => {
  const stage = new Stage({ waitsForClient: true }).start();
  stage.session.exited(0);
  stage.session.kill(9);
  assert.equal(await stage.session.closed, 0);
});

test("a window that clients cannot have leaves the terminal as it is; input before the program is kept", async () => {
  const stage = new Stage();
  stage.send("a", { type: "attach", mode: "rw" }, true);
  await stage.send("a", { type: "data", data: "early" });
  stage.start();
  stage.send("a", { type: "resize", winsize: { rows: 0, cols: 70000 } });
  stage.send("a", { type: "resize", winsize: { rows: 40, cols: 132 } });
  assert.deepEqual([stage.typed, stage.sizes], [["early"], ["40x132"]]);
  assert.throws(() => stage.send("a", { type: "attach" }), /streaming/);
  assert.throws(() => stage.send("a", { type: "dance" }), /unknown request 'dance'/);
});
