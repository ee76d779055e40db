/** `flux queue`: list queues, let them take jobs and start them, wait for them to empty (flux-queue(1)). */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { OutputFormat, sortRows, splitSort } from "../output/format-string.ts";
import { findFormat, formatHelp } from "../output/named-formats.ts";
import {
  needsResources,
  QUEUE_FORMATS,
  queueFieldHeading,
  queueRow,
  type Queue,
  type QueueStatus,
  type ResourceState,
} from "../queues/listing.ts";
import { QueuePolicy } from "../queues/policy.ts";

const QUEUE_FORMAT_SOURCE = { file: "flux-queue", section: "list" } as const;

const REASON_DEFAULT = "disabled by administrator";

const all: OptionSpec = { names: ["all"], short: "a", help: "Force command to apply to all queues if none specified" };
const quiet: OptionSpec = { names: ["quiet"], help: "Display only errors" };
const verbose: OptionSpec = {
  names: ["verbose"],
  short: "v",
  repeatable: true,
  help: "Display more detail about internal job manager state",
};
const timeout: OptionSpec = {
  names: ["timeout"],
  short: "t",
  argument: "DURATION",
  help: "timeout after DURATION",
};
/** The queue as an option, which is how older scripts name it. */
const queueOption: OptionSpec = { names: ["queue"], short: "q", argument: "QUEUE", hidden: true, help: "" };

/** Asks the job manager; what it refuses is said with the name of the request. */
async function ask<T>(handle: Handle, method: string, payload?: JsonObject): Promise<T> {
  try {
    return (await handle.rpc(`job-manager.${method}`, payload ?? null, { nodeid: 0 })) as T;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `${method.replace(/^queue-/, "")}: ${error.message}`, { cause: error });
  }
}

function queueNames(handle: Handle): Promise<readonly string[]> {
  return ask<{ queues: string[] }>(handle, "queue-list").then(({ queues }) => queues);
}

function statusOf(handle: Handle, name: string | null): Promise<QueueStatus> {
  return ask(handle, "queue-status", name === null ? {} : { name });
}

function queueNamed({ options, operands }: CommandContext): string | null {
  return operands[0] ?? options.text("queue");
}

interface Parts {
  readonly submission: boolean;
  readonly scheduling: boolean;
}

/** Prints the state of one queue, or of all. */
async function printStatus(context: CommandContext, handle: Handle, queue: string | null, parts: Parts): Promise<void> {
  const isVerbose = context.options.has("verbose");
  const named = queue === null || isVerbose ? await queueNames(handle) : [queue];
  const names = named.length === 0 ? [null] : named;
  const states = await Promise.all(names.map((name) => statusOf(handle, name)));
  for (const [index, name] of names.entries()) {
    const { enable, disable_reason, start, stop_reason } = states[index]!;
    const say = (text: string, reason: string | undefined): void =>
      context.out(`${name === null ? "" : `${name}: `}${text}${reason ? `: ${reason}` : ""}\n`);
    if (parts.submission) say(`Job submission is ${enable ? "enabled" : "disabled"}`, enable ? "" : disable_reason);
    if (parts.scheduling) say(`Scheduling is ${start ? "started" : "stopped"}`, start ? "" : stop_reason);
  }
  if (isVerbose && parts.scheduling) await printCounts(context, handle);
}

async function printCounts(context: CommandContext, handle: Handle): Promise<void> {
  const counts = await ask<Record<string, number>>(handle, "alloc-query");
  context.out(
    `${counts["queue_length"]} alloc requests queued\n` +
      `${counts["alloc_pending"]} alloc requests pending to scheduler\n` +
      `${counts["running"]} running jobs\n`,
  );
}

const status: Command = {
  name: "status",
  dialect: "argparse",
  summary: "report the state of queues",
  options: [queueOption, verbose],
  operands: [{ name: "QUEUE", arity: "?", help: "Queue to status" }],
  run: async (context) => {
    const handle = await context.open();
    const queue = queueNamed(context);
    // A queue that does not exist is refused also where all are shown.
    if (queue !== null) await statusOf(handle, queue);
    await printStatus(context, handle, queue, { submission: true, scheduling: true });
  },
};

interface Switch {
  readonly name: string;
  readonly method: "enable" | "start";
  readonly value: boolean;
  readonly summary: string;
}

/** enable, disable, start, stop: the same command for two switches of a queue. */
function switchCommand({ name, method, value, summary }: Switch): Command {
  const parts = { submission: method === "enable", scheduling: method === "start" };
  const past = name === "stop" ? "stopped" : `${name}d`;
  const offOptions: OptionSpec[] = [
    { names: ["nocheckpoint"], help: `Do not checkpoint that the queue has been ${past}` },
    { names: ["message"], short: "m", argument: "REASON", help: `Add reason that a queue is ${past}` },
  ];
  return {
    name,
    dialect: "argparse",
    summary,
    options: [all, quiet, queueOption, verbose, ...(value ? [] : offOptions)],
    operands: [{ name: "QUEUE", arity: "?", help: `Queue to ${name}` }],
    run: async (context) => {
      const { options } = context;
      const handle = await context.open();
      const queue = queueNamed(context);
      if (queue === null && !options.has("all") && (await queueNames(handle)).length > 0)
        context.fail(
          method === "start"
            ? "Named queues are defined. Specify queues or use --all."
            : "enable: Use --all to apply this command to all queues",
        );
      const reason = options.text("message") || (method === "enable" && !value ? REASON_DEFAULT : null);
      await ask(handle, `queue-${method}`, {
        [method]: value,
        all: queue === null,
        ...(queue !== null && { name: queue }),
        ...(reason !== null && !value && { reason }),
        ...(options.has("nocheckpoint") && { nocheckpoint: true }),
      });
      if (!options.has("quiet")) await printStatus(context, handle, queue, parts);
    },
  };
}

const list: Command = {
  name: "list",
  dialect: "argparse",
  summary: "list queues with their state, defaults and limits",
  options: [
    {
      names: ["queue"],
      short: "q",
      argument: "QUEUE,...",
      repeatable: true,
      help: "Include only specified queues in output",
    },
    {
      names: ["format"],
      short: "o",
      argument: "FORMAT",
      help: "Specify output format using Python's string format syntax or a defined format by name (use 'help' to get a list of names)",
    },
    { names: ["no-header"], short: "n", help: "Suppress header output" },
  ],
  run: listQueues,
};

async function listQueues(context: CommandContext): Promise<void> {
  const { options, host } = context;
  const requested = options.text("format") ?? host.env["FLUX_QUEUE_LIST_FORMAT_DEFAULT"] ?? "default";
  const special = await formatHelp("flux-queue", QUEUE_FORMAT_SOURCE, requested, QUEUE_FORMATS, host.env);
  if (special !== null) return context.out(special.replace(/^\[formats\./, "[list.formats."));
  const { keys, format } = splitSort(await findFormat(QUEUE_FORMAT_SOURCE, requested, QUEUE_FORMATS, host.env));
  const output = new OutputFormat(format, queueFieldHeading);
  const handle = await context.open();
  const fields = [...output.fields, ...keys.map((key) => key.replace(/^-/, ""))];
  const queues = await queuesOf(context, handle, fields.some(needsResources));
  const rows = sortRows(queues.map(queueRow), keys, (name) => queueFieldHeading(name) !== null);
  const { header, lines } = output.table(rows);
  if (!options.has("no-header")) context.out(`${header}\n`);
  for (const line of lines) if (line !== null) context.out(`${line}\n`);
}

async function queuesOf(context: CommandContext, handle: Handle, withResources: boolean): Promise<Queue[]> {
  const [config, known, view] = await Promise.all([
    handle.rpc<JsonObject>("config.get"),
    queueNames(handle),
    withResources ? resourceView(handle) : null,
  ]);
  const names = selectedNames(context, known);
  return Promise.all(
    names.map(async (name) => {
      const policy = new QueuePolicy(config, name);
      return {
        name,
        policy,
        status: await statusOf(handle, name === "" ? null : name),
        resources: (state: ResourceState) => {
          if (view === null) throw new Error(`the resources of queue '${name}' were not asked for`);
          return view(state, policy.requires);
        },
      };
    }),
  );
}

/** The resources of a state that have all the properties, as the scheduler sees them. */
async function resourceView(handle: Handle) {
  const { resourcesIn, schedulerView } = await import("../resource/view.ts");
  const { matchingRanks } = await import("../../formats/constraint.ts");
  const view = await schedulerView(handle);
  return (state: ResourceState, properties: readonly string[]) => {
    const resources = resourcesIn(view, state);
    if (properties.length === 0) return resources;
    // Properties are known of all resources only.
    return resources.keepRanks(matchingRanks(view.all, { properties }));
  };
}

/** The queues to list; the anonymous one has no name. */
function selectedNames(context: CommandContext, names: readonly string[]): readonly string[] {
  const wanted = context.options.list("queue").map((text) => text.split(","));
  for (const name of wanted.flat()) if (!names.includes(name)) context.fail(`No such queue: ${name}`);
  if (wanted.length > 0) return wanted.flatMap((group) => names.filter((name) => group.includes(name)));
  return names.length === 0 ? [""] : names;
}

/** Asks for something that is answered once there is nothing to do. */
async function waitFor<T>(context: CommandContext, method: "drain" | "idle"): Promise<T> {
  const text = context.options.text("timeout");
  const seconds = text === null ? Infinity : tryParseFsd(text);
  if (seconds === null) return context.fail("invalid Flux standard duration");
  const handle = await context.open();
  const answer = ask<T>(handle, method);
  if (seconds === Infinity) return answer;
  const { clock } = await context.ports();
  const timer = Promise.withResolvers<never>();
  const pending = clock.after(seconds * 1000, () => timer.reject(new FluxError("ETIMEDOUT", `${method}: timeout`)));
  try {
    return await Promise.race([answer, timer.promise]);
  } finally {
    pending.cancel();
  }
}

const drain: Command = {
  name: "drain",
  dialect: "argparse",
  summary: "wait until all queues are empty",
  options: [timeout],
  run: async (context) => {
    await waitFor(context, "drain");
  },
};

const idle: Command = {
  name: "idle",
  dialect: "argparse",
  summary: "wait until no job is running or asks for resources",
  options: [timeout, { names: ["quiet"], help: "Only display pending job count if nonzero" }],
  run: async (context) => {
    const { pending } = await waitFor<{ pending: number }>(context, "idle");
    if (pending > 0 || !context.options.has("quiet")) context.out(`${pending} jobs\n`);
  },
};

export const command: Command = defineCommand({
  name: "queue",
  dialect: "argparse",
  summary: "list and manipulate flux queues",
  subcommands: [
    list,
    status,
    switchCommand({ name: "enable", method: "enable", value: true, summary: "let jobs be submitted to a queue" }),
    switchCommand({ name: "disable", method: "enable", value: false, summary: "keep jobs from being submitted" }),
    switchCommand({ name: "start", method: "start", value: true, summary: "let the jobs of a queue have resources" }),
    switchCommand({ name: "stop", method: "start", value: false, summary: "keep resources from the jobs of a queue" }),
    drain,
    idle,
  ],
});
