/**
 * The calls of a blob database as data, so that they can travel to where the database is, and the engine's answers. Any
 * host that keeps the database elsewhere (a thread, a simulated machine) passes these.
 */
import type { EpochSweep, KeepReason } from "../../base/ports.ts";
import type { BlobEngine } from "./engine.ts";

export type BlobCall =
  | readonly ["load", Uint8Array, boolean]
  | readonly ["has", Uint8Array]
  | readonly ["store", Uint8Array, boolean]
  | readonly ["keep", Uint8Array, KeepReason]
  | readonly ["checkpoints"]
  | readonly ["putCheckpoint", string]
  | readonly ["epochInfo", number | null]
  | readonly ["mark", number, Uint8Array]
  | readonly ["sweep", EpochSweep]
  | readonly ["limit", number | null]
  | readonly ["stats"]
  | readonly ["forgotten"];

/** Does a call; throws what it throws. */
export function perform(engine: BlobEngine, call: BlobCall): unknown {
  switch (call[0]) {
    case "load":
      return engine.load(call[1], call[2]);
    case "has":
      return engine.has(call[1]);
    case "store":
      return engine.store(call[1], call[2]);
    case "keep":
      return engine.keep(call[1], call[2]);
    case "checkpoints":
      return engine.checkpoints();
    case "putCheckpoint":
      return engine.putCheckpoint(call[1]);
    case "epochInfo":
      return engine.epochInfo(call[1]);
    case "mark":
      return engine.mark(call[1], call[2]);
    case "sweep":
      return engine.sweep(call[1]);
    case "limit":
      return engine.limit(call[1]);
    case "stats":
      return engine.stats();
    case "forgotten":
      return engine.forgotten();
  }
}
