/** `flux resource eventlog`: the journal of the resource service (RFC 44), as it is and as it goes on. */
import { isJsonObject, jsonOrText, stringifyJson, type JsonObject } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import type { EventlogEntry } from "../../formats/eventlog.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { CommandExit, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { EventlogFormatter, eventLine } from "../output/eventlog-text.ts";
import { wantsColor } from "../output/job-colors.ts";

const TIME_FORMATS = ["raw", "iso", "offset", "human", "reltime"] as const;
/** Offsets stand one below the other. */
const OFFSET_WIDTH = 15;
/** Numbers that differ by less are the same. */
const TOLERANCE = 1e-5;

export const EVENTLOG_OPTIONS: readonly OptionSpec[] = [
  { names: ["format"], short: "f", argument: "FORMAT", choices: ["text", "json"], help: "Output format: text or json" },
  {
    names: ["time-format"],
    short: "T",
    argument: "FORMAT",
    choices: TIME_FORMATS,
    help: `Timestamp format: ${TIME_FORMATS.join(", ")}`,
  },
  { names: ["human"], short: "H", help: "Same as -T human -f text" },
  {
    names: ["color"],
    short: "L",
    argument: "WHEN",
    optionalArgument: true,
    help: "Use color; WHEN can be 'never', 'always' or 'auto' (default)",
  },
  { names: ["follow"], short: "F", help: "Wait for new events" },
  { names: ["timeout"], short: "t", argument: "TIME", help: "Fail if --wait or --follow takes longer than this" },
  { names: ["wait"], short: "w", argument: "EVENT", help: "Print events until EVENT is posted" },
  {
    names: ["match-context"],
    short: "m",
    argument: "KEY=VAL",
    repeatable: true,
    help: "With --wait: only an EVENT with KEY=VAL in its context",
  },
  { names: ["include"], short: "i", argument: "TARGETS", help: "Only events of these ranks or hosts" },
];

interface JournalAnswer {
  readonly events: readonly EventlogEntry[];
}

export async function eventlog(context: CommandContext): Promise<void> {
  const { options } = context;
  const formatter = formatterOf(context);
  const wanted = options.text("wait");
  const matches = options.list("match-context").map((text) => matcherOf(context, text));
  const filter = new TargetFilter(context, options.text("include"));
  const handle = await context.open();
  const deadline = await startDeadline(context);
  const settings = { nodeid: 0, cancelTopic: "resource.journal-cancel", signal: deadline.signal };
  try {
    for await (const { events } of handle.stream<JournalAnswer>("resource.journal", {}, settings)) {
      if (events.length === 0 && !options.has("follow") && wanted === null) return;
      for (const event of events) {
        if (!filter.includes(event)) continue;
        context.out(formatter.format(eventLine(event)));
        if (event.name === wanted && matches.every((match) => match(event.context ?? {}))) return;
      }
    }
  } catch (error) {
    if (deadline.signal.aborted) context.fail("ETIMEDOUT: Connection timed out");
    throw error;
  } finally {
    deadline.cancel();
  }
  if (deadline.signal.aborted) context.fail("ETIMEDOUT: Connection timed out");
}

function formatterOf(context: CommandContext): EventlogFormatter {
  const { options } = context;
  const time = TIME_FORMATS.find((name) => name === options.text("time-format")) ?? null;
  return new EventlogFormatter({
    unformatted: options.text("format") === "json" && !options.has("human"),
    human: options.has("human") || time === "human" || time === "reltime",
    color: wantsColor(context),
    offsetWidth: OFFSET_WIDTH,
    ...((time === "iso" || time === "offset") && { time }),
  });
}

/** Aborts after `--timeout`. */
async function startDeadline(context: CommandContext): Promise<{ signal: AbortSignal; cancel(): void }> {
  const text = context.options.text("timeout");
  const abort = new AbortController();
  if (text === null) return { signal: abort.signal, cancel() {} };
  const seconds = tryParseFsd(text);
  if (seconds === null) return context.fail("invalid Flux standard duration");
  const { clock } = await context.ports();
  const timer = clock.after(seconds * 1000, () => abort.abort());
  return { signal: abort.signal, cancel: () => timer.cancel() };
}

/** `KEY=VAL` as a test of an event's context: VAL is JSON, or where it is none a string. */
function matcherOf(context: CommandContext, text: string): (values: JsonObject) => boolean {
  const at = text.indexOf("=");
  if (at < 0) return context.fail(`invalid KEY=VAL argument: '${text}' (missing '=')`);
  const key = text.slice(0, at);
  const wanted = jsonOrText(text.slice(at + 1));
  return (values) => {
    const value = values[key];
    if (typeof value === "number" && typeof wanted === "number") return Math.abs(value - wanted) < TOLERANCE;
    return value !== undefined && stringifyJson(value) === stringifyJson(wanted);
  };
}

/** Which events say something of `--include`. Ranks of hosts are known from the last `restart`. */
class TargetFilter {
  readonly #context: CommandContext;
  readonly #ranks: Idset | null;
  readonly #hosts: Hostlist | null;
  #named: Idset | null = null;

  constructor(context: CommandContext, targets: string | null) {
    this.#context = context;
    this.#ranks = targets === null ? null : Idset.tryParse(targets);
    this.#hosts = targets === null || this.#ranks !== null ? null : Hostlist.tryParse(targets);
    if (targets !== null && this.#ranks === null && this.#hosts === null)
      context.fail(`--include: Invalid hostlist: '${targets}'`);
  }

  includes({ name, context }: EventlogEntry): boolean {
    if (this.#ranks === null && this.#hosts === null) return true;
    const values = isJsonObject(context) ? context : {};
    if (name === "restart" && this.#hosts !== null) this.#named = this.#rank(String(values["nodelist"] ?? ""));
    const ranks = Idset.tryParse(String(values[name === "restart" ? "ranks" : "idset"] ?? ""));
    const wanted = this.#ranks ?? this.#named;
    return ranks !== null && wanted !== null && !ranks.intersect(wanted).isEmpty;
  }

  /** The first rank of each host. */
  #rank(nodelist: string): Idset {
    const hosts = (Hostlist.tryParse(nodelist) ?? new Hostlist()).toArray();
    const ranks = new Idset();
    for (const host of this.#hosts!) {
      const rank = hosts.indexOf(host);
      if (rank < 0) {
        this.#context.complain(`host '${host}' not found`);
        throw new CommandExit(1);
      }
      ranks.add(rank);
    }
    return ranks;
  }
}
