/** The random port on Node: the operating system's generator. */
import type { Random } from "../base/ports.ts";

/** Small requests are cut from one batch: a call into the generator costs more than the bytes. */
const BATCH_BYTES = 4096;

class NodeRandom implements Random {
  #batch = new Uint8Array(0);
  #used = 0;

  bytes(length: number): Uint8Array {
    if (length > BATCH_BYTES / 4) return fill(new Uint8Array(length));
    if (this.#used + length > this.#batch.byteLength) {
      this.#batch = fill(new Uint8Array(BATCH_BYTES));
      this.#used = 0;
    }
    const taken = this.#batch.slice(this.#used, this.#used + length);
    this.#batch.fill(0, this.#used, this.#used + length);
    this.#used += length;
    return taken;
  }

  uuid(): string {
    return process.getBuiltinModule("node:crypto").randomUUID();
  }
}

function fill(target: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return process.getBuiltinModule("node:crypto").randomFillSync(target);
}

export function nodeRandom(): Random {
  return new NodeRandom();
}
