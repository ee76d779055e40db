/**
 * Files whose data the content service gives as blobs without storing it (`flux archive create --mmap`): which blob is
 * where in which file. Files belong to a tag, and go with it.
 *
 * Invariant: what is given has the digest that was asked for; a file that has changed since gives nothing.
 */
import { bytesEqual, hexEncode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { FileRegion } from "../../base/file-tree.ts";
import type { HashAlgorithm, Ports } from "../../base/ports.ts";

/** Files are read in pieces of at most this length where nobody wishes shorter ones: a blob must fit in a message. */
const CHUNK_BYTES_MAX: number = 64 * 1024 * 1024;

interface Place {
  readonly tag: string;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

export class MappedFiles {
  readonly #ports: Pick<Ports, "files" | "codec" | "clock">;
  readonly #algorithm: HashAlgorithm;
  /** By digest in hexadecimal. */
  readonly #places = new Map<string, Place>();
  readonly #paths = new Map<string, Set<string>>();

  constructor(ports: Pick<Ports, "files" | "codec" | "clock">, algorithm: HashAlgorithm) {
    this.#ports = ports;
    this.#algorithm = algorithm;
  }

  /** Finds the blobs of a file, a piece per turn. Rejects with ENOENT and the like. */
  async add(path: string, chunkBytes: number, tag: string): Promise<void> {
    const { files, codec } = this.#ports;
    if (!path.startsWith("/")) throw new FluxError("EINVAL", `${path}: path must be fully qualified`);
    const status = files.status(path);
    if (status === null) throw new FluxError("ENOENT", `${path}: No such file or directory`);
    if (status.kind !== "file")
      throw new FluxError("EINVAL", `${path}: not suitable for mapping, it is no regular file`);
    const file = files.open(path);
    try {
      for (const [offset, length] of chunksOf(file.dataRegions(), chunkBytes)) {
        const digest = codec.digest(this.#algorithm, file.read(offset, length));
        this.#places.set(hexEncode(digest), { tag, path, offset, length });
        await this.#turn();
      }
    } finally {
      file.close();
    }
    const paths = this.#paths.get(tag) ?? new Set();
    this.#paths.set(tag, paths.add(path));
  }

  /** Others have their turn. */
  #turn(): Promise<void> {
    return new Promise((resolve) => void this.#ports.clock.after(0, resolve, { background: true }));
  }

  /** Lets go of the files of a tag. */
  remove(tag: string): void {
    this.#paths.delete(tag);
    for (const [key, place] of this.#places) if (place.tag === tag) this.#places.delete(key);
  }

  /** The blob of a digest; null where no file has it, an error where one had it. */
  load(digest: Uint8Array): Uint8Array | FluxError | null {
    const place = this.#places.get(hexEncode(digest));
    if (place === undefined) return null;
    const { path, offset, length } = place;
    try {
      const file = this.#ports.files.open(path);
      try {
        const data = file.read(offset, length);
        if (bytesEqual(this.#ports.codec.digest(this.#algorithm, data), digest)) return data;
      } finally {
        file.close();
      }
      return new FluxError("EIO", "mapped file content has changed");
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      return new FluxError(error.errnum, `mapped file ${path}: ${error.message}`, { cause: error });
    }
  }

  get statistics(): { readonly tags: Record<string, string[]>; readonly blobs: number } {
    const tags = Object.fromEntries(Array.from(this.#paths, ([tag, paths]) => [tag, [...paths]]));
    return { tags, blobs: this.#places.size };
  }
}

function* chunksOf(regions: Iterable<FileRegion>, chunkBytes: number): Generator<FileRegion> {
  const step = chunkBytes > 0 ? Math.min(chunkBytes, CHUNK_BYTES_MAX) : CHUNK_BYTES_MAX;
  for (const [start, length] of regions)
    for (let offset = 0; offset < length; offset += step) yield [start + offset, Math.min(step, length - offset)];
}
