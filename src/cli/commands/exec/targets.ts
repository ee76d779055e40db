/** Where `flux exec` runs: ranks of the instance, or nodes of a job; and which service starts programs there. */
import { isFluxError } from "../../../base/errors.ts";
import type { Integer } from "../../../base/json.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";
import { Idset } from "../../../formats/idset.ts";
import { getAttribute } from "../../../sdk/attributes.ts";
import type { Handle } from "../../../sdk/handle.ts";
import { JobState } from "../../../sdk/job-protocol.ts";
import { jobInfo } from "../../../sdk/jobs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { jobIdText } from "../../jobs/client.ts";
import { shellServiceOf } from "../../jobs/shell-service.ts";

export interface ExecTargets {
  /** Broker ranks, ascending. */
  readonly ranks: readonly number[];
  readonly service: string;
}

/** Ends the command where the options name no place to run. */
export async function execTargets(context: CommandContext, handle: Handle): Promise<ExecTargets> {
  const { options } = context;
  const service = options.text("service");
  const jobId = options.text("jobid");
  if (jobId !== null) {
    const id = tryParseFluid(jobId) ?? context.fail(`error parsing jobid: "${jobId}"`);
    const job = await shellsOf(context, handle, id, jobId);
    const nodes = [...job.ranks];
    // Ranks are places in the list of the job's nodes here.
    return { ranks: chosen(context, nodes.length).map((place) => nodes[place]!), service: service ?? job.service };
  }
  return { ranks: chosen(context, Number(await getAttribute(handle, "size"))), service: service ?? "rexec" };
}

/** Ends the command where the job does not run. */
async function shellsOf(
  context: CommandContext,
  handle: Handle,
  id: Integer,
  given: string,
): Promise<{ ranks: Idset; service: string }> {
  const text = jobIdText(id);
  const job = await jobInfo(handle, id, { attrs: ["state", "ranks"] }).catch((error: unknown) => {
    if (isFluxError(error, "ENOENT")) return context.fail(`job ${given} not found`);
    throw error;
  });
  const { state, ranks } = job;
  if (state !== JobState.Run || typeof ranks !== "string") return context.fail(`job ${text} is not currently running`);
  const { service } = await shellServiceOf(handle, id, "shell.init", `job ${text} is not currently running`);
  return { ranks: Idset.parse(ranks), service: `${service}.rexec` };
}

/** What `--rank` and `--exclude` leave of 0 … size - 1. */
function chosen(context: CommandContext, size: number): number[] {
  const { options } = context;
  const all = Idset.upTo(size);
  const rank = options.text("rank") ?? "all";
  const wanted = rank === "all" ? all : Idset.tryParse(rank);
  if (wanted === null) return context.fail(`failed to decode idset '${rank}': Invalid argument`);
  if (wanted.isEmpty || !all.includes(wanted)) context.fail(`One or more invalid --ranks specified: ${rank}`);
  const exclude = options.text("exclude");
  const excluded = exclude === null ? null : Idset.tryParse(exclude);
  if (exclude !== null && excluded === null) context.fail("error decoding --exclude idset: Invalid argument");
  const ranks = excluded === null ? wanted : wanted.subtract(excluded);
  if (ranks.isEmpty) context.fail("No targets specified");
  return [...ranks];
}
