/** Trees of users' files in memory (`base/file-tree.ts`): one for each simulated machine. */
import { EMPTY_BYTES } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { FileRegion, FileStatus, FileTree, OpenFile } from "../base/file-tree.ts";

const TYPE = { file: 0o100000, directory: 0o040000, symlink: 0o120000, other: 0o010000 } as const;
/** Stretches of zeros of this length and place are holes. */
const BLOCK_BYTES = 4096;
const MTIME_S = 1_700_000_000;

interface Node {
  readonly kind: FileStatus["kind"];
  permissions: number;
  data: Uint8Array;
  readonly target: string;
}

export class SimulatedFileTree implements FileTree {
  readonly #nodes = new Map<string, Node>();
  /** Writing beyond this many bytes of one file is refused with ENOSPC. */
  fileBytesMax: number = Infinity;

  constructor() {
    this.#nodes.set("/", { kind: "directory", permissions: 0o755, data: EMPTY_BYTES, target: "" });
  }

  status(path: string): FileStatus | null {
    const node = this.#nodes.get(path);
    if (node === undefined) return null;
    const { kind, permissions, data } = node;
    return { kind, mode: TYPE[kind] | permissions, sizeBytes: data.byteLength, mtime: MTIME_S, ctime: MTIME_S };
  }

  list(path: string): string[] {
    const prefix = path === "/" ? "/" : `${path}/`;
    const names = Array.from(this.#nodes.keys(), (each) => (each.startsWith(prefix) ? each.slice(prefix.length) : ""));
    return names.filter((name) => name !== "" && !name.includes("/"));
  }

  readLink(path: string): string {
    return this.#existing(path).target;
  }

  open(path: string): OpenFile {
    return this.#openFile(this.#existing(path));
  }

  create(path: string, permissions: number): OpenFile {
    const node: Node = { kind: "file", permissions, data: EMPTY_BYTES, target: "" };
    this.#add(path, node);
    return this.#openFile(node);
  }

  makeLink(target: string, path: string): void {
    this.#add(path, { kind: "symlink", permissions: 0o777, data: EMPTY_BYTES, target });
  }

  makeDirectory(path: string): void {
    this.#add(path, { kind: "directory", permissions: 0o755, data: EMPTY_BYTES, target: "" });
  }

  /** A pipe, a device: what no archive takes. */
  makeOther(path: string): void {
    this.#add(path, { kind: "other", permissions: 0o600, data: EMPTY_BYTES, target: "" });
  }

  setPermissions(path: string, permissions: number): void {
    this.#existing(path).permissions = permissions;
  }

  removeFile(path: string): void {
    if (this.#existing(path).kind === "directory") throw new FluxError("EISDIR");
    this.#nodes.delete(path);
  }

  /** Everything below a path, by path: content of files, targets of links. */
  content(path: string): Record<string, string> {
    const entries = [...this.#nodes].filter(([each]) => each.startsWith(`${path}/`));
    return Object.fromEntries(
      entries.map(([each, { kind, permissions, data, target }]) => [
        each.slice(path.length + 1),
        `${kind} ${permissions.toString(8)} ${kind === "file" ? String.fromCharCode(...data) : target}`,
      ]),
    );
  }

  #existing(path: string): Node {
    const node = this.#nodes.get(path);
    if (node === undefined) throw new FluxError("ENOENT");
    return node;
  }

  #add(path: string, node: Node): void {
    if (this.#nodes.has(path)) throw new FluxError("EEXIST");
    const above = path.slice(0, path.lastIndexOf("/")) || "/";
    if (this.#existing(above).kind !== "directory") throw new FluxError("ENOTDIR");
    this.#nodes.set(path, node);
  }

  #openFile(node: Node): OpenFile {
    const resize = (length: number): void => {
      if (length > this.fileBytesMax) throw new FluxError("ENOSPC");
      const data = new Uint8Array(length);
      data.set(node.data.subarray(0, length));
      node.data = data;
    };
    return {
      read: (offset, length) => node.data.slice(offset, offset + length),
      write(offset, data) {
        if (offset + data.byteLength > node.data.byteLength) resize(offset + data.byteLength);
        node.data.set(data, offset);
      },
      setLength: resize,
      dataRegions: () => regionsOf(node.data),
      close: () => {},
    };
  }
}

function* regionsOf(data: Uint8Array): Generator<FileRegion> {
  let start = -1;
  for (let offset = 0; offset < data.byteLength; offset += BLOCK_BYTES) {
    const isZero = data.subarray(offset, offset + BLOCK_BYTES).every((byte) => byte === 0);
    if (isZero && start >= 0) yield [start, offset - start];
    if (isZero) start = -1;
    else if (start < 0) start = offset;
  }
  if (start >= 0) yield [start, data.byteLength - start];
}
