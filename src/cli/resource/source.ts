/**
 * Where `flux resource list`, `info` and `R` have their view from: the instance, or for tests of what they print a document
 * on standard input (`--from-stdin`), with the configuration in a file.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import type { CommandContext, OptionSpec } from "../framework/command.ts";
import { readConfigs } from "../output/named-formats.ts";
import { Queues } from "./queues.ts";
import { parseView, schedulerView, type SchedulerView } from "./view.ts";

export const FROM_STDIN: OptionSpec = {
  names: ["from-stdin"],
  hidden: true,
  help: "Read the view from standard input",
};
export const CONFIG_FILE: OptionSpec = {
  names: ["config-file"],
  argument: "FILE",
  hidden: true,
  help: "Read the configuration from a file of JSON",
};

export interface ResourceSource {
  readonly view: SchedulerView;
  readonly queues: Queues;
}

/** Throws FluxError where a document is none. */
export async function resourceSource(context: CommandContext): Promise<ResourceSource> {
  const { options, host } = context;
  const path = options.text("config-file");
  const given =
    path === null ? null : objectOf(utf8Decode((await context.ports()).disk.readFile(absolute(context, path))));
  if (options.has("from-stdin"))
    return { view: parseView(objectOf(utf8Decode(await context.readInput()))), queues: new Queues(given ?? {}) };
  const handle = await context.open();
  const [view, config] = await Promise.all([
    schedulerView(handle, host.env["FLUX_RESOURCE_LIST_RPC"]),
    given ?? handle.rpc("config.get"),
  ]);
  return { view, queues: new Queues(config) };
}

function absolute({ host }: CommandContext, path: string): string {
  return path.startsWith("/") ? path : `${host.cwd}/${path}`;
}

/** Names of queues that a user does not want to see unless asked for (`list.hidden-queues`). Throws FluxError EINVAL. */
export async function hiddenQueues(context: CommandContext): Promise<readonly string[]> {
  let hidden: readonly string[] = [];
  for (const { path, config } of await readConfigs("flux-resource", context.host.env)) {
    const names = isJsonObject(config["list"]) ? config["list"]["hidden-queues"] : undefined;
    if (names === undefined) continue;
    if (!Array.isArray(names) || !names.every((name) => typeof name === "string"))
      throw new FluxError("EINVAL", `${path}: list.hidden-queues must be a list of strings`);
    hidden = names as string[];
  }
  return hidden;
}

function objectOf(text: string): JsonObject {
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new FluxError("EINVAL", "an object is expected");
  return value;
}
