/** What the subcommands of `flux queue` do. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import type { JsonObject } from "../../../base/json.ts";
import { tryParseFsd } from "../../../formats/duration.ts";
import type { Handle } from "../../../sdk/handle.ts";
import type { CommandContext } from "../../framework/command.ts";
import { listQueues } from "./list.ts";

type Action = (context: CommandContext) => Promise<number>;

interface QueueStatus {
  readonly enable: boolean;
  readonly start: boolean;
  readonly disable_reason?: string;
  readonly stop_reason?: string;
}

type ActionName = "list" | "status" | "enable" | "disable" | "start" | "stop" | "drain" | "idle";

export const actions: Readonly<Record<ActionName, Action>> = {
  list: listQueues,
  status,
  enable: (context) => change(context, "enable"),
  disable: (context) => change(context, "disable"),
  start: (context) => change(context, "start"),
  stop: (context) => change(context, "stop"),
  drain,
  idle,
};

function queueName(context: CommandContext): string | null {
  return context.operands[0] ?? context.options.text("queue");
}

async function status(context: CommandContext): Promise<number> {
  const name = queueName(context);
  const handle = await context.open();
  for (const queue of await selected(handle, name))
    context.out(statusText(queue, await statusOf(handle, queue, "status"), ["enable", "start"]));
  if (context.options.has("verbose")) await allocations(context, handle);
  return 0;
}

/** The queue that was named, or all of them; null is the one queue without a name. */
async function selected(handle: Handle, name: string | null): Promise<readonly (string | null)[]> {
  if (name !== null) return [name];
  const { queues } = await handle.rpc<{ queues: readonly string[] }>("job-manager.queue-list");
  return queues.length === 0 ? [null] : [...queues].sort();
}

function statusOf(handle: Handle, name: string | null, action: string): Promise<QueueStatus> {
  const request = name === null ? {} : { name };
  return asking(action, handle.rpc<QueueStatus>("job-manager.queue-status", request, { nodeid: 0 }));
}

/** Errors name what was being done. */
async function asking<T>(action: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `${action}: ${error.message}`, { cause: error });
  }
}

function statusText(name: string | null, status: QueueStatus, parts: readonly string[]): string {
  const prefix = name === null ? "" : `${name}: `;
  const reason = (text: string | undefined): string => (text === undefined || text === "" ? "" : `: ${text}`);
  let text = "";
  if (parts.includes("enable"))
    text += `${prefix}Job submission is ${status.enable ? "enabled" : `disabled${reason(status.disable_reason)}`}\n`;
  if (parts.includes("start"))
    text += `${prefix}Scheduling is ${status.start ? "started" : `stopped${reason(status.stop_reason)}`}\n`;
  return text;
}

async function allocations(context: CommandContext, handle: Handle): Promise<void> {
  const { queue_length, alloc_pending, running } = await handle.rpc("job-manager.alloc-query", {}, { nodeid: 0 });
  context.out(`${String(queue_length)} alloc requests queued\n`);
  context.out(`${String(alloc_pending)} alloc requests pending to scheduler\n`);
  context.out(`${String(running)} running jobs\n`);
}

async function change(context: CommandContext, action: "enable" | "disable" | "start" | "stop"): Promise<number> {
  const { options } = context;
  const name = queueName(context);
  const enabling = action === "enable" || action === "disable";
  const handle = await context.open();
  const { queues } = await handle.rpc<{ queues: readonly string[] }>("job-manager.queue-list");
  if (name === null && queues.length > 0 && !options.has("all"))
    throw new FluxError("EINVAL", "Named queues are configured: specify a queue, or --all for all of them");
  const reason = options.text("message") ?? (action === "disable" ? "disabled by administrator" : null);
  const request: JsonObject = {
    [enabling ? "enable" : "start"]: action === "enable" || action === "start",
    all: options.has("all") || name === null,
    ...(name !== null && { name }),
    ...(reason !== null && (action === "disable" || action === "stop") && { reason }),
    ...(options.has("nocheckpoint") && { nocheckpoint: true }),
  };
  const topic = enabling ? "job-manager.queue-enable" : "job-manager.queue-start";
  await asking(enabling ? "enable" : "start", handle.rpc(topic, request, { nodeid: 0 }));
  if (!options.has("quiet"))
    for (const queue of await selected(handle, name))
      context.out(statusText(queue, await statusOf(handle, queue, action), [enabling ? "enable" : "start"]));
  if (options.has("verbose") && !enabling) await allocations(context, handle);
  return 0;
}

async function drain(context: CommandContext): Promise<number> {
  const timeout = expiry(context, "drain");
  const handle = await context.open();
  await Promise.race([asking("drain", handle.rpc("job-manager.drain", {}, { nodeid: 0 })), timeout]);
  return 0;
}

async function idle(context: CommandContext): Promise<number> {
  const timeout = expiry(context, "idle");
  const handle = await context.open();
  const { pending } = await Promise.race([
    asking("idle", handle.rpc<{ pending: number }>("job-manager.idle", {}, { nodeid: 0 })),
    timeout,
  ]);
  if (!context.options.has("quiet") || pending > 0) context.out(`${pending} jobs\n`);
  return 0;
}

/** Rejects when the time of `--timeout` is over; never settles without one. */
function expiry(context: CommandContext, action: string): Promise<never> {
  const text = context.options.text("timeout");
  const seconds = text === null ? Infinity : tryParseFsd(text);
  if (seconds === null) throw new FluxError("EINVAL", "invalid Flux standard duration");
  return new Promise((_, reject) => {
    const expire = (): void => reject(new FluxError("ETIMEDOUT", `${action}: timeout`));
    if (Number.isFinite(seconds)) setTimeout(expire, seconds * 1000).unref();
  });
}
