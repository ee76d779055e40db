/**
 * Blobrefs (RFC 10): the address of a blob as text, `sha1-` or `sha256-` and the digest in lower-case hexadecimal; and
 * its conversion from and to the raw digest that the content service speaks.
 *
 * Does not know how to hash: that is a port.
 */
import { hexDecode, hexEncode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";

export type HashName = "sha1" | "sha256";
export type Blobref = string;

/** Digest lengths in bytes. */
const DIGEST_BYTES: Readonly<Record<HashName, number>> = { sha1: 20, sha256: 32 };

/** Writes a digest as a blobref. Throws FluxError EINVAL where its length is not the hash's. */
export function blobrefFromDigest(hash: HashName, digest: Uint8Array): Blobref {
  if (digest.byteLength !== DIGEST_BYTES[hash]) {
    throw new FluxError("EINVAL", `a ${hash} digest has ${DIGEST_BYTES[hash]} bytes, not ${digest.byteLength}`);
  }
  return `${hash}-${hexEncode(digest)}`;
}

/** Reads a blobref. Throws FluxError EINVAL where the text is none. */
export function parseBlobref(text: string): { hash: HashName; digest: Uint8Array } {
  if (!isBlobref(text)) throw new FluxError("EINVAL", `invalid blobref '${text}'`);
  const at = text.indexOf("-");
  return { hash: text.slice(0, at) as HashName, digest: hexDecode(text.slice(at + 1))! };
}

/** The raw digest of a blobref. Throws FluxError EINVAL where the text is none. */
export function blobrefDigest(text: string): Uint8Array {
  return parseBlobref(text).digest;
}

export function isBlobref(text: unknown): text is Blobref {
  return typeof text === "string" && /^(sha1-[0-9a-f]{40}|sha256-[0-9a-f]{64})$/.test(text);
}
