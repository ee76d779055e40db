/** `--define=NAME=CODE`: methods of `flux bulksubmit`, by name, from code in the syntax of Python. Pure. */
import { FluxError } from "../../base/errors.ts";
import type { Methods } from "./bulk-template.ts";
import { compileExpression } from "./python-expression.ts";

/** Reads the definitions in order; the last one of a name counts. Throws FluxError EINVAL for what cannot be read. */
export function parseDefinitions(definitions: readonly string[]): Methods {
  const methods = new Map<string, (input: string) => string>();
  for (const definition of definitions) {
    const at = definition.indexOf("=");
    if (at <= 0) throw new FluxError("EINVAL", `--define=${definition}: must be NAME=CODE`);
    const name = definition.slice(0, at);
    try {
      methods.set(name, compileExpression(definition.slice(at + 1)));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      throw new FluxError("EINVAL", `--define=${definition}: ${error.message}`, { cause: error });
    }
  }
  return methods;
}
