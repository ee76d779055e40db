/**
 * Standard input of a command, piece by piece. Pipes and sockets come by the native addon, files by plain reads: the
 * streams of Node, which serve terminals and the rest, take a short command longer to load than all else that it does.
 *
 * Invariant: nothing is read before it is asked for, but what the kernel and one piece here hold.
 */
import { fstatSync, read } from "node:fs";
import { FluxError, errnoSentence } from "../base/errors.ts";
import { systemError } from "./errors.ts";
import { Heard, nativeAddon, type NativeAddon, type NativeStream } from "./native.ts";

const STANDARD_INPUT = 0;
const PIECE_BYTES = 65_536;
/** Device number of /dev/null on Linux. */
export const NULL_DEVICE = 0x103;

/** What comes in. Reading from it throws FluxError where that fails. */
export function inputChunks(): AsyncIterable<Uint8Array> {
  const facts = fstatSync(STANDARD_INPUT);
  if (facts.isCharacterDevice() && facts.rdev === NULL_DEVICE) return nothing();
  // A directory is told to be one when it is read.
  if (facts.isFile() || facts.isDirectory()) return fileChunks();
  const addon = facts.isFIFO() || facts.isSocket() ? nativeAddon() : null;
  const own = addon === null ? -1 : addon.duplicate(STANDARD_INPUT);
  return addon === null || own < 0 ? (process.stdin as AsyncIterable<Uint8Array>) : streamChunks(addon, own);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* fileChunks(): AsyncGenerator<Uint8Array> {
  for (;;) {
    const piece = await readPiece();
    if (piece.byteLength === 0) return;
    yield piece;
  }
}

function readPiece(): Promise<Uint8Array> {
  const piece = new Uint8Array(PIECE_BYTES);
  return new Promise((resolve, reject) => {
    read(STANDARD_INPUT, piece, 0, PIECE_BYTES, null, (error, length) => {
      if (error === null) resolve(piece.subarray(0, length));
      else reject(systemError("cannot read standard input", error));
    });
  });
}

async function* streamChunks(addon: NativeAddon, descriptor: number): AsyncGenerator<Uint8Array> {
  let told: (heard: { data: Uint8Array } | { errnum: number }) => void = () => {};
  const stream: NativeStream = addon.streamOpen(descriptor, (heard, data) => {
    addon.streamRead(stream, false);
    told(heard === Heard.data ? { data: data as Uint8Array } : { errnum: data as number });
  });
  try {
    for (;;) {
      const heard = await new Promise<{ data: Uint8Array } | { errnum: number }>((resolve) => {
        told = resolve;
        addon.streamRead(stream, true);
      });
      if ("data" in heard) yield heard.data;
      else if (heard.errnum === 0) return;
      else throw new FluxError(heard.errnum, `cannot read standard input: ${errnoSentence(heard.errnum)}`);
    }
  } finally {
    addon.streamClose(stream);
  }
}
