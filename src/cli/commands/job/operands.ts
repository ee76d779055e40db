/** Job ids on the command lines of `flux job`. */
import { FluxError } from "../../../base/errors.ts";
import type { Integer } from "../../../base/json.ts";
import { tryParseFluid } from "../../../formats/fluid.ts";

/** A job id in any form. Throws FluxError EINVAL. */
export function requireJobId(text: string): Integer {
  const id = tryParseFluid(text);
  if (id === null) throw new FluxError("EINVAL", `error parsing jobid: "${text}"`);
  return id;
}
