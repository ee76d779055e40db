/** `flux ping`: the time that a request takes to a service and back (flux-ping(1)). */
import { errnoSentence, FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { getAttribute, instanceHosts } from "../../sdk/attributes.ts";
import type { Handle, RequestOptions } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

interface Target {
  readonly service: string;
  /** As it is shown: "any", "upstream", a rank. */
  readonly node: string;
  readonly options: RequestOptions;
  /** Of a host that was named. */
  readonly rank?: number;
}

const MULTIPLIERS: Readonly<Record<string, number>> = { "": 1, k: 1024, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

export const command: Command = defineCommand({
  name: "ping",
  dialect: "getopt",
  summary: "measure round-trip latency to Flux services",
  usage: "[OPTIONS] TARGET",
  options: [
    { names: ["rank"], short: "r", argument: "RANK", help: "Find target on a specific broker rank" },
    { names: ["pad"], short: "p", argument: "N", help: "Include in the payload a string of length N bytes" },
    {
      names: ["interval"],
      short: "i",
      argument: "N",
      help: "Specify the delay, in seconds, between successive requests",
    },
    { names: ["count"], short: "c", argument: "N", integer: true, help: "Specify the number of requests to send" },
    { names: ["batch"], short: "b", help: "Begin processing responses after all requests are sent" },
    { names: ["userid"], short: "u", help: "Include userid and rolemask in ping output" },
  ],
  operands: [{ name: "target", arity: "1" }],
  run: ping,
});

async function ping(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [word, ...rest] = operands;
  if (word === undefined || rest.length > 0) return context.failUsage();
  const interval = Number(options.text("interval") ?? "1");
  if (!(interval >= 0)) context.fail(`Invalid argument for option 'interval': '${options.text("interval")}'`);
  const count = options.integer("count") ?? Infinity;
  if (options.has("batch") && count === Infinity) context.fail("--batch should only be used with --count");
  const padding = "p".repeat(parsePad(context));
  const ports = await context.ports();
  const handle = await context.open();
  const target = await findTarget(context, handle, word);
  context.out(
    `flux-ping ${target.node}!${target.service}${target.rank === undefined ? "" : ` (rank ${target.rank})`}\n`,
  );
  const settle: (() => Promise<void>)[] = [];
  let failed = false;
  for (let seq = 0; seq < count; seq++) {
    if (failed) break;
    const one = pingOnce(context, handle, target, seq, padding, () => ports.clock.monotonicMs()).catch(
      (error: unknown) => {
        if (!(error instanceof FluxError)) throw error;
        if (!failed)
          context.complain(
            `${target.node === "any" ? "" : `${target.node}!`}${target.service}.ping: ${errnoSentence(error.errnum)}`,
          );
        failed = true;
      },
    );
    settle.push(() => one);
    if (seq + 1 === count) break;
    if (interval > 0) await new Promise<void>((resolve) => ports.clock.after(interval * 1000, resolve));
    else if (!options.has("batch")) await one;
  }
  for (const wait of settle) await wait();
  return failed ? 1 : 0;
}

async function pingOnce(
  context: CommandContext,
  handle: Handle,
  target: Target,
  seq: number,
  padding: string,
  nowMs: () => number,
): Promise<void> {
  const sentMs = nowMs();
  const request = { seq, pad: padding, "time.tv_sec": Math.floor(sentMs / 1000), "time.tv_nsec": 0 };
  const answer = await handle.rpc<JsonObject>(`${target.service}.ping`, request, target.options);
  const elapsed = (nowMs() - sentMs).toFixed(3);
  const { rank, route, userid, rolemask } = answer;
  const who = context.options.has("userid")
    ? ` userid=${String(userid)} rolemask=0x${Number(rolemask).toString(16)}`
    : "";
  context.out(
    `${String(rank)}!${target.service}.ping pad=${padding.length}${who} seq=${seq} time=${elapsed} ms (${String(route)})\n`,
  );
}

function parsePad(context: CommandContext): number {
  const text = context.options.text("pad");
  if (text === null) return 0;
  const match = /^([\d.]+)([kKMG]?)$/.exec(text);
  if (match === null) return context.fail(`invalid argument for option 'pad': ${text}: Invalid argument`);
  return Math.floor(Number(match[1]) * MULTIPLIERS[match[2]!]!);
}

/** `SERVICE`, `RANK` (its broker), `RANK!SERVICE`, `HOST!SERVICE`. */
async function findTarget(context: CommandContext, handle: Handle, word: string): Promise<Target> {
  const bang = word.indexOf("!");
  if (bang >= 0 && context.options.has("rank")) return context.fail("--rank and TARGET both try to specify a nodeid");
  let node = context.options.text("rank");
  let service = word;
  if (bang >= 0 && node === null) {
    node = word.slice(0, bang);
    service = word.slice(bang + 1);
  } else if (node === null && /^(\d+|any|upstream)$/.test(word)) {
    node = word;
    service = "broker";
  }
  if (bang < 0 && node === null && (await instanceHosts(handle)).find(word) >= 0) {
    node = word;
    service = "broker";
  }
  if (service === "") service = "broker";
  if (node === null || node === "any") return { service, node: "any", options: {} };
  if (node === "upstream") {
    return { service, node, options: { nodeid: Number(await getAttribute(handle, "rank")), upstream: true } };
  }
  if (/^\d+$/.test(node)) return { service, node, options: { nodeid: Number(node) } };
  const rank = (await instanceHosts(handle)).find(node);
  if (rank < 0) context.fail(`invalid nodeid/host: '${node}'`);
  return { service, node, options: { nodeid: rank }, rank };
}
