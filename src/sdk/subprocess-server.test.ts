import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { JsonObject } from "../base/json.ts";
import type { ChildProcess, ProcessEvents } from "../base/ports.ts";
import {
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Payload,
  Role,
  settleTransit,
  type ResponseMessage,
} from "../protocol/message.ts";
import { IncomingRequest } from "./request.ts";
import type { Method } from "./service.ts";
import { SubprocessServer } from "./subprocess-server.ts";

interface Answer {
  readonly errnum: number;
  readonly value: JsonObject;
}

/** A server whose programs are what the test says they do. */
class Fixture {
  readonly #programs: ProcessEvents[] = [];
  readonly log: string[] = [];
  /** What programs are told of their output, in order. */
  readonly flow: string[] = [];
  /** Answers that the client has not taken. */
  #untaken: ResponseMessage[] = [];
  readonly server: SubprocessServer = new SubprocessServer({
    rank: 3,
    exec: {
      spawn: (_options, events) => {
        this.#programs.push(events);
        return {
          pid: this.#programs.length,
          kill: () => true,
          closeInput: () => {},
          pauseOutput: (stream: string) => this.flow.push(`pause ${stream}`),
          resumeOutput: (stream: string) => this.flow.push(`resume ${stream}`),
        } as unknown as ChildProcess;
      },
      kill: () => true,
    },
    authorize: () => {},
    isDirectory: () => true,
    cwd: "/",
    environment: () => ({}),
    localUri: () => "local:///nowhere",
    log: (kind, name, text) => this.log.push(`${kind} ${name} ${text}`),
  });

  /** The answers so far; more may come. */
  call(method: string, payload: object, options: { streaming?: boolean; client?: string } = {}): Answer[] {
    const answers: Answer[] = [];
    const request = new IncomingRequest(
      {
        respond: (response) => {
          const { errnum, payload: sent } = response;
          answers.push({ errnum, value: errnum === 0 && sent ? (sent.value as JsonObject) : {} });
          this.#untaken.push(response);
        },
      },
      {
        type: MessageType.Request,
        topic: `rexec.${method}`,
        payload: Payload.json(payload),
        flags: options.streaming === true ? MessageFlag.Streaming : 0,
        userid: 0,
        rolemask: Role.Owner | Role.Local,
        route: [options.client ?? "client"],
        nodeid: NODEID_ANY,
        matchtag: 1,
      },
    );
    try {
      const answer = (this.server.methods()[method] as Method).handler(request);
      if (answer !== undefined) answers.push({ errnum: 0, value: (answer ?? {}) as JsonObject });
    } catch (error) {
      assert.ok(error instanceof FluxError);
      answers.push({ errnum: error.errnum, value: { message: error.message } });
    }
    return answers;
  }

  /** The client takes all that was sent to it. */
  async takeAll(): Promise<void> {
    for (const response of this.#untaken.splice(0)) settleTransit(response);
    await Promise.resolve();
  }

  /** Starts a program in the background. */
  start(cmd: object, flags = 0): ProcessEvents {
    const [answer] = this.call("exec", { cmd: { cmdline: ["/bin/tool"], ...cmd }, flags });
    assert.equal(answer!.errnum, 0);
    return this.#programs.at(-1)!;
  }
}

const WAITABLE = 16;
const STDOUT_AND_STDERR = 3;

test("who waits for the end of a process when the server ends hears so once", () => {
  const fixture = new Fixture();
  const program = fixture.start({}, WAITABLE);
  const waited = fixture.call("wait", { pid: 1 });
  fixture.server.close();
  program.exit(9);
  assert.deepEqual(
    waited.map(({ errnum }) => errnum),
    [38],
  );
  assert.equal(fixture.server.count, 0);
});

test("of what a process in the background prints the latest is kept for who waits, in order", () => {
  const fixture = new Fixture();
  const program = fixture.start({ label: "talker" }, WAITABLE);
  program.output("stdout", utf8Encode("x".repeat(60_000)));
  program.output("stderr", utf8Encode("y".repeat(10_000)));
  program.output("stdout", utf8Encode("end\n"));
  program.exit(0);
  const [{ value }] = fixture.call("wait", { label: "talker", pid: -1 }) as [Answer];
  const output = value["output"] as { stream: string; data: string; rank: string }[];
  assert.deepEqual(
    output.map(({ stream, data, rank }) => [stream, data.length, rank]),
    [
      ["stdout", 65_536 - 10_004, "3"],
      ["stderr", 10_000, "3"],
      ["stdout", 4, "3"],
    ],
  );
  assert.equal(fixture.call("wait", { label: "talker", pid: -1 })[0]!.errnum, 3);
});

test("nothing is kept of a process that nobody can wait for; it is in the log", () => {
  const fixture = new Fixture();
  const program = fixture.start({ label: "quiet" });
  program.output("stderr", utf8Encode("oops\n"));
  const attached = fixture.call("attach", { label: "quiet", flags: STDOUT_AND_STDERR }, { streaming: true });
  program.exit(0);
  assert.deepEqual(
    attached.map(({ value }) => value["type"]),
    ["attached", "finished", undefined],
  );
  assert.deepEqual(fixture.log, ["stderr quiet[1] oops\n", "end quiet: tool[1] Exit 0"]);
});

test("each attached client hears the end of each stream that it asked for, though it was over before", () => {
  const fixture = new Fixture();
  const program = fixture.start({ label: "half" }, WAITABLE);
  program.output("stderr", null);
  const ends = (answers: readonly Answer[]): unknown[] =>
    answers.flatMap(({ value }) => {
      const io = value["io"] as JsonObject | undefined;
      return io?.["eof"] === true ? [io["stream"]] : [];
    });
  const both = fixture.call("attach", { label: "half", flags: STDOUT_AND_STDERR }, { streaming: true, client: "one" });
  assert.deepEqual(ends(both), ["stderr"]);
  fixture.call("disconnect", {}, { client: "one" });
  program.output("stdout", null);
  const late = fixture.call("attach", { label: "half", flags: 1 }, { streaming: true, client: "two" });
  assert.deepEqual(ends(late), ["stdout"]);
  program.exit(256);
  assert.deepEqual(late.at(-2)!.value, { type: "finished", status: 256 });
});

test("what contradicts itself is refused, and names the reason", () => {
  const fixture = new Fixture();
  const refusal = (payload: object, streaming = false): unknown => {
    const [answer] = fixture.call("exec", payload, { streaming });
    return answer!.value["message"] ?? answer!.value["type"];
  };
  const cmd = { cmdline: ["tool"] };
  assert.equal(refusal({ cmd, flags: WAITABLE }, true), "waitable flag only supported in background mode");
  assert.equal(refusal({ cmd, flags: 8 }), "write-credit flag is not allowed in background mode");
  assert.equal(refusal({ cmd, flags: 0, local_flags: 1 }), "stdio-fallthrough flag is not allowed in background mode");
  assert.equal(refusal({ cmd: { cmdline: [] }, flags: 0 }), "command string is empty");
  assert.equal(refusal({ cmd: { cmdline: [""] }, flags: 0 }), "error launching process: No such file or directory");
  assert.equal(refusal({ cmd: { cmdline: [7] }, flags: 0 }), "error parsing command string");
  assert.equal(refusal({ cmd: { ...cmd, label: "one" }, flags: 0 }), "started");
  assert.equal(refusal({ cmd: { ...cmd, label: "one" }, flags: 0 }), "command label is not unique");
});

test("a program is not read from while much of its output is on its way to the client", async () => {
  const fixture = new Fixture();
  const program = fixture.start({});
  fixture.call("attach", { pid: 1, flags: STDOUT_AND_STDERR }, { streaming: true });
  for (let count = 0; count < 5; count++) program.output("stdout", utf8Encode("x".repeat(100_000)));
  assert.deepEqual(fixture.flow, ["pause stdout"]);
  await fixture.takeAll();
  assert.deepEqual(fixture.flow, ["pause stdout", "resume stdout"]);
  program.output("stderr", utf8Encode("y".repeat(300_000)));
  program.output("stderr", null);
  program.exit(0);
  await fixture.takeAll();
  assert.deepEqual(fixture.flow, ["pause stdout", "resume stdout", "pause stderr"]);
});

test("a program is not read from while its client, who acknowledges its output, is far behind", async () => {
  const fixture = new Fixture();
  const program = fixture.start({});
  fixture.call("attach", { pid: 1, flags: STDOUT_AND_STDERR }, { streaming: true });
  const print = async (): Promise<void> => {
    program.output("stdout", utf8Encode("x".repeat(200_000)));
    await fixture.takeAll();
  };
  // Who says nothing is sent whatever the brokers between take.
  for (let count = 0; count < 10; count++) await print();
  assert.deepEqual(fixture.flow, []);
  fixture.call("taken", { matchtag: 1, bytes: 2_000_000 });
  for (let count = 0; count < 6; count++) await print();
  assert.deepEqual(fixture.flow, ["pause stdout"]);
  fixture.call("taken", { matchtag: 1, bytes: 100_000 });
  assert.deepEqual(fixture.flow, ["pause stdout"]);
  fixture.call("taken", { matchtag: 1, bytes: 200_000 });
  assert.deepEqual(fixture.flow, ["pause stdout", "resume stdout"]);
  // Who is gone holds nothing back.
  await print();
  await print();
  assert.deepEqual(fixture.flow.slice(2), ["pause stdout"]);
  fixture.call("disconnect", {});
  assert.deepEqual(fixture.flow.slice(2), ["pause stdout", "resume stdout"]);
});
