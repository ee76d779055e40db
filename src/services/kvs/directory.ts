/**
 * Directories of the hash tree in memory: names and what they stand for, in order. A directory with more than
 * PLAIN_ENTRIES_MAX entries consists of *pieces* (`formats/wide-directory.ts`), of which only those are in memory that
 * somebody needs: finding or setting a name touches one piece.
 *
 * Invariants:
 * 1. Names are in code point order, as in the text of RFC 11.
 * 2. A directory changes only in the hands of its `owner`, while a version is being made; one with a `ref` never again.
 * 3. An entry never changes; entries are shared by all versions of a directory. It belongs to one name.
 * 4. After a change, where a directory is cut into pieces depends on its names alone: each piece but the first begins with a
 *    name that `startsPiece`, no other name in it does; no piece is empty.
 *
 * It does not know how directories are hashed, nor where pieces come from.
 */
import { assert } from "../../base/assert.ts";
import type { RefList } from "./ref-list.ts";
import { compareNames, PLAIN_ENTRIES_MAX, startsPiece, type PieceReference } from "../../formats/wide-directory.ts";

export type StoredEntry =
  | { readonly kind: "val"; readonly data: string; text: string | null }
  | { readonly kind: "valref"; readonly refs: RefList; text: string | null }
  | { readonly kind: "dirref"; readonly ref: string; text: string | null }
  | { readonly kind: "symlink"; readonly target: string; readonly namespace: string | null; text: string | null };

export type Entry =
  | StoredEntry
  /** A subdirectory that has no blob of its own yet. */
  | { readonly kind: "draft"; readonly directory: Directory };

/** A piece that is found by its blobref. `text` is its member in the directory's text, once made. */
export interface StoredPiece extends PieceReference {
  text: string | null;
}

/** Where stored pieces come from. Throws MissingBlob with all that are not in memory. */
export interface PieceSource {
  directories(refs: readonly string[]): Directory[];
}

/** Members (entries, or pieces) whose texts are kept joined: a text is made anew from a few long strings, not from all. */
export const RUN_MEMBERS = 16;

export class Directory {
  /** Of a plain directory, or of a piece of one. */
  names: string[];
  entries: Entry[];
  /** Null where the directory is a plain one. */
  pieces: (StoredPiece | Directory)[] | null = null;
  /** The number of entries, those of all pieces together. */
  size: number;
  /** The blobref, or null where nobody has asked for it yet. */
  ref: string | null = null;
  /** Who may change it. */
  readonly owner: object | null;
  /** Length of the text in characters, once it has been made. */
  textLength = 0;
  /** The texts of each RUN_MEMBERS members; null, or absent at the end, where they are not made. */
  runs: (string | null)[] = [];
  /** Of a draft: the version from which it was made, if that has a hash. */
  base: Directory | null = null;

  constructor(names: string[] = [], entries: Entry[] = [], owner: object | null = null) {
    this.names = names;
    this.entries = entries;
    this.size = names.length;
    this.owner = owner;
  }

  /** A directory whose pieces are stored. */
  static ofPieces(pieces: (StoredPiece | Directory)[], size: number, owner: object | null = null): Directory {
    const directory = new Directory([], [], owner);
    directory.pieces = pieces;
    directory.size = size;
    return directory;
  }

  /** Throws MissingBlob. */
  get(name: string, source: PieceSource): Entry | undefined {
    if (this.pieces !== null) return this.#piece(this.#pieceOf(name), source).get(name, source);
    const index = indexOf(this.names, name);
    return this.names[index] === name ? this.entries[index] : undefined;
  }

  /** Sets (or, given undefined, removes) an entry of a draft; returns what was there. Throws MissingBlob; then nothing has changed. */
  set(name: string, entry: Entry | undefined, source: PieceSource): Entry | undefined {
    assert(this.ref === null, "a directory that has a hash does not change");
    if (this.pieces !== null) return this.#setInPieces(name, entry, source);
    const before = this.#setPlain(name, entry);
    if (this.size > PLAIN_ENTRIES_MAX) this.#cut();
    return before;
  }

  /** A draft with the same entries. */
  draft(owner: object): Directory {
    const draft =
      this.pieces === null
        ? new Directory(this.names.slice(), this.entries.slice(), owner)
        : Directory.ofPieces(this.pieces.slice(), this.size, owner);
    draft.base = this.ref === null ? this.base : this;
    draft.runs = this.runs.slice();
    return draft;
  }

  /** The whole directory as plain ones, in order. Throws MissingBlob. */
  parts(source: PieceSource): Directory[] {
    if (this.pieces === null) return [this];
    const stored = this.pieces.filter((piece) => !(piece instanceof Directory)).map(({ ref }) => ref!);
    const loaded = source.directories(stored);
    let next = 0;
    return this.pieces.map((piece) => (piece instanceof Directory ? piece : loaded[next++]!));
  }

  /** Brings a directory that was not made by `set` into the form that `set` would have given it. */
  normalize(): void {
    if (this.pieces === null && this.ref === null && this.size > PLAIN_ENTRIES_MAX) this.#cut();
  }

  #setPlain(name: string, entry: Entry | undefined): Entry | undefined {
    const index = indexOf(this.names, name);
    const before = this.names[index] === name ? this.entries[index] : undefined;
    if (before !== undefined && entry !== undefined) {
      this.entries[index] = entry;
      this.#changed(index);
    } else if (before !== undefined) {
      this.names.splice(index, 1);
      this.entries.splice(index, 1);
      this.#shifted(index);
    } else if (entry !== undefined) {
      this.names.splice(index, 0, name);
      this.entries.splice(index, 0, entry);
      this.#shifted(index);
    }
    this.size = this.names.length;
    return before;
  }

  /** A member is another one. */
  #changed(index: number): void {
    const run = Math.floor(index / RUN_MEMBERS);
    if (run < this.runs.length) this.runs[run] = null;
  }

  /** From this place on, members are in other places. */
  #shifted(index: number): void {
    this.runs.length = Math.min(this.runs.length, Math.floor(index / RUN_MEMBERS));
  }

  #setInPieces(name: string, entry: Entry | undefined, source: PieceSource): Entry | undefined {
    const position = this.#pieceOf(name);
    const piece = this.#piece(position, source);
    const index = indexOf(piece.names, name);
    const exists = piece.names[index] === name;
    if (entry === undefined) {
      if (!exists) return undefined;
      if (this.size - 1 <= PLAIN_ENTRIES_MAX) this.#join(source);
      return this.pieces === null ? this.#setPlain(name, entry) : this.#removeInPiece(position, index, source);
    }
    const own = this.#draftOf(position, source);
    const before = own.#setPlain(name, entry);
    if (exists) return before;
    this.size += 1;
    if (index > 0 && startsPiece(name)) this.#split(position, index);
    // Only the first piece begins with any name: what comes before it may part it from the rest.
    else if (index === 0 && own.size > 1 && startsPiece(own.names[1]!)) this.#split(position, 1);
    return undefined;
  }

  #removeInPiece(position: number, index: number, source: PieceSource): Entry | undefined {
    const size = this.#piece(position, source).size;
    // A piece that loses the name with which it begins belongs to the one before.
    const neighbour = index === 0 && position > 0 && size > 1 ? this.#draftOf(position - 1, source) : null;
    const own = this.#draftOf(position, source);
    const before = own.#setPlain(own.names[index]!, undefined);
    this.size -= 1;
    if (neighbour !== null) neighbour.#append(own);
    if (own.size === 0 || neighbour !== null) {
      this.pieces!.splice(position, 1);
      this.#shifted(position);
    }
    if (this.pieces!.length === 0) this.pieces = null;
    return before;
  }

  #append(other: Directory): void {
    this.#shifted(this.size);
    this.names = this.names.concat(other.names);
    this.entries = this.entries.concat(other.entries);
    this.size = this.names.length;
  }

  #split(position: number, index: number): void {
    const piece = this.pieces![position] as Directory;
    const rest = new Directory(piece.names.splice(index), piece.entries.splice(index), this.owner);
    piece.size = piece.names.length;
    piece.#shifted(index);
    this.pieces!.splice(position + 1, 0, rest);
    this.#shifted(position);
  }

  /** Makes pieces of a plain directory. */
  #cut(): void {
    const { names, entries } = this;
    const pieces: Directory[] = [];
    let start = 0;
    for (let index = 1; index <= names.length; index++) {
      if (index < names.length && !startsPiece(names[index]!)) continue;
      pieces.push(new Directory(names.slice(start, index), entries.slice(start, index), this.owner));
      start = index;
    }
    this.pieces = pieces;
    this.names = [];
    this.entries = [];
    this.runs = [];
  }

  /** Makes a plain directory of the pieces. */
  #join(source: PieceSource): void {
    const parts = this.parts(source);
    this.names = parts.flatMap((part) => part.names);
    this.entries = parts.flatMap((part) => part.entries);
    this.runs = [];
    this.pieces = null;
  }

  /** The place of the piece in which a name is, or would be. */
  #pieceOf(name: string): number {
    const pieces = this.pieces!;
    const comesBefore = orderFor(name);
    let low = 1;
    let high = pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (comesBefore(name, firstOf(pieces[middle]!))) high = middle;
      else low = middle + 1;
    }
    return low - 1;
  }

  #piece(position: number, source: PieceSource): Directory {
    const piece = this.pieces![position]!;
    return piece instanceof Directory ? piece : source.directories([piece.ref])[0]!;
  }

  #draftOf(position: number, source: PieceSource): Directory {
    const piece = this.#piece(position, source);
    if (piece.owner === this.owner && piece.ref === null) return piece;
    const draft = piece.draft(this.owner!);
    this.pieces![position] = draft;
    this.#changed(position);
    return draft;
  }
}

/** The first name of a piece. */
function firstOf(piece: StoredPiece | Directory): string {
  return piece instanceof Directory ? piece.names[0]! : piece.first;
}

/** The place of a name among sorted ones: where it is, or where it would go. */
function indexOf(names: readonly string[], name: string): number {
  const comesBefore = orderFor(name);
  let low = 0;
  let high = names.length;
  // Keys are often made in order: try the end first.
  if (high > 0 && comesBefore(names[high - 1]!, name)) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comesBefore(names[middle]!, name)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Code points and UTF-16 units order names alike, unless both have units beyond all ordinary letters. */
function orderFor(name: string): (left: string, right: string) => boolean {
  return /[\ud800-\uffff]/.test(name) ? byCodePoints : byUnits;
}

function byUnits(left: string, right: string): boolean {
  return left < right;
}

function byCodePoints(left: string, right: string): boolean {
  return compareNames(left, right) < 0;
}
