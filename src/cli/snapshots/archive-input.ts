/** Reading an archive from a file or from standard input, decompressed where it is compressed. */
import { createReadStream, openSync } from "node:fs";
import { pipeline, type Readable } from "node:stream";
import { FluxError } from "../../base/errors.ts";
import { decompressorFor, MAGIC_BYTES } from "./compression.ts";

const CHUNK_BYTES = 256 * 1024;

/** The bytes of an archive as they come. Throws with the path where it cannot be opened or read, EINVAL where it is cut. */
export async function* archiveBytes(path: string): AsyncGenerator<Uint8Array> {
  const input = open(path);
  const start = await firstBytes(input, path);
  const compression = decompressorFor(start);
  if (compression === null) {
    yield start;
    yield* reading(input, path);
    return;
  }
  const { name } = compression;
  const stream = decompressing(compression, input, start, path);
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    if (error instanceof FluxError) throw error;
    const isCut = (error as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
    const text = isCut ? `truncated ${name} input` : `${name} decompression failed`;
    throw new FluxError("EINVAL", text, { cause: error });
  }
}

function decompressing(
  { name, decompress }: NonNullable<ReturnType<typeof decompressorFor>>,
  input: Readable,
  start: Uint8Array,
  path: string,
): Readable {
  if (typeof decompress === "object") {
    if (path === "-") throw new FluxError("EINVAL", `${name} archives are not read from standard input: name the file`);
    input.destroy();
    return decompress.ofFile(path);
  }
  const stream = decompress();
  stream.write(start);
  pipeline(input, stream, () => {
    // An error is thrown to the reader.
  });
  return stream;
}

function open(path: string): Readable {
  if (path === "-") return process.stdin;
  try {
    return createReadStream("", { fd: openSync(path, "r"), highWaterMark: CHUNK_BYTES });
  } catch (error) {
    throw new FluxError("ENOENT", `Failed to open '${path}'`, { cause: error });
  }
}

async function* reading(input: Readable, path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of input) yield chunk as Uint8Array;
  } catch (error) {
    throw new FluxError("EIO", `Error reading '${path}'`, { cause: error });
  }
}

/** Enough to tell the format by, where there is as much; the rest can still be read from the input. */
async function firstBytes(input: Readable, path: string): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of input.iterator({ destroyOnReturn: false })) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length >= MAGIC_BYTES) break;
    }
  } catch (error) {
    throw new FluxError("EIO", `Error reading '${path}'`, { cause: error });
  }
  return Buffer.concat(chunks);
}
