/**
 * The formats in which an archive is written, by the ending of its name, and read, by its first bytes. Within Flux it is
 * a tar archive; what Node does not have, compressions and other formats, is done by the programs that users know.
 */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { Duplex, Readable, type Writable } from "node:stream";
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from "node:zlib";
import { FluxError } from "../../base/errors.ts";

interface Method {
  readonly name: string;
  /** Endings of file names. */
  readonly endings: readonly string[];
  /** What is found at the start of such a stream. */
  readonly magic: string | readonly number[];
  readonly magicOffset?: number;
  compress(): Duplex;
  /** Makes what is written to it a tar archive; of a file, where the format can only be read by going to and fro in it. */
  readonly decompress: (() => Duplex) | { readonly ofFile: (path: string) => Readable };
}

const ISO_MAGIC_OFFSET = 32 * 1024 + 1;

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
  converted("zip", [".zip"], "PK\u0003\u0004"),
  converted("cpio", [".cpio"], "0707"),
  converted("iso9660", [".iso"], "CD001", ISO_MAGIC_OFFSET),
];

/** Another format than tar, which libarchive's program makes of one, and one of it. */
function converted(name: string, endings: readonly string[], magic: string, magicOffset: number = 0): Method {
  const words = (format: string, source: string): string[] => ["-cf", "-", "--format", format, `@${source}`];
  const ofFile = (path: string): Readable => {
    const child = start("bsdtar", words("pax", path));
    child.stdin.destroy();
    return outputOf(child);
  };
  return {
    name,
    endings,
    magic,
    magicOffset,
    compress: () => filter("bsdtar", words(name, "-")),
    decompress: { ofFile },
  };
}

/** The bytes at the start that tell formats apart: all, but an ISO image's, whose first 32 KiB are empty. */
export const MAGIC_BYTES: number = ISO_MAGIC_OFFSET + 5;

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

/** How a stream that begins with these bytes becomes a tar archive; null where it is one, or nothing known. */
export function decompressorFor(start: Uint8Array): Pick<Method, "name" | "decompress"> | null {
  const text = Buffer.from(start).toString("latin1");
  const found = METHODS.find(({ magic, magicOffset = 0 }) =>
    text.startsWith(typeof magic === "string" ? magic : String.fromCharCode(...magic), magicOffset),
  );
  return found ?? null;
}

type Program = ChildProcessByStdio<Writable, Readable, null>;

/** Throws ENOENT where there is no such program. */
function start(program: string, words: readonly string[]): Program {
  // Names are UTF-8, whatever the user's locale.
  const env = { ...process.env, LC_ALL: "C.UTF-8" };
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "ignore"], env });
  child.on("error", () => {
    // It is seen at once.
  });
  if (child.pid !== undefined) return child;
  throw new FluxError("ENOENT", `${program}: command not found, and this format needs it`);
}

/** A program that turns its input into its output, as a stream. */
function filter(program: string, words: readonly string[]): Duplex {
  const child = start(program, words);
  return Duplex.from({ readable: outputOf(child), writable: child.stdin });
}

/** What a program prints; it is not complete unless the program says so. */
function outputOf(child: Program): Readable {
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return Readable.from(
    (async function* (): AsyncGenerator<Buffer> {
      yield* child.stdout as AsyncIterable<Buffer>;
      if ((await ended) !== 0) throw new FluxError("EINVAL", `${child.spawnfile} failed`);
    })(),
  );
}
