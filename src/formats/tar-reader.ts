/**
 * Reads a tar archive as its bytes come, in pieces of any size: members, and the bytes of their contents.
 *
 * Pax records and GNU's long names are put where they belong. Invariant: no more of the archive is held than one header
 * with its records; an archive that ends before its end mark is an error, so that one cut short is not taken for whole.
 */
import { concatBytes, EMPTY_BYTES, utf8Decode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import {
  decodeTarBlock,
  decodeTarRecords,
  isZeroBlock,
  TAR_BLOCK_BYTES,
  tarPaddingBytes,
  type TarMember,
} from "./tar.ts";

export type TarEvent =
  | { readonly kind: "member"; readonly member: TarMember }
  /** A part of the content of the last member. */
  | { readonly kind: "content"; readonly bytes: Uint8Array }
  /** The content of the last member is complete. */
  | { readonly kind: "end" };

/** Records and long names of one member are at most so long, in bytes. */
const RECORDS_BYTES_MAX = 1024 * 1024;
const FLAG_RECORDS = "x";
const FLAG_GLOBAL_RECORDS = "g";
const FLAG_LONG_NAME = "L";
const FLAG_LONG_TARGET = "K";
const SPECIAL: ReadonlySet<string> = new Set([FLAG_RECORDS, FLAG_GLOBAL_RECORDS, FLAG_LONG_NAME, FLAG_LONG_TARGET]);

export class TarReader {
  /** Bytes that are not understood yet: less than a block, or a special member's content. */
  #held: Uint8Array = EMPTY_BYTES;
  #state: "header" | "special" | "content" | "padding" | "ended" = "header";
  /** Bytes of content, or of padding, to come. */
  #left = 0;
  #paddingBytes = 0;
  #specialFlag = "";
  #sawMember = false;
  readonly #global = new Map<string, string>();
  #records = new Map<string, string>();

  /** Takes the next bytes. All events must be taken before the next call. Throws EINVAL where the archive is damaged. */
  *push(chunk: Uint8Array): Generator<TarEvent> {
    let rest = chunk;
    while (rest.byteLength > 0 && this.#state !== "ended") {
      if (this.#state === "content" || this.#state === "padding") {
        const taken = rest.subarray(0, this.#left);
        rest = rest.subarray(taken.byteLength);
        this.#left -= taken.byteLength;
        if (this.#state === "content") yield { kind: "content", bytes: taken };
        if (this.#left === 0) yield* this.#finishPart();
        continue;
      }
      const wanted = this.#state === "header" ? TAR_BLOCK_BYTES : this.#left;
      const taken = rest.subarray(0, wanted - this.#held.byteLength);
      rest = rest.subarray(taken.byteLength);
      this.#held = concatBytes([this.#held, taken]);
      if (this.#held.byteLength < wanted) return;
      const bytes = this.#held;
      this.#held = EMPTY_BYTES;
      if (this.#state === "header") yield* this.#takeHeader(bytes);
      else yield* this.#takeSpecial(bytes);
    }
  }

  /** There are no more bytes. Throws EINVAL where the archive is not complete. */
  finish(): void {
    if (this.#state === "ended") return;
    if (!this.#sawMember && this.#state === "header") throw unrecognized();
    throw new FluxError("EINVAL", "Truncated tar archive");
  }

  *#takeHeader(block: Uint8Array): Generator<TarEvent> {
    if (isZeroBlock(block)) {
      this.#state = "ended";
      return;
    }
    const header = decodeTarBlock(block);
    if (header === null) throw this.#sawMember ? damaged() : unrecognized();
    const { flag, member } = header;
    this.#sawMember = true;
    if (SPECIAL.has(flag)) {
      if (member.sizeBytes > RECORDS_BYTES_MAX) throw damaged();
      this.#specialFlag = flag;
      this.#state = "special";
      this.#left = member.sizeBytes;
      this.#paddingBytes = tarPaddingBytes(member.sizeBytes);
      if (member.sizeBytes === 0) yield* this.#takeSpecial(EMPTY_BYTES);
      return;
    }
    const complete = this.#completed(member);
    this.#records = new Map();
    yield { kind: "member", member: complete };
    this.#state = "content";
    this.#left = complete.sizeBytes;
    this.#paddingBytes = tarPaddingBytes(complete.sizeBytes);
    if (this.#left === 0) yield* this.#finishPart();
  }

  *#takeSpecial(bytes: Uint8Array): Generator<TarEvent> {
    if (this.#specialFlag === FLAG_LONG_NAME || this.#specialFlag === FLAG_LONG_TARGET) {
      const end = bytes.indexOf(0);
      const text = utf8Decode(end < 0 ? bytes : bytes.subarray(0, end));
      this.#records.set(this.#specialFlag === FLAG_LONG_NAME ? "path" : "linkpath", text);
    } else {
      const records = decodeTarRecords(bytes);
      if (records === null) throw damaged();
      const into = this.#specialFlag === FLAG_GLOBAL_RECORDS ? this.#global : this.#records;
      for (const [keyword, value] of records) into.set(keyword, value);
    }
    this.#state = "padding";
    this.#left = this.#paddingBytes;
    this.#paddingBytes = 0;
    if (this.#left === 0) yield* this.#finishPart();
  }

  /** A content, or what fills its last block, is through. */
  *#finishPart(): Generator<TarEvent> {
    if (this.#state === "content") {
      yield { kind: "end" };
      this.#state = "padding";
      this.#left = this.#paddingBytes;
      if (this.#left > 0) return;
    }
    this.#state = "header";
  }

  /** A member with what records before it say. */
  #completed(member: TarMember): TarMember {
    const records = new Map([...this.#global, ...this.#records]);
    const take = (keyword: string): string | null => {
      const value = records.get(keyword) ?? null;
      records.delete(keyword);
      return value;
    };
    const path = take("path") ?? member.path;
    const target = take("linkpath");
    const isSparse = [...records.keys()].some((keyword) => keyword.startsWith("GNU.sparse."));
    return {
      path,
      kind: isSparse ? "sparse" : member.kind,
      sizeBytes: member.kind === "file" ? number(take("size"), member.sizeBytes) : member.sizeBytes,
      mode: member.mode,
      uid: number(take("uid"), member.uid),
      gid: number(take("gid"), member.gid),
      mtime: Math.floor(number(take("mtime"), member.mtime)),
      target: member.target !== "" || member.kind === "symlink" ? (target ?? member.target) : "",
      records,
    };
  }
}

function number(text: string | null, otherwise: number): number {
  if (text === null || text === "") return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value)) throw damaged();
  return value;
}

function damaged(): FluxError {
  return new FluxError("EINVAL", "Damaged tar archive");
}

function unrecognized(): FluxError {
  return new FluxError("EINVAL", "Unrecognized archive format");
}
