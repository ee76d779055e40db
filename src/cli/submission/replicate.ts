/** Replication of a job (`--cc`, `--bcc`): one submission for each id of a set, with `{cc}` replaced. Pure. */
import { FluxError } from "../../base/errors.ts";
import { Idset } from "../../formats/idset.ts";
import type { ParsedOptions } from "../framework/command.ts";
import { optionsFrom } from "../framework/parse.ts";
import type { Submission } from "../jobs/client.ts";
import type { SubmissionPlugins } from "./plugins.ts";
import { isRanks, submissionOf, taskJobspec, withSystem, type SubmissionSource } from "./request.ts";

export interface Replica {
  readonly options: ParsedOptions;
  readonly command: readonly string[];
  /** What is said before a mistake with this one: `cc=3: `. */
  readonly label: string;
  /** The id that the job finds in FLUX_JOB_CC; null where it gets none. */
  readonly cc: string | null;
}

/**
 * The replicas that a command line asks for; one without `--cc` and `--bcc`, in which `{cc}` is replaced by what
 * `otherwise` says, if anything. Throws FluxError EINVAL.
 */
export function* replicas(
  options: ParsedOptions,
  command: readonly string[],
  otherwise: string | null = null,
): Generator<Replica, void, undefined> {
  const cc = options.text("cc");
  const bcc = options.text("bcc");
  if (cc !== null && bcc !== null) throw new FluxError("EINVAL", "specify only one of --cc or --bcc");
  const set = cc ?? bcc;
  const varies = hasTemplate(command) || options.given.some(({ value }) => value !== null && hasTemplate([value]));
  if (set === null || set === "") {
    if (varies && otherwise !== null) yield { ...replaced(options, command, otherwise), label: "", cc: null };
    else yield { options, command, label: "", cc: null };
    return;
  }
  const ids = Idset.tryParse(set);
  if (ids === null) throw new FluxError("EINVAL", `IDset(): Invalid argument: ${set}`);
  for (const id of ids) {
    const own = cc === null ? null : String(id);
    const label = `cc=${id}: `;
    if (!varies) yield { options, command, label, cc: own };
    else yield { ...replaced(options, command, String(id)), label, cc: own };
  }
}

/** How many replicas there will be. */
export function replicaCount(options: ParsedOptions): number {
  const set = options.text("cc") ?? options.text("bcc");
  return set === null || set === "" ? 1 : (Idset.tryParse(set)?.count ?? 0);
}

function hasTemplate(words: readonly string[]): boolean {
  return words.some((word) => word.includes("{cc}"));
}

function replaced(
  options: ParsedOptions,
  command: readonly string[],
  text: string,
): { readonly options: ParsedOptions; readonly command: readonly string[] } {
  const given = options.given.map(({ name, value }) => ({
    name,
    value: value === null ? null : substitute(value, text),
  }));
  return { options: optionsFrom(given), command: command.map((word) => substitute(word, text)) };
}

/** Replaces `{cc}`, but not what stands in double braces: that is the job's to replace. */
function substitute(word: string, text: string): string {
  return word.replace(/(?<!\{)\{cc\}(?!\})/g, text);
}

/** Builds the submissions of replicas; what is the same in all of them is built once. */
export class SubmissionBuilder {
  readonly #source: SubmissionSource;
  readonly #plugins: SubmissionPlugins;
  #last: { readonly options: ParsedOptions; readonly submission: Submission } | null = null;

  constructor(source: SubmissionSource, plugins: SubmissionPlugins) {
    this.#source = source;
    this.#plugins = plugins;
  }

  /** Throws FluxError EINVAL. */
  async build(replica: Replica): Promise<Submission> {
    const { options, command, cc } = replica;
    let last = this.#last;
    if (last?.options !== options) {
      const input = options.text("input");
      if (input !== null && isRanks(input)) throw new FluxError("EINVAL", "per-task input not supported for submit");
      const jobspec = await this.#plugins.applied(taskJobspec(options, command, this.#source), options);
      last = this.#last = { options, submission: submissionOf(options, jobspec) };
    }
    const { submission } = last;
    if (cc === null) return submission;
    const environment = { ...submission.jobspec.attributes.system?.environment, FLUX_JOB_CC: cc };
    return { ...submission, jobspec: withSystem(submission.jobspec, { environment }) };
  }
}
