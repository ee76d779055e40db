/** RFC 31 constraints as predicates over the nodes of the inventory. */
import { stringifyJson, type JsonValue } from "../../base/json.ts";
import { compileConstraint } from "../../formats/constraint.ts";
import type { NodeConstraint } from "./choice.ts";

/** Throws FluxError EINVAL where the value is no constraint. */
export function parseNodeConstraint(value: JsonValue): NodeConstraint {
  const matcher = compileConstraint(value);
  return {
    key: stringifyJson(value),
    matches: (node) =>
      matcher({ rank: node.rank, host: node.hostname, hasProperty: (name) => node.properties.includes(name) }),
  };
}
