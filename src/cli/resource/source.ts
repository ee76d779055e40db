/**
 * Where `flux resource list`, `info`, `R` and `status` have their view from: the instance, or for tests of what they print
 * a document on standard input (`--from-stdin`), with the configuration in a file.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, type JsonObject } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import type { CommandContext, OptionSpec } from "../framework/command.ts";
import { readConfigs } from "../output/named-formats.ts";
import { Queues } from "./queues.ts";
import { parseSystemView, systemView, type SystemView } from "./status.ts";
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

const NO_STATUS: JsonObject = {
  R: ResourceSet.EMPTY.toJSON(),
  drain: {},
  online: "",
  offline: "",
  exclude: "",
};

export interface ResourceSource {
  readonly view: SchedulerView;
  readonly queues: Queues;
}

/** Throws FluxError where a document is none. */
export async function resourceSource(context: CommandContext): Promise<ResourceSource> {
  const { options, host } = context;
  const given = await givenConfig(context);
  if (options.has("from-stdin"))
    return { view: parseView(objectOf(utf8Decode(await context.readInput()))), queues: new Queues(given ?? {}) };
  const handle = await context.open();
  const [view, config] = await Promise.all([
    schedulerView(handle, host.env["FLUX_RESOURCE_LIST_RPC"]),
    given ?? handle.rpc("config.get"),
  ]);
  return { view, queues: new Queues(config) };
}

/** The same for the system's view: on standard input is an answer of `resource.status`, of nodes without jobs. */
export async function systemSource(context: CommandContext): Promise<{ view: SystemView; queues: Queues }> {
  const given = await givenConfig(context);
  if (context.options.has("from-stdin")) {
    const document = utf8Decode(await context.readInput());
    // Nothing at all is an instance without resources.
    const status = document.trim() === "" ? NO_STATUS : objectOf(document);
    return { view: parseSystemView(status, new Idset(), new Idset()), queues: new Queues(given ?? {}) };
  }
  const handle = await context.open();
  const [view, config] = await Promise.all([systemView(handle), given ?? handle.rpc("config.get")]);
  return { view, queues: new Queues(config) };
}

/** The configuration in `--config-file`; null where that is not given. */
async function givenConfig(context: CommandContext): Promise<JsonObject | null> {
  const path = context.options.text("config-file");
  if (path === null) return null;
  return objectOf(utf8Decode((await context.ports()).disk.readFile(absolute(context, path))));
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
