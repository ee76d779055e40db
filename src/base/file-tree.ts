/**
 * The door to the files of users: trees of files, directories and symbolic links, as archives are made of them. (A broker's
 * own files are behind `Disk` in `ports.ts`.)
 *
 * Symbolic links are never followed at the last part of a path. Errors are FluxError and do not name the path.
 */

export interface FileStatus {
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Type and permissions, as st_mode. */
  readonly mode: number;
  readonly sizeBytes: number;
  /** Whole seconds since the epoch. */
  readonly mtime: number;
  readonly ctime: number;
}

/** A stretch of a file: offset and length in bytes. */
export type FileRegion = readonly [offset: number, length: number];

export interface OpenFile {
  /** Up to so many bytes from an offset; fewer at the end only. */
  read(offset: number, length: number): Uint8Array;
  /** Throws ENOSPC, EIO. */
  write(offset: number, data: Uint8Array): void;
  setLength(length: number): void;
  /** The stretches that hold data, in order; what is between them reads as zeros. */
  dataRegions(): Iterable<FileRegion>;
  close(): void;
}

export interface FileTree {
  /** Null where nothing is at the path. */
  status(path: string): FileStatus | null;
  /** The names in a directory, in no order. */
  list(path: string): string[];
  readLink(path: string): string;
  open(path: string): OpenFile;
  /** Makes an empty file with these permissions, whatever the umask. Throws EEXIST. */
  create(path: string, permissions: number): OpenFile;
  /** Throws EEXIST. */
  makeLink(target: string, path: string): void;
  makeDirectory(path: string): void;
  setPermissions(path: string, permissions: number): void;
  /** Removes a file or link. */
  removeFile(path: string): void;
}
