/**
 * Messages of the service `content` (RFC 10): blobs by digest, raw payloads both ways. Only the instance owner may call.
 *
 * | topic                      | request                 | response                                                |
 * |----------------------------|-------------------------|---------------------------------------------------------|
 * | store                      | blob                    | digest; EFBIG, ENOSPC                                   |
 * | store-batch                | blobs (`sdk/blob-batch`)| empty, from the backing store; on rank 0 only; ENOSYS   |
 * | load                       | digest                  | blob, a directory in pieces as one; ENOENT, EPROTO      |
 * | load-stored                | digest                  | blob as it is stored; ENOENT, EPROTO                    |
 * | touch                      | digests                 | digests that are missing; the others stay for a while   |
 * | adopt                      | digests                 | the same; the others stay until the key-value store's   |
 * |                            |                         | second next checkpoint, which should reach them         |
 * | forget                     | digests                 | empty: the backing store is about to drop these blobs   |
 * | flush, dropcache           |                         | empty; flush: when nothing is dirty any more            |
 * | checkpoint-get, -put       | none; {value}           | {value}; empty. From the backing store                  |
 * | register-, unregister-backing | {name}; none         | empty: NAME serves `content-backing`                    |
 * | register-volatile          | {name}                  | empty: NAME holds blobs that no store has yet           |
 * | mmap-add                   | {path, chunksize, tag}  | empty: the file's data can be loaded; on rank 0; EINVAL |
 * | mmap-remove                | {tag}                   | empty: the files of this tag are let go                 |
 * | stats-get                  |                         | {count, valid, dirty, size, flush-batch-count, mmap}, on|
 * |                            |                         | rank 0 also {store: {size, live, free, limit}} in bytes |
 *
 * Of `register-volatile`, which is not in RFC 10: NAME, on rank 0, is asked with `NAME.load-blob` (raw digest) for what
 * the cache lacks, and with
 * `NAME.forget` (raw digests) not to rely on the backing store for these blobs any more. Digests stand one behind the other.
 */
import { FluxError } from "../../base/errors.ts";

/** Largest blob by default, in bytes. */
const BLOB_BYTES_MAX: number = 1024 * 1024 * 1024;
/** Memory for blobs that can be had again, in bytes. */
const CACHE_BYTES_MAX: number = 16 * 1024 * 1024;
/** Below this many bytes, age protects blobs, however little memory the cache is to take. */
export const PRESSURE_BYTES_MIN: number = CACHE_BYTES_MAX;
/** A blob that was not used for this time goes when the cache is over its size. */
const CACHE_AGE_MIN_MS = 10_000;
/** A blob of this size that a rank has is not sent upstream once more: it asks whether the store still has it. */
export const TOUCHED_BYTES_MIN = 1024;
/** Larger ones, pieces of long values, pass by: they would only drive out what is needed again. */
export const CACHED_BLOB_BYTES_MAX: number = 256 * 1024;
/** Stores to the backing service under way at once. */
const FLUSH_WINDOW = 256;
/** Pieces of a directory under way at once. */
export const PIECE_WINDOW = 16;
/** A flush that failed is tried again after this time. */
export const FLUSH_RETRY_MS = 1000;

export interface ContentOptions {
  readonly blobBytesMax: number;
  readonly cacheBytesMax: number;
  readonly cacheAgeMinMs: number;
  readonly flushWindow: number;
}

/** Reads module arguments. Throws EINVAL for one that is unknown. */
export function parseOptions(args: readonly string[]): ContentOptions {
  const values = new Map<string, number>();
  for (const argument of args) {
    const match = /^(blob-size-limit|purge-target-size|purge-old-entry|flush-batch-limit)=(\d+)$/.exec(argument);
    if (match === null) throw new FluxError("EINVAL", `unknown module argument '${argument}'`);
    values.set(match[1]!, Number(match[2]));
  }
  const ageSeconds = values.get("purge-old-entry");
  return {
    blobBytesMax: values.get("blob-size-limit") ?? BLOB_BYTES_MAX,
    cacheBytesMax: values.get("purge-target-size") ?? CACHE_BYTES_MAX,
    cacheAgeMinMs: ageSeconds === undefined ? CACHE_AGE_MIN_MS : ageSeconds * 1000,
    flushWindow: values.get("flush-batch-limit") ?? FLUSH_WINDOW,
  };
}
