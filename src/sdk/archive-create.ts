/**
 * Makes an archive of files (see `archive.ts`): walks them, stores the data of larger ones as blobs, some at a time, and
 * commits the list and the references to the blobs together.
 *
 * Invariants: holes of sparse files are not stored; nothing is to be seen under the archive's key until all is stored.
 */
import { EMPTY_BYTES, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { FileStatus, FileTree, OpenFile } from "../base/file-tree.ts";
import { stringifyJson, type JsonValue } from "../base/json.ts";
import type { Codec } from "../base/ports.ts";
import { encodeEntry, isSafePath, type ArchiveEntry, type BlobRegion } from "../formats/archive.ts";
import { blobrefFromDigest, type Blobref, type HashName } from "../formats/blobref.ts";
import { makeValref } from "../formats/treeobj.ts";
import { archiveBlobsKey, archiveExists, archiveKey, readArchiveList, removeArchive } from "./archive.ts";
import { KvsTransaction, type Kvs } from "./kvs.ts";
import { Window } from "./window.ts";
import { getAttribute } from "./attributes.ts";

export const CHUNK_BYTES: number = 1024 * 1024;
export const SMALL_FILE_BYTES = 1024;
/** Blobs that are stored at once. */
const WINDOW = 8;

export interface ArchiveCreation {
  readonly name: string;
  /** Relative to `directory`; directories with all they hold. */
  readonly paths: readonly string[];
  /** An absolute path. */
  readonly directory: string;
  /** What happens where the archive exists. */
  readonly existing: "refuse" | "append" | "overwrite";
  /** Largest blob, in bytes. */
  readonly chunkBytes: number;
  /** Files up to this size stand in the list itself. */
  readonly smallFileBytes: number;
  /** Larger files stay where they are, and rank 0 reads them when they are asked for. */
  readonly isMapped: boolean;
  /** Called for each entry, when it is in. */
  added?(path: string): void;
}

export interface CreationPorts {
  readonly files: FileTree;
  readonly codec: Pick<Codec, "digest">;
}

/**
 * Makes an archive. Throws EEXIST where it exists and must not; EINVAL where files are to be mapped
 * and this is not rank 0, which would read its own; FluxErrors of files begin with their path: ENOENT, EACCES,
 * EINVAL for what is no file, directory or link.
 */
export async function createArchive(kvs: Kvs, ports: CreationPorts, creation: ArchiveCreation): Promise<void> {
  const { name, existing } = creation;
  const blobs = creation.isMapped ? await FileMap.open(kvs, ports, creation) : new BlobStore(kvs, creation.chunkBytes);
  const exists = await archiveExists(kvs, name);
  if (exists && existing === "refuse") throw new FluxError("EEXIST", `${archiveKey(name)}: key exists`);
  if (exists && existing === "overwrite") await removeArchive(kvs, name);
  const before = exists && existing === "append" ? await readArchiveList(kvs, name) : [];
  const entries: ArchiveEntry[] = [];
  for (const path of creation.paths) await new Walk(ports.files, creation, blobs, entries).visit(path);
  const refs = await blobs.finish();
  await commitArchive(kvs, name, [...before, ...entries.map((entry) => encodeEntry(entry))], refs);
}

/** Puts the list and references to the blobs it needs, in one commit. */
async function commitArchive(
  kvs: Kvs,
  name: string,
  list: readonly JsonValue[],
  refs: ReadonlySet<Blobref>,
): Promise<void> {
  const text = utf8Encode(stringifyJson(list));
  const transaction = new KvsTransaction().putTreeObject(archiveKey(name), await kvs.storeValue([text]));
  let number = refs.size === 0 ? 0 : await referenceCount(kvs, name);
  for (const ref of refs) transaction.putTreeObject(`${archiveBlobsKey(name)}.${number++}`, makeValref([ref]));
  await kvs.commit(transaction);
}

/** How many references an archive that is appended to has already. */
async function referenceCount(kvs: Kvs, name: string): Promise<number> {
  try {
    return Object.keys(await kvs.getDirectory(archiveBlobsKey(name))).length;
  } catch (error) {
    if (error instanceof FluxError && error.is("ENOENT")) return 0;
    throw error;
  }
}

/** Where the data of larger files goes. */
interface DataSink {
  /** Takes a file's data; resolves when it is on its way. The regions are complete once `finish` has resolved. */
  take(path: string, file: OpenFile): Promise<BlobRegion[]>;
  /** Resolves with the blobs that must be referred to. */
  finish(): Promise<ReadonlySet<Blobref>>;
}

/** The stretches of a file that hold data, none longer than a chunk. */
function* chunksOf(file: OpenFile, chunkBytes: number): Generator<readonly [offset: number, length: number]> {
  for (const [start, length] of file.dataRegions()) {
    const step = chunkBytes === 0 ? length : chunkBytes;
    for (let offset = 0; offset < length; offset += step) yield [start + offset, Math.min(step, length - offset)];
  }
}

/** Stores data as blobs in the content store. */
class BlobStore implements DataSink {
  readonly #kvs: Kvs;
  readonly #chunkBytes: number;
  readonly #refs = new Set<Blobref>();
  readonly #window = new Window(WINDOW);

  constructor(kvs: Kvs, chunkBytes: number) {
    this.#kvs = kvs;
    this.#chunkBytes = chunkBytes;
  }

  async take(_path: string, file: OpenFile): Promise<BlobRegion[]> {
    const regions: BlobRegion[] = [];
    for (const [offset, length] of chunksOf(file, this.#chunkBytes)) {
      const data = file.read(offset, length);
      if (data.byteLength < length) throw new FluxError("EIO", "file changed while it was read");
      const position = regions.push([offset, length, ""]) - 1;
      await this.#window.add(this.#store(data).then((ref) => void (regions[position] = [offset, length, ref])));
    }
    return regions;
  }

  async #store(data: Uint8Array): Promise<Blobref> {
    const answer = await this.#kvs.handle.call("content.store", data);
    const ref = blobrefOf(answer?.bytes ?? EMPTY_BYTES);
    this.#refs.add(ref);
    return ref;
  }

  async finish(): Promise<ReadonlySet<Blobref>> {
    await this.#window.finish();
    return this.#refs;
  }
}

function blobrefOf(digest: Uint8Array): Blobref {
  return blobrefFromDigest(digest.byteLength === 20 ? "sha1" : "sha256", digest);
}

/** Leaves data where it is: only its hashes are taken, and rank 0 is told of the file. */
class FileMap implements DataSink {
  readonly #kvs: Kvs;
  readonly #codec: Pick<Codec, "digest">;
  readonly #creation: ArchiveCreation;
  readonly #hash: HashName;

  private constructor(kvs: Kvs, codec: Pick<Codec, "digest">, creation: ArchiveCreation, hash: HashName) {
    this.#kvs = kvs;
    this.#codec = codec;
    this.#creation = creation;
    this.#hash = hash;
  }

  static async open(kvs: Kvs, ports: CreationPorts, creation: ArchiveCreation): Promise<FileMap> {
    if ((await getAttribute(kvs.handle, "rank")) !== "0")
      throw new FluxError("EINVAL", "--mmap only works on the rank 0 broker");
    return new FileMap(kvs, ports.codec, creation, (await getAttribute(kvs.handle, "content.hash")) as HashName);
  }

  async take(path: string, file: OpenFile): Promise<BlobRegion[]> {
    const { chunkBytes, name, directory } = this.#creation;
    const regions: BlobRegion[] = [];
    for (const [offset, length] of chunksOf(file, chunkBytes))
      regions.push([offset, length, blobrefOf(this.#codec.digest(this.#hash, file.read(offset, length)))]);
    // Where there is nothing but holes there is nothing to give.
    if (regions.length === 0) return regions;
    const request = { path: path.startsWith("/") ? path : `${directory}/${path}`, chunksize: chunkBytes, tag: name };
    await this.#kvs.handle.rpc("content.mmap-add", request, { nodeid: 0 });
    return regions;
  }

  finish(): Promise<ReadonlySet<Blobref>> {
    return Promise.resolve(new Set());
  }
}

/** Visits a path with all that is under it, contents before their directory. */
class Walk {
  readonly #files: FileTree;
  readonly #creation: ArchiveCreation;
  readonly #data: DataSink;
  readonly #entries: ArchiveEntry[];

  constructor(files: FileTree, creation: ArchiveCreation, data: DataSink, entries: ArchiveEntry[]) {
    this.#files = files;
    this.#creation = creation;
    this.#data = data;
    this.#entries = entries;
  }

  async visit(path: string): Promise<void> {
    try {
      await this.#visit(path.replace(/(.)\/+$/, "$1"));
    } catch (error) {
      if (!(error instanceof FluxError) || error instanceof PathError) throw error;
      throw new PathError(path, error);
    }
  }

  async #visit(path: string): Promise<void> {
    const stored = storedPath(path);
    const place = path.startsWith("/") ? path : `${this.#creation.directory}/${path}`;
    const status = this.#files.status(place);
    if (status === null) throw new FluxError("ENOENT");
    if (status.kind === "directory")
      for (const name of this.#files.list(place)) await this.visit(path === "." ? name : `${path}/${name}`);
    const { mode, mtime, ctime } = status;
    // The directory itself that the archive is made of has no name in it.
    if (stored === "") return;
    const entry = await this.#entryOf({ path: stored, mode, mtime, ctime }, place, status);
    this.#entries.push(entry);
    this.#creation.added?.(stored);
  }

  async #entryOf(
    common: Pick<ArchiveEntry, "path" | "mode" | "mtime" | "ctime">,
    place: string,
    status: FileStatus,
  ): Promise<ArchiveEntry> {
    switch (status.kind) {
      case "directory":
        return { ...common, kind: "directory" };
      case "symlink":
        return { ...common, kind: "symlink", target: this.#files.readLink(place) };
      case "other":
        throw new FluxError("EINVAL", "unsupported file type");
      default: {
        const file = this.#files.open(place);
        try {
          return await this.#fileEntry(common, place, status.sizeBytes, file);
        } finally {
          file.close();
        }
      }
    }
  }

  async #fileEntry(
    common: Pick<ArchiveEntry, "path" | "mode" | "mtime" | "ctime">,
    place: string,
    size: number,
    file: OpenFile,
  ): Promise<ArchiveEntry> {
    if (size === 0) return { ...common, kind: "empty", size };
    if (size <= this.#creation.smallFileBytes)
      return isHole(file)
        ? { ...common, kind: "empty", size }
        : { ...common, kind: "bytes", bytes: file.read(0, size) };
    const regions = await this.#data.take(place, file);
    return regions.length === 0 ? { ...common, kind: "empty", size } : { ...common, kind: "blobs", size, regions };
  }
}

/** Whether nothing of a file is on the disk. */
function isHole(file: OpenFile): boolean {
  return file.dataRegions()[Symbol.iterator]().next().done === true;
}

/** A failure that says already which path it is about. */
class PathError extends FluxError {
  constructor(path: string, error: FluxError) {
    super(error.errnum, `${path}: ${error.message}`, { cause: error });
  }
}

/** The path that an archive has for one that a user gives: relative, in normal form; empty for the directory itself. Throws EINVAL. */
function storedPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  const stored = parts.join("/");
  if (stored !== "" && !isSafePath(stored))
    throw new FluxError("EINVAL", "a path in an archive has no '..': change to a directory above it first (-C DIR)");
  return stored;
}
