/** The codec port of production, but for key pairs: those come from the seed. */
import { concatBytes } from "../base/bytes.ts";
import type { Codec, HashAlgorithm, KeyPair } from "../base/ports.ts";
import { nodeCodec } from "../host/codec.ts";
import type { Seeded } from "./seeded.ts";

const real: Codec = nodeCodec();

export class SimulatedCodec implements Codec {
  readonly #dice: Seeded;

  constructor(dice: Seeded) {
    this.#dice = dice;
  }

  digest(algorithm: HashAlgorithm, data: Uint8Array): Uint8Array {
    return real.digest(algorithm, data);
  }
  digestHex(algorithm: HashAlgorithm, data: Uint8Array | string): string {
    return real.digestHex(algorithm, data);
  }
  compress(data: Uint8Array): Uint8Array {
    return real.compress(data);
  }
  decompress(data: Uint8Array): Uint8Array {
    return real.decompress(data);
  }

  generateKeyPair(): KeyPair {
    const privateKey = this.#dice.bytes(32);
    return { privateKey, publicKey: publicOf(privateKey) };
  }

  /** Symmetric, and different for every pair of keys: all that a simulation needs of a key agreement. */
  sharedSecret(privateKey: Uint8Array, peerPublicKey: Uint8Array): Uint8Array {
    const own = publicOf(privateKey);
    const isOwnFirst = compare(own, peerPublicKey) < 0;
    return real.digest("sha256", concatBytes(isOwnFirst ? [own, peerPublicKey] : [peerPublicKey, own]));
  }
}

function publicOf(privateKey: Uint8Array): Uint8Array {
  return real.digest("sha256", privateKey);
}

function compare(left: Uint8Array, right: Uint8Array): number {
  for (let index = 0; index < left.length; index++)
    if (left[index] !== right[index]) return (left[index] ?? 0) - (right[index] ?? 0);
  return 0;
}
