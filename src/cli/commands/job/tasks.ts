/** Where the tasks of a job are: taskmap, hostpids. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import type { Integer, JsonValue } from "../../../base/json.ts";
import { tryParseFsd } from "../../../formats/duration.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";
import { Hostlist } from "../../../formats/hostlist.ts";
import { Idset } from "../../../formats/idset.ts";
import { Taskmap } from "../../../formats/taskmap.ts";
import { JobState } from "../../../sdk/job-protocol.ts";
import { jobInfo } from "../../../sdk/jobs.ts";
import type { Handle } from "../../../sdk/handle.ts";
import type { CommandContext } from "../../framework/command.ts";
import { watchEventlog } from "../../jobs/client.ts";
import { expandTable } from "../../jobs/proctable.ts";
import { shellServiceOf } from "../../jobs/shell-service.ts";
import { requireJobId } from "./operands.ts";

const QUERIES = ["taskids", "ntasks", "nodeid", "hostname", "to"];

export async function taskmap(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [text] = operands;
  if (text === undefined || operands.length !== 1) context.failUsage();
  if (QUERIES.filter((name) => options.has(name)).length > 1)
    throw new FluxError("EINVAL", "Only one of --taskids, --ntasks, --nodeid, --hostname, or --to may be used");
  const id = tryParseFluid(text);
  const handle = id === null ? null : await context.open();
  const map = await mapOf(handle, id, text);
  context.out(`${await answer(context, handle, id, map)}\n`);
  return 0;
}

async function mapOf(handle: Handle | null, id: Integer | null, text: string): Promise<Taskmap> {
  if (id !== null && handle !== null) return Taskmap.fromJson(await startedMap(handle, id));
  if (!/^\s*[[{(\d]/.test(text)) throw noSuchMap();
  try {
    return Taskmap.parse(text);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError("EINVAL", `error parsing taskmap: ${error.message}`, { cause: error });
  }
}

function noSuchMap(): FluxError {
  return new FluxError("ENOENT", "Unable to get job taskmap: no such job");
}

/** The map that the shells of a job posted when they began. */
function startedMap(handle: Handle, id: Integer): Promise<JsonValue> {
  return new Promise((resolve, reject) => {
    const stream = watchEventlog(
      handle,
      id,
      "guest.exec.eventlog",
      {
        event: (event) => {
          const map = event.name === "shell.start" ? event.context?.["taskmap"] : undefined;
          if (map === undefined) return;
          stream.cancel();
          resolve(map);
        },
        end: (error) => reject(error === null ? new FluxError("ENOENT", "No taskmap found for job") : noSuchMap()),
      },
      { waitcreate: true },
    );
  });
}

async function answer(
  context: CommandContext,
  handle: Handle | null,
  id: Integer | null,
  map: Taskmap,
): Promise<string> {
  const { options } = context;
  const node = options.integer("taskids") ?? options.integer("ntasks");
  if (node !== null) {
    if (map.ntasksOf(node) === 0) {
      const what = options.has("taskids") ? "No taskids" : "failed to get task count";
      throw new FluxError("ENOENT", `${what} for node ${node}: No such file or directory`);
    }
    return options.has("taskids") ? map.taskIds(node).toString() : String(map.ntasksOf(node));
  }
  const task = options.integer("nodeid") ?? options.integer("hostname");
  if (task !== null) {
    const nodeid = map.nodeOf(task);
    if (nodeid === undefined)
      throw new FluxError("ENOENT", `failed to get nodeid for task ${task}: No such file or directory`);
    return options.has("nodeid") ? String(nodeid) : ((await hostsOf(handle, id, "--hostname"))[nodeid] ?? "");
  }
  return converted(options.text("to"), map, () => hostsOf(handle, id, "--to=hosts"));
}

async function converted(form: string | null, map: Taskmap, hosts: () => Promise<readonly string[]>): Promise<string> {
  switch (form) {
    case null:
      return map.toString();
    case "raw":
      return map.toRaw();
    case "pmi":
      return map.toPmi();
    case "multiline":
      return tasksByNode(map)
        .flatMap((ids, nodeid) => [...ids].map((task) => [task, nodeid] as const))
        .sort(([left], [right]) => left - right)
        .map(([task, nodeid]) => `${task}: ${nodeid}`)
        .join("\n");
    case "hosts": {
      const names = await hosts();
      return tasksByNode(map)
        .map((ids, nodeid) => `${names[nodeid] ?? nodeid}: ${ids.toString()}`)
        .join("\n");
    }
    default:
      throw new FluxError("EINVAL", `invalid value --to=${form}`);
  }
}

function tasksByNode(map: Taskmap): Idset[] {
  const nodes: Idset[] = [];
  while (map.ntasksOf(nodes.length) > 0) nodes.push(map.taskIds(nodes.length));
  return nodes;
}

/** `option` asks for names, which are known of a job only. */
async function hostsOf(handle: Handle | null, id: Integer | null, option: string): Promise<readonly string[]> {
  if (handle === null || id === null) throw new FluxError("EINVAL", `taskmap: can't use ${option} without a jobid`);
  const job = await jobInfo(handle, id, { attrs: ["nodelist"] });
  return [...Hostlist.parse(String(job["nodelist"] ?? ""))];
}

export async function hostpids(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [text] = operands;
  if (text === undefined || operands.length !== 1) context.failUsage();
  const id = requireJobId(text);
  const limit = options.text("timeout");
  const seconds = limit === null ? Infinity : tryParseFsd(limit);
  if (seconds === null) throw new FluxError("EINVAL", `invalid value for timeout: ${limit}`);
  const ranks = options.text("ranks");
  const wanted = ranks === null || ranks === "all" ? null : Idset.parse(ranks);
  const handle = await context.open();
  const rows = await Promise.race([proctable(handle, id, text), expire(seconds)]);
  const pairs = rows.filter(({ rank }) => wanted === null || wanted.has(rank)).map(({ host, pid }) => `${host}:${pid}`);
  // A shell passes "\n" on as two characters.
  const delimiter = (options.text("delimiter") ?? ",").replaceAll("\\n", "\n").replaceAll("\\t", "\t");
  context.out(`${pairs.join(delimiter)}\n`);
  return 0;
}

function expire(seconds: number): Promise<never> {
  return new Promise((_, reject) => {
    if (!Number.isFinite(seconds)) return;
    setTimeout(
      () => reject(new FluxError("ETIMEDOUT", "hostpids: timeout waiting for shell.start event")),
      seconds * 1000,
    ).unref();
  });
}

async function proctable(
  handle: Handle,
  id: Integer,
  text: string,
): Promise<{ host: string; pid: number; rank: number }[]> {
  // Waits for the job to run, as long as it is active.
  const job = await jobInfo(handle, id, { attrs: ["state"], state: JobState.Run }).catch((error: unknown) => {
    if (isFluxError(error, "ENOENT")) throw new FluxError("ENOENT", `${text}: No such job`, { cause: error });
    throw error;
  });
  if (job["state"] === JobState.Inactive) throw new FluxError("EINVAL", `hostpids: job ${text} is inactive`);
  const ended = "hostpids: the job ended before its tasks ran";
  const { service, leader } = await shellServiceOf(handle, id, "shell.start", ended);
  const table = await handle.rpc(`${service}.proctable`, {}, { nodeid: leader });
  return expandTable(table).sort((left, right) => left.rank - right.rank);
}
