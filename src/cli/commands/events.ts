/** `flux events`: everything that happens to jobs, queues and resources, a JSON object on each line. */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { Clock } from "../../base/ports.ts";
import { stringifyJson, type Integer } from "../../base/json.ts";
import { EVENT_KINDS, instanceEvents, type EventKind, type InstanceEvent } from "../../sdk/events.ts";
import type { Handle } from "../../sdk/handle.ts";
import { jobInfo } from "../../sdk/jobs.ts";
import { connect } from "../framework/connect.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText, parseJobId } from "../jobs/client.ts";
import { parseDateTime } from "../submission/dates.ts";

/** How long a broker may take to be started again. */
const RECONNECT_MS = 60_000;

export const command: Command = defineCommand({
  name: "events",
  dialect: "argparse",
  summary: "follow what happens to jobs, queues and resources",
  description: [
    "Prints an event per line as JSON: 'position', 'timestamp', 'type' (job, queue or resource), 'name', 'context'; of",
    "jobs 'id' and 'jobid'. Who has got an event goes on after it with --from=POSITION, also after a restart of the",
    "instance: nothing is told twice, nothing is left out. A service that is loaded anew, or a broker that is started",
    "again in its place, is waited for.",
  ].join(" "),
  options: [
    {
      names: ["from"],
      argument: "POSITION",
      help: "Begin after the event with this position ('start': with the first)",
    },
    { names: ["since"], argument: "WHEN", help: "Begin with what happened at WHEN (as in flux jobs --since)" },
    { names: ["no-follow"], short: "n", help: "End with what has happened so far" },
    {
      names: ["type"],
      short: "t",
      argument: "TYPE,...",
      repeatable: true,
      help: `Limit output to events of these types (${EVENT_KINDS.join(", ")})`,
    },
    { names: ["name"], argument: "NAME,...", repeatable: true, help: "Limit output to events with these names" },
    { names: ["full"], help: "Print jobspecs with 'submit' and resource sets with 'alloc' and 'resource-define'" },
  ],
  operands: [{ name: "JOBID", arity: "*", help: "Limit output to events of these jobs" }],
  examples: ["flux events", "flux events --from=start --no-follow --type=job", "flux events --name=submit,clean"],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const { clock } = await context.ports();
  const ids = new Set(operands.map(parseJobId));
  const names = wordsOf(options.list("name"));
  const since = sinceOf(context);
  const from = options.text("from") ?? (since !== null || options.has("no-follow") ? "start" : null);
  const kinds = ids.size > 0 ? (["job"] as const) : kindsOf(context);
  const handle = await context.open();
  for (const id of ids) await requireJob(handle, id);
  const stop = new AbortController();
  const signals = ["SIGINT", "SIGTERM"].map((name) => context.onSignal(name, () => stop.abort()));
  let position = options.text("from");
  try {
    const follow = !options.has("no-follow");
    const stream = {
      clock,
      kinds,
      follow,
      signal: stop.signal,
      ...(from !== null && { from }),
      reconnect: () => reconnect(context, clock),
      waiting: ({ message }: FluxError) => context.err(`flux-events: ${message}: waiting for it to come back\n`),
    };
    for await (const event of instanceEvents(handle, stream)) {
      position = event.position;
      if (since !== null && event.timestamp < since) continue;
      if (names.size > 0 && !names.has(event.name)) continue;
      if (ids.size > 0 && (event.id === undefined || !ids.has(event.id))) continue;
      context.out(`${stringifyJson(eventJson(event, options.has("full")))}\n`);
    }
    return 0;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    if (error.is("EPERM"))
      throw new FluxError("EPERM", "only the instance owner may follow all events", { cause: error });
    const goOn = position === null || error.is("EINVAL") ? "" : `; to go on: flux events --from=${position}`;
    throw new FluxError(error.errnum, `${error.message}${goOn}`, { cause: error });
  } finally {
    for (const signal of signals) signal.cancel();
  }
}

/** The connection to a broker that is started again in its place: until then nobody listens at its socket. */
async function reconnect({ host }: CommandContext, clock: Clock): Promise<Handle> {
  const untilMs = clock.monotonicMs() + RECONNECT_MS;
  for (;;) {
    try {
      return await connect(host.env["FLUX_URI"] ?? null);
    } catch (error) {
      if (!isFluxError(error, "ECONNREFUSED") || clock.monotonicMs() > untilMs) throw error;
    }
  }
}

/** Events of a job that does not exist would be waited for in vain. Throws ENOENT. */
async function requireJob(handle: Handle, id: Integer): Promise<void> {
  try {
    await jobInfo(handle, id, { attrs: [] });
  } catch (error) {
    if (!isFluxError(error, "ENOENT")) throw error;
    throw new FluxError("ENOENT", `${jobIdText(id)}: there is no such job`, { cause: error });
  }
}

function wordsOf(texts: readonly string[]): ReadonlySet<string> {
  return new Set(texts.flatMap((text) => text.split(",")).filter((word) => word !== ""));
}

function kindsOf(context: CommandContext): readonly EventKind[] {
  const words = wordsOf(context.options.list("type"));
  for (const word of words)
    if (!(EVENT_KINDS as readonly string[]).includes(word))
      context.failUsage(`argument -t/--type: invalid type '${word}' (choose from ${EVENT_KINDS.join(", ")})`);
  return words.size === 0 ? EVENT_KINDS : EVENT_KINDS.filter((kind) => words.has(kind));
}

function sinceOf({ options }: CommandContext): number | null {
  const text = options.text("since");
  if (text === null) return null;
  const since = /^\d+(\.\d*)?$/.test(text) ? Number(text) : parseDateTime(text, Date.now() / 1000);
  if (since === null) throw new FluxError("EINVAL", `--since: invalid datetime '${text}'`);
  return since;
}

function eventJson(event: InstanceEvent, isFull: boolean): object {
  const { position, timestamp, kind, id, name, context, jobspec, R } = event;
  return {
    position,
    timestamp,
    type: kind,
    ...(id !== undefined && { id, jobid: jobIdText(id) }),
    name,
    ...(context !== undefined && { context }),
    ...(isFull && jobspec !== undefined && { jobspec }),
    ...(isFull && R !== undefined && { R }),
  };
}
