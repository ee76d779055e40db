/** `flux update`: asks for changes of an active job (flux-update(1)). */
import { FluxError } from "../../base/errors.ts";
import { jsonOrText, memberAt, parseJson, stringifyJson, type Integer, type JsonValue } from "../../base/json.ts";
import { formatFsd, tryParseFsd } from "../../formats/duration.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import type { Handle } from "../../sdk/handle.ts";
import { lookupJob, updateJob, watchEventlog } from "../../sdk/jobs.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jobIdText } from "../jobs/client.ts";
import { Float, plainText } from "../output/field-value.ts";
import { pythonJson } from "../output/python-json.ts";

const DURATION = "attributes.system.duration";
/** Where jobspec begins (RFC 14): other keys are names of system attributes. */
const TOP_LEVEL = /^(attributes|tasks|resources)\./;
const ALIASES: ReadonlyMap<string, string> = new Map([["name", "attributes.system.job.name"]]);

export const command: Command = defineCommand({
  name: "update",
  dialect: "argparse",
  summary: "update active jobs",
  options: [
    { names: ["dry-run"], short: "n", help: "Do not apply any updates, just emit update payload to stdout" },
    { names: ["verbose"], short: "v", help: "Be more verbose. Log updated items after success." },
    { names: ["wait"], help: "Wait for updates to appear in job eventlog before exiting" },
  ],
  operands: [
    { name: "JOBID", arity: "1", help: "Target jobid" },
    { name: "KEY=VALUE", arity: "+", help: "Requested jobspec updates in KEY=VALUE form" },
  ],
  examples: ["flux update JOBID duration=+10m"],
  run,
});

async function run(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const [text = "", ...pairs] = operands;
  const id = tryParseFluid(text);
  if (id === null) return context.failUsage(`argument JOBID: invalid JobID value: '${text}'`);
  const handle = await context.open();
  const updates: Record<string, JsonValue> = {};
  const texts = new Map<string, string>();
  for (const pair of pairs) {
    const { key, value, text: shown } = await updateOf(handle, id, pair);
    updates[key] = value;
    texts.set(key, shown);
  }
  if (options.has("dry-run")) return context.out(`${objectText(texts)}\n`);
  await updateJob(handle, id, updates);
  if (options.has("wait")) await waitForUpdates(handle, id, updates);
  if (!options.has("verbose")) return;
  for (const [key, value] of Object.entries(updates))
    context.err(`flux-update: INFO: updated ${key} to ${typeof value === "string" ? value : texts.get(key)}\n`);
}

interface Update {
  readonly key: string;
  readonly value: JsonValue;
  /** The value as JSON in which a number that is not an integer can be told from one. */
  readonly text: string;
}

/** What a pair asks for; a key alone is given the empty text. Throws EINVAL. */
async function updateOf(handle: Handle, id: Integer, pair: string): Promise<Update> {
  const at = pair.includes("=") ? pair.indexOf("=") : pair.length;
  const name = pair.slice(0, at);
  const given = pair.slice(at + 1);
  const key = ALIASES.get(name) ?? (TOP_LEVEL.test(name) ? name : `attributes.system.${name}`);
  const isDuration = key === DURATION;
  const value = isDuration ? await durationOf(handle, id, given) : jsonOrText(given);
  const isFloat = typeof value === "number" && (isDuration || /[.eE]/.test(given));
  return { key, value, text: isFloat ? plainText(new Float(value)) : pythonJson(value) };
}

function objectText(members: ReadonlyMap<string, string>): string {
  return `{${[...members].map(([key, text]) => `${pythonJson(key)}: ${text}`).join(", ")}}`;
}

/** A duration in seconds, 0 for an infinite one: FSD, after a sign relative to what the job has now. Throws EINVAL. */
async function durationOf(handle: Handle, id: Integer, text: string): Promise<number> {
  const sign = /^[+-]/.exec(text)?.[0];
  const amount = tryParseFsd(sign === undefined ? text : text.slice(1));
  if (amount === null || (sign !== undefined && !Number.isFinite(amount)))
    throw new FluxError("EINVAL", "invalid Flux standard duration");
  if (sign === undefined) return amount === Infinity ? 0 : amount;
  const current = await currentDuration(handle, id);
  if (current === 0)
    throw new FluxError("EINVAL", `duration for ${jobIdText(id)} is unlimited, can't update by ${text}`);
  if (sign === "+") return current + amount;
  if (amount >= current)
    throw new FluxError(
      "EINVAL",
      `current duration for ${jobIdText(id)} (${formatFsd(current)}) cannot be reduced by ${text.slice(1)}`,
    );
  return current - amount;
}

async function currentDuration(handle: Handle, id: Integer): Promise<number> {
  const { jobspec } = await lookupJob(handle, id, ["jobspec"], { current: true });
  const value = memberAt(parseJson(jobspec!), DURATION.split("."));
  return typeof value === "number" ? value : 0;
}

async function waitForUpdates(
  handle: Handle,
  id: Integer,
  updates: Readonly<Record<string, JsonValue>>,
): Promise<void> {
  const left = new Set(Object.keys(updates));
  for await (const { name, context } of watchEventlog(handle, id)) {
    if (name !== "jobspec-update") continue;
    for (const [key, value] of Object.entries(context ?? {}))
      if (stringifyJson(value) === stringifyJson(updates[key])) left.delete(key);
    if (left.size === 0) return;
  }
  throw new FluxError("EINVAL", "the job ended before it was updated");
}
