/** `flux event`: publishes and shows events (flux-event(1)). */
import { utf8Encode } from "../../base/bytes.ts";
import { Payload, type EventMessage } from "../../protocol/message.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const pub: Command = {
  name: "pub",
  dialect: "getopt",
  summary: "Publish an event",
  usage: "[OPTIONS] topic [payload]",
  stopAtOperand: true,
  options: [
    { names: ["raw"], short: "r", help: "Interpret event payload as raw." },
    { names: ["synchronous"], short: "s", help: "Wait for event sequence assignment before exiting." },
    { names: ["loopback"], short: "l", help: "Wait for published event to be received before exiting." },
    { names: ["private"], short: "p", help: "Set privacy flag on published event." },
  ],
  operands: [
    { name: "topic", arity: "1" },
    { name: "payload", arity: "*" },
  ],
  run: publish,
};

async function publish(context: CommandContext): Promise<void> {
  const [topic, ...words] = context.operands;
  if (topic === undefined) return context.failUsage();
  const { options } = context;
  const payload = words.length === 0 ? null : payloadOf(words.join(" "), options.has("raw"));
  const handle = await context.open();
  const settings = { isPrivate: options.has("private") };
  const arrived = options.has("loopback") ? await arrival(handle, topic, payload) : null;
  if (options.has("synchronous")) context.out(`seq=${await handle.publish(topic, payload, settings)}\n`);
  else handle.sendEvent(topic, payload, settings);
  if (arrived !== null) await arrived.promise;
  // What was sent has been read when the broker answers the next request.
  else if (!options.has("synchronous")) await getAttribute(handle, "rank");
}

/** A text has a zero byte at its end, raw bytes have not. Whether it is JSON is between those who send and who hear it. */
function payloadOf(text: string, isRaw: boolean): Payload {
  return isRaw ? Payload.raw(utf8Encode(text)) : Payload.text(text);
}

/** Resolves once an event with this topic and payload has come. The promise is boxed: subscribing is awaited here. */
async function arrival(handle: Handle, topic: string, payload: Payload | null): Promise<{ promise: Promise<void> }> {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => (resolve = done));
  await handle.subscribe(topic, (event) => {
    if (event.topic === topic && String(event.payload) === String(payload)) resolve();
  });
  return { promise };
}

const sub: Command = {
  name: "sub",
  dialect: "getopt",
  summary: "Subscribe to events",
  usage: "[OPTIONS] [topic...]",
  options: [{ names: ["count"], short: "c", argument: "N", integer: true, help: "Process N events then exit." }],
  operands: [{ name: "topic", arity: "*" }],
  run: subscribe,
};

async function subscribe(context: CommandContext): Promise<void> {
  const limit = context.options.integer("count");
  const handle = await context.open();
  const topics = context.operands.length === 0 ? [""] : context.operands;
  let count = 0;
  let finish = (): void => {};
  const finished = new Promise<void>((resolve, reject) => {
    finish = resolve;
    handle.onClose(reject);
  });
  const seen = new Set<EventMessage>();
  const show = (event: EventMessage): void => {
    // Two subscriptions may fit one event; it is shown once.
    if (seen.has(event) || (limit !== null && count >= limit)) return;
    seen.clear();
    seen.add(event);
    context.out(`${event.topic}\t${event.payload === null ? "" : textOf(event.payload)}\n`);
    count++;
    if (count === limit) finish();
  };
  await Promise.all(topics.map((topic) => handle.subscribe(topic, show)));
  await finished;
}

function textOf(payload: Payload): string {
  return payload.text ?? new TextDecoder().decode(payload.bytes);
}

export const command: Command = defineCommand({
  name: "event",
  dialect: "getopt",
  summary: "send and receive Flux events",
  usageProgram: "flux-event",
  listsUsages: true,
  subcommands: [pub, sub],
});
