/**
 * How archives are compressed: by the ending of the file's name when they are written, by their first bytes when they
 * are read. What Node does not have is done by the programs that users know.
 */
import { spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from "node:zlib";
import { FluxError } from "../../base/errors.ts";

interface Method {
  readonly name: string;
  /** Endings of file names. */
  readonly endings: readonly string[];
  /** How a compressed stream begins. */
  readonly magic: readonly number[];
  compress(): Duplex;
  decompress(): Duplex;
}

const METHODS: readonly Method[] = [
  {
    name: "gzip",
    endings: [".tgz", ".tar.gz"],
    magic: [0x1f, 0x8b],
    compress: () => createGzip(),
    decompress: () => createGunzip(),
  },
  {
    name: "bzip2",
    endings: [".tar.bz2"],
    magic: [0x42, 0x5a, 0x68],
    compress: () => filter("bzip2", []),
    decompress: () => filter("bzip2", ["-d"]),
  },
  {
    name: "xz",
    endings: [".tar.xz"],
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    compress: () => filter("xz", []),
    decompress: () => filter("xz", ["-d"]),
  },
  {
    name: "zstd",
    endings: [".tar.zst"],
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    compress: () => createZstdCompress(),
    decompress: () => createZstdDecompress(),
  },
];

/** Formats that are recognised only to be named where they are refused. */
const OTHER_FORMATS: readonly (readonly [name: string, magic: string])[] = [
  ["zip", "PK\u0003\u0004"],
  ["cpio", "070701"],
  ["cpio", "070707"],
  ["7-zip", "7z\u00bc\u00af\u0027\u001c"],
];

/** The bytes at the start that tell formats apart. */
export const MAGIC_BYTES = 6;

/** What compresses a file of this name; null where it is not to be compressed. Throws EINVAL for an unknown ending. */
export function compressorFor(path: string): Duplex | null {
  if (path.endsWith(".tar")) return null;
  const method = METHODS.find(({ endings }) => endings.some((ending) => path.endsWith(ending)));
  if (method === undefined) {
    const endings = [".tar", ...METHODS.flatMap((each) => each.endings)].join(", ");
    throw new FluxError("EINVAL", `No such format '${path}': a dump ends with one of ${endings}`);
  }
  return method.compress();
}

/** What decompresses a stream that begins with these bytes, and its name; null where it is not compressed. Throws EINVAL. */
export function decompressorFor(start: Uint8Array): { readonly name: string; readonly stream: Duplex } | null {
  const text = Buffer.from(start).toString("latin1");
  const other = OTHER_FORMATS.find(([, magic]) => text.startsWith(magic));
  if (other !== undefined) throw new FluxError("EINVAL", `Unrecognized archive format: ${other[0]}: use tar`);
  const method = METHODS.find(({ magic }) => magic.every((byte, index) => start[index] === byte));
  return method === undefined ? null : { name: method.name, stream: method.decompress() };
}

/** A program that turns its input into its output, as a stream. */
function filter(program: string, words: readonly string[]): Duplex {
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "ignore"] });
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  child.on("error", () => stream.destroy(new FluxError("ENOENT", `${program}: command not found`)));
  child.on("exit", (code) => {
    if (code !== 0) stream.destroy(new FluxError("EINVAL", `${program} failed`));
  });
  return stream;
}
