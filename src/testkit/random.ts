/** The random port from a seed: "unpredictable" only to the code under test. */
import { hexEncode } from "../base/bytes.ts";
import type { Random } from "../base/ports.ts";
import type { Seeded } from "./seeded.ts";

export class SimulatedRandom implements Random {
  readonly #dice: Seeded;

  constructor(dice: Seeded) {
    this.#dice = dice;
  }

  bytes(length: number): Uint8Array {
    return this.#dice.bytes(length);
  }

  uuid(): string {
    const bytes = this.#dice.bytes(16);
    bytes[6] = (bytes[6]! & 0x0f) | 0x40;
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    const hex = hexEncode(bytes);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }
}
