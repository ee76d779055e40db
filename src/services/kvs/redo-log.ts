/**
 * The redo log's bytes: what was acknowledged since the last checkpoint, in the order in which it happened.
 *
 * A record is `u32 length, 8 bytes checksum, u32+u32 number (a 53-bit integer), u8 kind, body`, integers big-endian; the
 * checksum is the beginning of the SHA-1 of all that follows it. Numbers go up by one from record to record, over files
 * too: a checkpoint names the last one it contains, so a log may hold records that a checkpoint has already.
 *
 * Invariant: reading stops at the first record that is torn, corrupt or out of order; what is before it is whole.
 */
import { bytesEqual, utf8Decode, utf8Encode } from "../../base/bytes.ts";
import type { Codec } from "../../base/ports.ts";
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from "../../base/json.ts";
import { Payload } from "../../protocol/message.ts";
import type { KeyMerge } from "./ref-list.ts";

const LENGTH_BYTES = 4;
const CHECKSUM_BYTES = 8;
const HEADER_BYTES: number = LENGTH_BYTES + CHECKSUM_BYTES;
const PREFIX_BYTES = 9;

const RecordKind = { Commits: 1, Change: 2 } as const;

/** What happened: commits that made one version of a namespace, or a change to the set of namespaces. */
export type LogRecord =
  | {
      readonly kind: "commits";
      readonly namespace: string;
      readonly rootseq: number;
      readonly commits: readonly Payload[];
      /** Which blobs of values became one after the commits. */
      readonly merges: readonly KeyMerge[];
    }
  | {
      readonly kind: "create";
      readonly namespace: string;
      readonly owner: number;
      readonly flags: number;
      readonly rootref: string;
    }
  | { readonly kind: "remove"; readonly namespace: string };

export interface NumberedRecord {
  readonly number: number;
  readonly record: LogRecord;
}

/** The bytes of records, one behind the other. Commits go as the payloads they came in. */
export function encodeRecords(codec: Codec, records: readonly NumberedRecord[]): Uint8Array {
  const bodies = records.map(({ record }) => partsOf(record));
  let length = 0;
  for (const [position, { record }] of records.entries())
    length += HEADER_BYTES + PREFIX_BYTES + lengthOf(bodies[position]!, record.kind === "commits");
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  let offset = 0;
  for (const [position, { number, record }] of records.entries())
    offset = putRecord(codec, bytes, view, offset, number, record.kind === "commits", bodies[position]!);
  return bytes;
}

/** What a record consists of; each part of one of commits stands behind its length. */
function partsOf(record: LogRecord): Uint8Array[] {
  if (record.kind !== "commits") return [utf8Encode(stringifyJson(record))];
  const { namespace, rootseq, commits, merges } = record;
  const head = { namespace, rootseq, ...(merges.length === 0 ? {} : { merges }) };
  return [utf8Encode(stringifyJson(head)), ...commits.map((payload) => payload.bytes)];
}

function lengthOf(parts: readonly Uint8Array[], isCommits: boolean): number {
  let length = isCommits ? LENGTH_BYTES * parts.length : 0;
  for (const part of parts) length += part.byteLength;
  return length;
}

/** Returns where the next record begins. */
function putRecord(
  codec: Codec,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  number: number,
  isCommits: boolean,
  parts: readonly Uint8Array[],
): number {
  let offset = start + HEADER_BYTES;
  view.setUint32(offset, Math.floor(number / 2 ** 32));
  view.setUint32(offset + 4, number >>> 0);
  view.setUint8(offset + 8, isCommits ? RecordKind.Commits : RecordKind.Change);
  offset += PREFIX_BYTES;
  for (const part of parts) {
    if (isCommits) {
      view.setUint32(offset, part.byteLength);
      offset += LENGTH_BYTES;
    }
    bytes.set(part, offset);
    offset += part.byteLength;
  }
  view.setUint32(start, offset - start - HEADER_BYTES);
  const content = bytes.subarray(start + HEADER_BYTES, offset);
  bytes.set(codec.digest("sha1", content).subarray(0, CHECKSUM_BYTES), start + LENGTH_BYTES);
  return offset;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export interface LogContent {
  readonly records: NumberedRecord[];
  /** The bytes that are whole records; what follows is to be cut off. */
  readonly goodBytes: number;
  /** Why reading stopped before the end, or null. */
  readonly damage: string | null;
}

/** Reads a log. Damage is no error: it is what a crash leaves. */
export function readLog(codec: Codec, bytes: Uint8Array): LogContent {
  const records: NumberedRecord[] = [];
  let offset = 0;
  while (offset < bytes.byteLength) {
    const record = readRecord(codec, bytes, offset);
    if (typeof record === "string") return { records, goodBytes: offset, damage: record };
    const last = records.at(-1);
    if (last !== undefined && record.number !== last.number + 1)
      return { records, goodBytes: offset, damage: `record ${record.number} follows ${last.number}` };
    records.push(record);
    offset += record.length;
  }
  return { records, goodBytes: offset, damage: null };
}

function readRecord(codec: Codec, bytes: Uint8Array, offset: number): (NumberedRecord & { length: number }) | string {
  if (bytes.byteLength - offset < HEADER_BYTES + PREFIX_BYTES) return "a record is torn";
  const view = viewOf(bytes);
  const contentLength = view.getUint32(offset);
  const start = offset + HEADER_BYTES;
  if (contentLength < PREFIX_BYTES || contentLength > bytes.byteLength - start) return "a record is torn";
  const content = bytes.subarray(start, start + contentLength);
  const checksum = bytes.subarray(offset + 4, start);
  if (!bytesEqual(checksum, codec.digest("sha1", content).subarray(0, CHECKSUM_BYTES))) return "a checksum is wrong";
  const number = view.getUint32(start) * 2 ** 32 + view.getUint32(start + 4);
  const record = readBody(view.getUint8(start + 8), content.subarray(PREFIX_BYTES));
  return record === null ? "a record is of an unknown kind" : { number, record, length: HEADER_BYTES + contentLength };
}

function readBody(kind: number, body: Uint8Array): LogRecord | null {
  if (kind === RecordKind.Change) return changeOf(parseJson(utf8Decode(body)));
  if (kind !== RecordKind.Commits) return null;
  const parts: Uint8Array[] = [];
  const view = viewOf(body);
  for (let offset = 0; offset < body.byteLength;) {
    const length = view.getUint32(offset);
    parts.push(body.slice(offset + 4, offset + 4 + length));
    offset += 4 + length;
  }
  const head = parseJson(utf8Decode(parts[0]!)) as JsonObject;
  return {
    kind: "commits",
    namespace: head["namespace"] as string,
    rootseq: head["rootseq"] as number,
    commits: parts.slice(1).map((part) => Payload.raw(part)),
    merges: (head["merges"] ?? []) as unknown as KeyMerge[],
  };
}

function changeOf(value: unknown): LogRecord | null {
  if (!isJsonObject(value)) return null;
  return value["kind"] === "create" || value["kind"] === "remove" ? (value as unknown as LogRecord) : null;
}
