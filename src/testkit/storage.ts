/**
 * What is on the disk of a simulated machine: names and bytes, each as the page cache has them and as they are durable.
 *
 * The death of a process loses nothing of the page cache. Power loss loses what was not synchronised: of the names that
 * were made, renamed or removed a suffix of these changes (file systems journal them in order, over all directories), of
 * each file what came after its last sync: all of it, nothing, or a part, which may be torn (short, or as long as it
 * was with zeros in it), of a database a suffix of its transactions. Directories are durable when they are made.
 *
 * Every operation that changes something is told to an observer before it happens, so that a test can take an image of
 * the disk at every point, and go on from it.
 */
import { EMPTY_BYTES } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { BlobTables, type BlobTablesImage } from "./blob-tables.ts";
import type { Seeded } from "./seeded.ts";
import type { Timeline } from "./timeline.ts";

const SECTOR_BYTES = 64;

/** What a name leads to. The arrays are never changed in place. */
export interface Inode {
  readonly kind: "file" | "directory" | "database";
  /** What the page cache has. */
  data: Uint8Array;
  /** What the last sync saw. */
  durable: Uint8Array;
  readonly mode: number;
  mtime: number;
  readonly database: BlobTables | null;
}

/** A change to the names of files that is not durable yet. */
type NameChange =
  | { readonly kind: "set"; readonly path: string; readonly inode: Inode }
  | { readonly kind: "rename"; readonly from: string; readonly path: string; readonly inode: Inode }
  | { readonly kind: "remove"; readonly path: string };

/** An operation that is about to happen. */
export interface Operation {
  readonly kind: "append" | "truncate" | "create" | "write" | "rename" | "remove" | "sync" | "transaction";
  readonly path: string;
  /** What an append or a write is about to add. */
  readonly data?: Uint8Array;
}

type FrozenInode = Omit<Inode, "database"> & { readonly database: BlobTablesImage | null };

/** A disk at one moment. Nothing changes it. */
export interface StorageImage {
  readonly names: ReadonlyMap<string, FrozenInode>;
  readonly durableNames: ReadonlyMap<string, FrozenInode>;
  readonly pending: readonly (
    | { readonly kind: "set" | "rename"; readonly from?: string; readonly path: string; readonly inode: FrozenInode }
    | { readonly kind: "remove"; readonly path: string }
  )[];
}

/** How much of what is not durable survives a crash. */
export type Survival = "all" | "none" | "part";

/** The disk of one machine. */
export class Storage {
  /** Names as running processes see them. */
  readonly files: Map<string, Inode> = new Map();
  readonly timeline: Timeline;
  readonly dice: Seeded;
  /** Stores are refused with ENOSPC beyond this many bytes. */
  capacityBytes: number = Number.MAX_SAFE_INTEGER;
  /** Hears of each operation before it happens. */
  observer: ((operation: Operation) => void) | null = null;
  #durableNames = new Map<string, Inode>();
  #pending: NameChange[] = [];

  constructor(timeline: Timeline, dice: Seeded) {
    this.timeline = timeline;
    this.dice = dice;
    for (const path of ["/", "/tmp"]) this.addDirectory(path, 0o755);
  }

  /** An operation is about to happen. */
  begin(operation: Operation): void {
    this.observer?.(operation);
  }

  addDirectory(path: string, mode: number): void {
    const inode = this.#inode("directory", EMPTY_BYTES, mode, null);
    this.files.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Makes a name for a new file. */
  addFile(path: string, data: Uint8Array, mode: number): Inode {
    const inode = this.#inode("file", data, mode, null);
    this.files.set(path, inode);
    this.#pending.push({ kind: "set", path, inode });
    return inode;
  }

  /** Makes a database; that it exists is durable, what is put into it is not. */
  addDatabase(path: string): Inode {
    const inode = this.#inode("database", EMPTY_BYTES, 0o600, new BlobTables());
    this.files.set(path, inode);
    this.#durableNames.set(path, inode);
    return inode;
  }

  #inode(kind: Inode["kind"], data: Uint8Array, mode: number, database: BlobTables | null): Inode {
    return { kind, data, durable: EMPTY_BYTES, mode, mtime: this.timeline.wallclock, database };
  }

  renameFile(from: string, path: string): void {
    const inode = this.files.get(from)!;
    this.files.delete(from);
    this.files.set(path, inode);
    this.#pending.push({ kind: "rename", from, path, inode });
    for (const below of this.#below(from)) this.renameFile(below, path + below.slice(from.length));
  }

  removeFile(path: string): void {
    for (const below of this.#below(path)) this.removeFile(below);
    const inode = this.files.get(path);
    if (inode === undefined) return;
    this.files.delete(path);
    this.#pending.push({ kind: "remove", path });
  }

  #below(path: string): string[] {
    return [...this.files.keys()].filter(
      (each) => each.startsWith(`${path}/`) && !each.slice(path.length + 1).includes("/"),
    );
  }

  /** Every change to names until now is durable: what the sync of a directory does on a file system with a journal. */
  syncNames(): void {
    for (const change of this.#pending) applyChange(this.#durableNames, change);
    this.#pending = [];
  }

  usedBytes(): number {
    let total = 0;
    for (const file of this.files.values()) total += file.data.byteLength + (file.database?.bytes ?? 0);
    return total;
  }

  /** Throws ENOSPC where there is no room for so many bytes more. */
  claim(bytes: number): void {
    if (this.capacityBytes === Number.MAX_SAFE_INTEGER) return;
    if (this.usedBytes() + bytes > this.capacityBytes) throw new FluxError("ENOSPC", "No space left on device");
  }

  /** Power loss, with a random part of what is not durable kept. All processes of the machine must be dead. */
  crash(survival: Survival = "part"): void {
    this.restore(crashed(this.image(), survival, this.dice));
  }

  /** The disk as it is now. */
  image(): StorageImage {
    const frozen = new Map<Inode, FrozenInode>();
    const freeze = (inode: Inode): FrozenInode => {
      let copy = frozen.get(inode);
      if (copy === undefined) frozen.set(inode, (copy = { ...inode, database: inode.database?.image() ?? null }));
      return copy;
    };
    const freezeAll = (names: ReadonlyMap<string, Inode>): Map<string, FrozenInode> =>
      new Map(Array.from(names, ([path, inode]) => [path, freeze(inode)]));
    return {
      names: freezeAll(this.files),
      durableNames: freezeAll(this.#durableNames),
      pending: this.#pending.map((change) =>
        change.kind === "remove" ? change : { ...change, inode: freeze(change.inode) },
      ),
    };
  }

  /** Makes the disk what an image says. */
  restore(image: StorageImage): void {
    const thawed = new Map<FrozenInode, Inode>();
    const thaw = (inode: FrozenInode): Inode => {
      let copy = thawed.get(inode);
      if (copy === undefined) {
        copy = { ...inode, database: inode.database === null ? null : new BlobTables(inode.database) };
        thawed.set(inode, copy);
      }
      return copy;
    };
    this.files.clear();
    for (const [path, inode] of image.names) this.files.set(path, thaw(inode));
    this.#durableNames = new Map(Array.from(image.durableNames, ([path, inode]) => [path, thaw(inode)]));
    this.#pending = image.pending.map((change): NameChange =>
      change.kind === "remove"
        ? { kind: "remove", path: change.path }
        : ({ ...change, inode: thaw(change.inode) } as NameChange),
    );
  }
}

function applyChange<I>(
  names: Map<string, I>,
  change: { readonly kind: string; readonly path: string; readonly from?: string; readonly inode?: I },
): void {
  if (change.from !== undefined) names.delete(change.from);
  if (change.inode === undefined) names.delete(change.path);
  else names.set(change.path, change.inode);
}

/** What an image is after power loss: everything in it is durable. */
export function crashed(image: StorageImage, survival: Survival, dice: Seeded): StorageImage {
  const names = new Map(image.durableNames);
  const keptChanges = keptOf(image.pending.length, survival, dice);
  for (const change of image.pending.slice(0, keptChanges)) applyChange(names, change);
  const after = new Map<FrozenInode, FrozenInode>();
  for (const [path, inode] of names) {
    let copy = after.get(inode);
    if (copy === undefined) after.set(inode, (copy = crashedInode(inode, survival, dice)));
    names.set(path, copy);
  }
  return { names, durableNames: names, pending: [] };
}

function keptOf(count: number, survival: Survival, dice: Seeded): number {
  return survival === "all" ? count : survival === "none" ? 0 : dice.between(0, count);
}

function crashedInode(inode: FrozenInode, survival: Survival, dice: Seeded): FrozenInode {
  const { database } = inode;
  if (database !== null) {
    const kept = keptOf(database.pending.length, survival, dice);
    return { ...inode, database: BlobTables.settled(database, kept) };
  }
  const data = survival === "all" ? inode.data : survival === "none" ? inode.durable : torn(inode, dice);
  return { ...inode, data, durable: data };
}

/** A part of what was not synchronised: cut short, or with sectors that never arrived. */
function torn({ data, durable }: FrozenInode, dice: Seeded): Uint8Array {
  let same = 0;
  while (same < durable.byteLength && same < data.byteLength && data[same] === durable[same]) same++;
  // What was cut off and written anew since: the cut itself may not have happened.
  if (same < durable.byteLength) return dice.chance(0.5) ? durable : data;
  const kept = data.slice(0, dice.between(same, data.byteLength));
  if (dice.chance(0.5)) return kept;
  const holey = dice.chance(0.5) ? data.slice() : kept;
  for (let start = same; start < holey.byteLength; start += SECTOR_BYTES)
    if (dice.chance(0.3)) holey.fill(0, start, Math.min(start + SECTOR_BYTES, holey.byteLength));
  return holey;
}

/** An image in which an append was interrupted: only its first bytes arrived. */
export function withPartialAppend(image: StorageImage, operation: Operation, keptBytes: number): StorageImage {
  const before = image.names.get(operation.path)!;
  const data = new Uint8Array(before.data.byteLength + keptBytes);
  data.set(before.data);
  data.set(operation.data!.subarray(0, keptBytes), before.data.byteLength);
  const inode = { ...before, data };
  const replace = (each: FrozenInode): FrozenInode => (each === before ? inode : each);
  const replaceAll = (names: ReadonlyMap<string, FrozenInode>): Map<string, FrozenInode> =>
    new Map(Array.from(names, ([path, each]) => [path, replace(each)]));
  return {
    names: replaceAll(image.names),
    durableNames: replaceAll(image.durableNames),
    pending: image.pending.map((change) =>
      change.kind === "remove" ? change : { ...change, inode: replace(change.inode) },
    ),
  };
}
