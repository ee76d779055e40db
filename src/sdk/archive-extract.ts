/**
 * Writes the entries of an archive (see `archive.ts`) below a directory. Their blobs are fetched some at a time, and
 * written where they belong; holes stay holes.
 *
 * Invariants: nothing is written outside of the directory, whatever an archive says: not by a path, nor through a symbolic
 * link on the way. Nothing that is there is touched unless that is wanted. A file that could not be written whole is
 * removed.
 */
import { FluxError } from "../base/errors.ts";
import type { FileTree, OpenFile } from "../base/file-tree.ts";
import type { ArchiveEntry, BlobRegion } from "../formats/archive.ts";
import { blobrefDigest } from "../formats/blobref.ts";
import type { Payload } from "../protocol/message.ts";
import type { Handle } from "./handle.ts";
import { inOrder } from "./window.ts";

/** Blobs that are fetched at once, of one file or of several. */
const WINDOW = 8;
const PERMISSIONS = 0o777;
/** Directories that no entry describes, and those being filled. */
const OWNER_PERMISSIONS = 0o700;

export interface Extraction {
  /** An absolute path; it must exist. */
  readonly directory: string;
  /** Files and links that are there are replaced; otherwise they fail the extraction. */
  readonly overwrites: boolean;
  /** Also symbolic links that point outside of the directory. */
  readonly allowsOutsideLinks: boolean;
  /** Called for each entry before it is written. */
  extracting?(entry: ArchiveEntry): void;
}

/** Writes entries. Rejects with FluxErrors that begin with the path of the entry. */
export async function extractArchive(
  handle: Handle,
  files: FileTree,
  entries: readonly ArchiveEntry[],
  extraction: Extraction,
): Promise<void> {
  const writer = new Writer(handle, files, entries, extraction);
  for (const entry of entries) {
    extraction.extracting?.(entry);
    try {
      await writer.write(entry);
    } catch (error) {
      if (error instanceof FluxError)
        throw new FluxError(error.errnum, `${entry.path}: ${error.message}`, { cause: error });
      throw error;
    }
  }
  writer.finish();
}

class Writer {
  readonly #handle: Handle;
  readonly #files: FileTree;
  readonly #extraction: Extraction;
  /** The blobs of all entries, in their order: those of the next file come while one is written. */
  readonly #blobs: AsyncIterator<Payload | null>;
  /** Directories that are there for certain, by path in the archive. */
  readonly #directories = new Set<string>([""]);
  /** A directory that nobody may write to gets its permissions when all is in it. */
  readonly #permissions = new Map<string, number>();

  constructor(handle: Handle, files: FileTree, entries: readonly ArchiveEntry[], extraction: Extraction) {
    this.#handle = handle;
    this.#files = files;
    this.#extraction = extraction;
    const regions = entries.flatMap((entry) => (entry.kind === "blobs" ? entry.regions : []));
    this.#blobs = inOrder(regions, WINDOW, (region) => this.#load(region));
  }

  async write(entry: ArchiveEntry): Promise<void> {
    const permissions = entry.mode & PERMISSIONS;
    const slash = entry.path.lastIndexOf("/");
    this.#makeDirectory(entry.path.slice(0, Math.max(0, slash)));
    const place = `${this.#extraction.directory}/${entry.path}`;
    if (entry.kind === "directory") {
      this.#makeDirectory(entry.path);
      this.#permissions.set(place, permissions);
      return;
    }
    this.#makeRoom(place);
    if (entry.kind === "symlink") {
      this.#checkTarget(entry.path, entry.target);
      return this.#files.makeLink(entry.target, place);
    }
    const file = this.#files.create(place, permissions);
    try {
      if (entry.kind === "bytes") file.write(0, entry.bytes);
      else {
        if (entry.kind === "blobs") await this.#writeBlobs(file, entry.regions);
        file.setLength(entry.size);
      }
    } catch (error) {
      this.#files.removeFile(place);
      throw error;
    } finally {
      file.close();
    }
  }

  finish(): void {
    for (const [place, permissions] of [...this.#permissions].toReversed())
      this.#files.setPermissions(place, permissions);
  }

  /** Makes a directory with those above it. Throws ENOTDIR where something else, a symbolic link too, is in the way. */
  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) return;
    this.#makeDirectory(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
    const place = `${this.#extraction.directory}/${path}`;
    const status = this.#files.status(place);
    if (status === null) {
      this.#files.makeDirectory(place);
    } else if (status.kind !== "directory")
      throw new FluxError(
        "ENOTDIR",
        `${path} is in the way: ${status.kind === "symlink" ? "a symbolic link" : "no directory"}`,
      );
    else if ((status.mode & OWNER_PERMISSIONS) !== OWNER_PERMISSIONS) {
      this.#permissions.set(place, status.mode & PERMISSIONS);
      this.#files.setPermissions(place, (status.mode & PERMISSIONS) | OWNER_PERMISSIONS);
    }
    this.#directories.add(path);
  }

  #makeRoom(place: string): void {
    const status = this.#files.status(place);
    if (status === null) return;
    if (!this.#extraction.overwrites) throw new FluxError("EEXIST", "write: Attempt to overwrite existing file");
    if (status.kind === "directory") throw new FluxError("EISDIR");
    this.#files.removeFile(place);
  }

  /** Throws EPERM where a link would lead out of the directory. */
  #checkTarget(path: string, target: string): void {
    if (this.#extraction.allowsOutsideLinks) return;
    let depth = path.split("/").length - 1;
    const leavesBy = (part: string): boolean => {
      if (part === "" || part === ".") return false;
      depth += part === ".." ? -1 : 1;
      return depth < 0;
    };
    if (target.startsWith("/") || target.split("/").some(leavesBy))
      throw new FluxError(
        "EPERM",
        `a symbolic link to ${target} leads out of the directory (--allow-outside-links takes it)`,
      );
  }

  async #writeBlobs(file: OpenFile, regions: readonly BlobRegion[]): Promise<void> {
    for (const [offset, size] of regions) {
      const blob: Payload | null = (await this.#blobs.next()).value;
      const byteLength = blob?.byteLength ?? 0;
      if (byteLength !== size)
        throw new FluxError("EIO", `the blob at offset ${offset} has ${byteLength} bytes instead of ${size}`);
      let position = offset;
      for (const piece of blob?.inPieces() ?? []) {
        file.write(position, piece);
        position += piece.byteLength;
      }
    }
  }

  async #load([offset, size, ref]: BlobRegion): Promise<Payload | null> {
    try {
      return await this.#handle.call("content.load", blobrefDigest(ref));
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      const text = `error loading offset=${offset} size=${size} from ${ref}: ${error.message}`;
      throw new FluxError(error.errnum, text, { cause: error });
    }
  }
}
