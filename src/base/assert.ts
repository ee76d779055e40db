/**
 * Assertions state what our own code guarantees. They stay on in production: a broker whose state broke must not go on.
 * Bytes from a socket or a disk are parsed and refused with a FluxError, never asserted.
 */

class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Whether an error says that an invariant of ours is broken. */
export function isBrokenInvariant(error: unknown): boolean {
  return error instanceof AssertionError;
}

export function assert(condition: unknown, text: string): asserts condition {
  if (!condition) throw new AssertionError(text);
}
