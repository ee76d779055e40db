/**
 * What a seed decides about a run: sizes, workload, and which kinds of fault happen in it at all. Each kind is switched
 * on or off per run, so that some runs have none and some have only one (swarm testing).
 */
import { Seeded } from "../../src/testkit/seeded.ts";

export interface Plan {
  readonly size: number;
  readonly kvsActors: number;
  readonly kvsOperations: number;
  readonly jobs: number;
  /** kill -9 of a broker without children, in the middle. */
  readonly killsLeaf: boolean;
  /** kill -9 of rank 0; afterwards the instance is started again from its statedir. */
  readonly killsLeader: boolean;
  /** Rank 0's machine loses power instead: what was not synced is partly gone. */
  readonly losesPower: boolean;
  /** A stream between two brokers breaks. */
  readonly resetsLink: boolean;
  /** A machine's cable is out for a while. */
  readonly cutsCable: boolean;
  readonly durability: "fsync" | "process";
  readonly topology: string;
}

export function planOf(seed: string): Plan {
  const dice = new Seeded(`plan ${seed}`);
  const size = dice.pick([1, 2, 3, 4, 4, 5, 7]);
  const killsLeader = dice.chance(0.35);
  const losesPower = killsLeader && dice.chance(0.4);
  return {
    size,
    kvsActors: dice.between(1, 4),
    kvsOperations: dice.between(5, 30),
    jobs: dice.pick([0, 1, 3, 6, 12]),
    killsLeaf: size > 1 && dice.chance(0.25),
    killsLeader,
    losesPower,
    resetsLink: size > 1 && dice.chance(0.2),
    cutsCable: size > 1 && dice.chance(0.2),
    // Power loss may take what was acknowledged unless the user asked for more.
    durability: losesPower ? "fsync" : dice.pick(["fsync", "process"]),
    topology: dice.pick(["kary:1", "kary:2", "kary:32"]),
  };
}
