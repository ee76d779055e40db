/** The expressions of `flux pgrep`: a pattern for the job's name, a range of job ids, or both. Pure. */
import { FluxError, errorText } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";

export type JobPattern = (job: { readonly id: Integer; readonly name: string }) => boolean;

/** Reads expressions; a job fits when all of them do. Throws FluxError EINVAL. */
export function parseJobPattern(expressions: readonly string[]): JobPattern {
  let range: { first: Integer; last: Integer } | null = null;
  let name: RegExp | null = null;
  for (const text of expressions) {
    const ids = rangeOf(text);
    if (ids !== null) {
      if (range !== null) throw new FluxError("EINVAL", "expression error: Only one jobid range can be provided");
      range = ids;
    } else {
      if (name !== null) throw new FluxError("EINVAL", "expression error: Only one pattern can be provided");
      name = expressionOf(text.replace(/^name:/, ""));
    }
  }
  return (job) =>
    (range === null || (job.id >= range.first && job.id <= range.last)) && (name === null || name.test(job.name));
}

function rangeOf(text: string): { first: Integer; last: Integer } | null {
  const match = /^(?!name:)(.+)\.\.(.+)$/.exec(text);
  const first = match === null ? null : tryParseFluid(match[1]!);
  const last = match === null ? null : tryParseFluid(match[2]!);
  return first === null || last === null ? null : { first, last };
}

function expressionOf(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new FluxError("EINVAL", `expression error: ${errorText(error)}`, { cause: error });
  }
}
