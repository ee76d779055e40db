/**
 * Assertions state what our own code guarantees. They stay on in production: a broker whose state broke must not go on.
 * Bytes from a socket or a disk are parsed and refused with a FluxError, never asserted.
 */

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

export function assert(condition: unknown, text: string): asserts condition {
  if (!condition) throw new AssertionError(text);
}

/** Marks a branch that the types rule out; a new member of the union makes it a compile error. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
