/** `flux uptime`: how long the instance has been up, and what is notable about it (flux-uptime(1)). */
import { userInfo } from "node:os";
import { isFluxError } from "../../base/errors.ts";
import { formatDuration } from "../../formats/duration.ts";
import { Idset } from "../../formats/idset.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command } from "../framework/command.ts";

/** What a service says, or null where it is not loaded. */
async function tryRpc<T>(handle: Handle, topic: string, payload?: object, nodeid?: number): Promise<T | null> {
  try {
    return await handle.rpc<T>(topic, payload, nodeid === undefined ? {} : { nodeid });
  } catch (error) {
    if (isFluxError(error)) return null;
    throw error;
  }
}

function idCount(text: string | undefined): number {
  return text === undefined || text === "" ? 0 : (Idset.tryParse(text)?.count ?? 0);
}

interface ResourceStatus {
  readonly drain?: Readonly<Record<string, unknown>>;
}
interface QueueStatus {
  readonly enable: boolean;
  readonly start: boolean;
}

async function notices(handle: Handle): Promise<string[]> {
  const list = await tryRpc<{ queues: string[] }>(handle, "job-manager.queue-list");
  if (list === null) return [];
  const names = list.queues.length === 0 ? [undefined] : list.queues;
  const states = await Promise.all(
    names.map((name) => tryRpc<QueueStatus>(handle, "job-manager.queue-status", name === undefined ? {} : { name })),
  );
  const known = states.filter((state) => state !== null);
  if (known.length === 0) return [];
  const found: string[] = [];
  if (known.every((state) => !state.enable)) found.push("submit disabled");
  if (known.every((state) => !state.start)) found.push("scheduler stopped");
  return found;
}

export const command: Command = defineCommand({
  name: "uptime",
  dialect: "getopt",
  usageProgram: "flux uptime",
  summary: "Tell how long Flux has been up and running",
  description: "Show how long this Flux instance has been running",
  usage: "[OPTIONS]...",
  run: async (context) => {
    const handle = await context.open();
    const { clock } = await context.ports();
    const attribute = (name: string): Promise<string> => getAttribute(handle, name);
    const [state, owner, level, size, starttime] = await Promise.all([
      handle.rpc<{ state: string; duration: number }>("state-machine.get"),
      attribute("security.owner"),
      attribute("instance-level"),
      attribute("size"),
      attribute("broker.starttime"),
    ]);
    const online = await tryRpc<{ members: string }>(handle, "groups.get", { name: "broker.online" }, 0);
    const resources = await tryRpc<ResourceStatus>(handle, "resource.status", {}, 0);
    const now = clock.now();
    const date = new Date(now * 1000);
    const time = [date.getHours(), date.getMinutes(), date.getSeconds()]
      .map((value) => String(value).padStart(2, "0"))
      .join(":");
    const seconds = state.state === "run" ? now - Number(starttime) : state.duration;
    const user = userInfo();
    const parts = [
      `${state.state} ${formatDuration(seconds, 2)}`,
      `owner ${Number(owner) === user.uid ? user.username : owner}`,
      `depth ${level}`,
      `size ${size}`,
    ];
    const drained = Object.keys(resources?.drain ?? {}).reduce((sum, ids) => sum + idCount(ids), 0);
    const offline = online === null ? 0 : Number(size) - idCount(online.members);
    if (drained > 0) parts.push(`${drained} drained`);
    if (offline > 0) parts.push(`${offline} offline`);
    context.out(` ${time} ${parts.join(",  ")}\n`);
    const remarks = await notices(handle);
    if (remarks.length > 0) context.out(`  ${remarks.join(",  ")}\n`);
  },
});
