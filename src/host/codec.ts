/**
 * The codec port on Node: digests, zstd compression (RFC 8878), X25519 key agreement (RFC 7748) with raw keys.
 *
 * Modules of Node that not every process needs are loaded at their first use.
 */
import type * as NodeCrypto from "node:crypto";
import { FluxError } from "../base/errors.ts";
import type { Codec, HashAlgorithm, KeyPair } from "../base/ports.ts";
import { nativeAddon, type NativeCompressor } from "./native.ts";

const KEY_BYTES = 32;
/** What comes before the raw key in the DER forms PKCS #8 and SubjectPublicKeyInfo of an X25519 key (RFC 8410). */
const PRIVATE_PREFIX: Buffer = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_PREFIX: Buffer = Buffer.from("302a300506032b656e032100", "hex");
/** Favours speed: blobs are compressed on the path of a checkpoint. */
const COMPRESSION_LEVEL = 1;
/** Decompression stops here: a small input must not fill the memory. */
const DECOMPRESSED_BYTES_MAX: number = 1024 * 1024 * 1024;

let loaded: typeof NodeCrypto | undefined;

/** Loaded when it is first needed: that takes a tenth of what a whole command does. */
function cryptography(): typeof NodeCrypto {
  return (loaded ??= process.getBuiltinModule("node:crypto"));
}

/** An array that does not keep a much larger buffer alive. */
function compact(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > 2 * bytes.byteLength + 1024 ? new Uint8Array(bytes) : bytes;
}

const NO_DICTIONARY = Buffer.alloc(0);
/** By dictionary; undefined where there is no addon, or none for this Node. */
const compressors = new Map<Buffer, NativeCompressor | undefined>();

/** Compresses with zstd, with a dictionary where one is given, which is kept. */
export function zstdCompress(data: Uint8Array, dictionary?: Buffer): Uint8Array {
  const addon = nativeAddon();
  const words = dictionary ?? NO_DICTIONARY;
  if (!compressors.has(words)) compressors.set(words, addon?.compressor(COMPRESSION_LEVEL, words));
  const compressor = compressors.get(words);
  if (compressor !== undefined) return addon!.compress(compressor, data);
  const zlib = process.getBuiltinModule("node:zlib");
  const params = { [zlib.constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL };
  return compact(zlib.zstdCompressSync(data, dictionary === undefined ? { params } : { params, dictionary }));
}

/** Decompresses zstd. Throws EPROTO where the data is damaged or larger than the limit. */
export function zstdDecompress(
  data: Uint8Array,
  maxBytes: number = DECOMPRESSED_BYTES_MAX,
  dictionary?: Buffer,
): Uint8Array {
  const zlib = process.getBuiltinModule("node:zlib");
  const maxOutputLength = Math.max(1, maxBytes);
  try {
    const options = dictionary === undefined ? { maxOutputLength } : { maxOutputLength, dictionary };
    return compact(zlib.zstdDecompressSync(data, options));
  } catch (error) {
    throw new FluxError("EPROTO", `cannot decompress: ${(error as Error).message}`, { cause: error });
  }
}

class NodeCodec implements Codec {
  digest(algorithm: HashAlgorithm, data: Uint8Array): Uint8Array {
    return new Uint8Array(cryptography().hash(algorithm, data, "buffer"));
  }

  digestHex(algorithm: HashAlgorithm, data: Uint8Array | string): string {
    return cryptography().hash(algorithm, data, "hex");
  }

  compress(data: Uint8Array): Uint8Array {
    return zstdCompress(data);
  }

  decompress(data: Uint8Array): Uint8Array {
    return zstdDecompress(data);
  }

  generateKeyPair(): KeyPair {
    const pair = cryptography().generateKeyPairSync("x25519");
    const publicKey = pair.publicKey.export({ format: "der", type: "spki" });
    const privateKey = pair.privateKey.export({ format: "der", type: "pkcs8" });
    return {
      publicKey: new Uint8Array(publicKey.subarray(PUBLIC_PREFIX.byteLength)),
      privateKey: new Uint8Array(privateKey.subarray(PRIVATE_PREFIX.byteLength)),
    };
  }

  sharedSecret(privateKey: Uint8Array, peerPublicKey: Uint8Array): Uint8Array {
    if (privateKey.byteLength !== KEY_BYTES || peerPublicKey.byteLength !== KEY_BYTES) {
      throw new FluxError("EINVAL", `an X25519 key has ${KEY_BYTES} bytes`);
    }
    try {
      const secret = cryptography().diffieHellman({
        privateKey: cryptography().createPrivateKey({
          key: Buffer.concat([PRIVATE_PREFIX, privateKey]),
          format: "der",
          type: "pkcs8",
        }),
        publicKey: cryptography().createPublicKey({
          key: Buffer.concat([PUBLIC_PREFIX, peerPublicKey]),
          format: "der",
          type: "spki",
        }),
      });
      return new Uint8Array(secret);
    } catch (error) {
      throw new FluxError("EPROTO", "the peer's public key is not fit for key agreement", { cause: error });
    }
  }
}

export function nodeCodec(): Codec {
  return new NodeCodec();
}
