/** What changes jobs: urgency, exceptions, signals. */
import { FluxError, isFluxError } from "../../../base/errors.ts";
import type { Integer } from "../../../base/json.ts";
import { signalNumber, signalSentence } from "../../../base/signals.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";
import { parseJobStates } from "../../../formats/job-states.ts";
import { JobState, STATES_ACTIVE } from "../../../sdk/job-protocol.ts";
import { killAll, killJob, raiseAll, raiseException, setUrgency } from "../../../sdk/jobs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { parseUser } from "../../jobs/users.ts";
import { parseUrgency } from "../../submission/request.ts";
import { requireJobId } from "./operands.ts";

const SEVERITY_OF_MANY = 7;

export async function urgency(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [job, text] = operands;
  if (job === undefined || text === undefined || operands.length !== 2) context.failUsage();
  const id = requireJobId(job);
  const value = urgencyOf(text);
  const handle = await context.open();
  try {
    const old = await setUrgency(handle, id, value);
    if (options.has("verbose")) context.err(`old urgency: ${urgencyName(old)}\n`);
    return 0;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `${job}: ${error.message}`, { cause: error });
  }
}

function urgencyOf(text: string): number {
  try {
    return parseUrgency(text);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError("EINVAL", `error parsing urgency: "${text}"`, { cause: error });
  }
}

function urgencyName(value: number): string {
  return value === 0 ? "job held" : value === 31 ? "job expedited" : String(value);
}

export function raise(context: CommandContext): Promise<number> {
  const { options } = context;
  return raiseOnIds(context, options.text("type") ?? "cancel", options.integer("severity") ?? 0);
}

export function cancel(context: CommandContext): Promise<number> {
  return raiseOnIds(context, "cancel", 0);
}

async function raiseOnIds(context: CommandContext, type: string, severity: number): Promise<number> {
  const { ids, words } = idsAndMessage(context.operands);
  const given = context.options.text("message");
  if (given !== null && words.length > 0)
    throw new FluxError("EINVAL", "Do not set note on command line and with --message");
  if (ids.length === 0) {
    if (words.length > 0) throw new FluxError("EINVAL", `invalid jobid: ${words[0]!}`);
    context.failUsage();
  }
  const note = given ?? (words.length > 0 ? words.join(" ") : undefined);
  const handle = await context.open();
  return each(context, "raise", ids, (id) =>
    raiseException(handle, id, { type, severity, ...(note !== undefined && { note }) }),
  );
}

interface NamedId {
  readonly text: string;
  readonly id: Integer;
}

/** Job ids up to `--`, or up to the first word that is none; the words after it are a message. */
function idsAndMessage(operands: readonly string[]): { ids: NamedId[]; words: readonly string[] } {
  const ids: NamedId[] = [];
  for (const [index, text] of operands.entries()) {
    if (text === "--") return { ids, words: operands.slice(index + 1) };
    const id = tryParseFluid(text);
    if (id === null) return { ids, words: operands.slice(index) };
    ids.push({ text, id });
  }
  return { ids, words: [] };
}

async function each(
  context: CommandContext,
  what: string,
  ids: readonly NamedId[],
  act: (id: Integer) => Promise<void>,
): Promise<number> {
  let exitCode = 0;
  await Promise.all(
    ids.map(async ({ text, id }) => {
      try {
        await act(id);
      } catch (error) {
        if (!isFluxError(error)) throw error;
        context.complain(`${what} ${text}: ${error.message}`);
        exitCode = 1;
      }
    }),
  );
  return exitCode;
}

export async function kill(context: CommandContext): Promise<number> {
  if (context.operands.length === 0) context.failUsage();
  const signum = signalOf(context, "kill");
  const ids = context.operands.map((text) => ({ text, id: requireJobId(text) }));
  const handle = await context.open();
  return each(context, "kill", ids, (id) => killJob(handle, id, signum));
}

function signalOf(context: CommandContext, what: string): number {
  const name = context.options.text("signal") ?? "SIGTERM";
  // Whether a number is one of a signal is for those to say who send it.
  const signum = /^[1-9]\d{0,8}$/.test(name) ? Number(name) : signalNumber(name);
  if (signum === null) throw new FluxError("EINVAL", `${what}: Invalid signal ${name}`);
  return signum;
}

function targetUser(context: CommandContext): number {
  const user = context.options.text("user");
  if (user === null) return context.host.uid;
  try {
    return parseUser(user);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError("EINVAL", `unknown user ${user}`, { cause: error });
  }
}

export async function killall(context: CommandContext): Promise<number> {
  if (context.operands.length > 0) context.failUsage();
  const signum = signalOf(context, "killall");
  const userid = targetUser(context);
  const dryRun = !context.options.has("force");
  const handle = await context.open();
  const { count, errors } = await named("killall", killAll(handle, { userid, signum, dryRun }));
  if (count === 0 || dryRun) tellMatched(context, count);
  else context.complain(`${signalSentence(signum)} ${count} jobs (${errors} errors)`);
  return errors > 0 ? 1 : 0;
}

export async function raiseall(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const [type, ...words] = operands;
  if (type === undefined) context.failUsage();
  const userid = targetUser(context);
  const states = statesOf(options.text("states"));
  const dryRun = !options.has("force");
  const severity = options.integer("severity") ?? SEVERITY_OF_MANY;
  const handle = await context.open();
  const note = words.length > 0 ? { note: words.join(" ") } : {};
  const { count, errors } = await named(
    "raiseall",
    raiseAll(handle, { userid, states, type, severity, dryRun, ...note }),
  );
  if (count === 0 || dryRun) tellMatched(context, count);
  else context.complain(`Raised exception on ${count} jobs (${errors} errors)`);
  return errors > 0 ? 1 : 0;
}

/** Puts the name of the subcommand before what a service says. */
async function named<T>(what: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `${what}: ${error.message}`, { cause: error });
  }
}

function tellMatched(context: CommandContext, count: number): void {
  context.complain(`Command matched ${count} jobs${count === 0 ? "" : " (-f to confirm)"}`);
}

function statesOf(list: string | null): number {
  if (list === null) return STATES_ACTIVE;
  const names = list.split(",").filter((name) => name !== "");
  if (names.length === 0) throw new FluxError("EINVAL", "no states specified");
  const states = names.reduce((mask, name) => {
    const state = parseJobStates(name);
    if (state === null) throw new FluxError("EINVAL", `error parsing --states: ${name} is unknown`);
    return mask | state;
  }, 0);
  if ((states & JobState.Inactive) !== 0) throw new FluxError("EINVAL", "Exceptions cannot be raised on inactive jobs");
  return states;
}
