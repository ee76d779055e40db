/**
 * The constraints of a job (RFC 31) joined with those of its queue, and parted from them again when it changes queues.
 */
import type { JsonValue } from "../base/json.ts";
import type { Constraint } from "../formats/constraint.ts";

/** Constraints that must all hold; null where there are none. */
export function joinConstraints(constraints: readonly Constraint[]): Constraint | null {
  const parts = constraints.filter((constraint) => Object.keys(constraint).length > 0);
  if (parts.length <= 1) return parts[0] ?? null;
  // Several lists of properties say the same as one.
  const lists = parts.map((part) => (Object.keys(part).join() === "properties" ? part["properties"] : null));
  if (lists.every((list) => Array.isArray(list))) return { properties: [...new Set(lists.flat() as JsonValue[])] };
  return { and: parts };
}

/** The constraints with the properties of one queue in place of those of another. */
export function moveConstraints(current: Constraint, from: readonly string[], to: readonly string[]): Constraint {
  const rest = withoutProperties(current, from);
  const parts = [...(rest === null ? [] : [rest]), ...(to.length === 0 ? [] : [{ properties: to }])];
  return joinConstraints(parts) ?? {};
}

function withoutProperties(constraint: Constraint, names: readonly string[]): Constraint | null {
  const { properties, and } = constraint;
  if (Array.isArray(properties)) {
    const kept = (properties as JsonValue[]).filter((name) => !names.includes(name as string));
    return kept.length === 0 ? null : { properties: kept };
  }
  if (!Array.isArray(and)) return constraint;
  const parts = (and as Constraint[]).map((part) => withoutProperties(part, names)).filter((part) => part !== null);
  return joinConstraints(parts);
}
