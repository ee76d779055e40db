/**
 * A client with huge values: puts and gets one of so many MiB through the SDK, again and again, for some seconds.
 *
 *     latency-load.ts URI KEY MIB SECONDS
 *
 * Prints one line of JSON: MB/s of both ways, and its own memory.
 */
import { openFlux, Kvs } from "../src/host/sdk.ts";

const CHUNK_BYTES = 64 * 1024;
const [uri, key, mib, seconds] = process.argv.slice(2);
const handle = await openFlux(uri);
const kvs = new Kvs(handle);
const length = Number(mib) * 1024 * 1024;
let noise = 0;

/** Bytes that neither compress nor repeat. */
function* chunks(): Generator<Uint8Array> {
  const pool = crypto.getRandomValues(new Uint8Array(CHUNK_BYTES));
  const view = new DataView(pool.buffer);
  for (let sent = 0; sent < length; sent += CHUNK_BYTES) {
    for (let offset = 0; offset < CHUNK_BYTES; offset += 512) view.setFloat64(offset, performance.now() + noise++);
    yield pool.slice();
  }
}

const end = performance.now() + Number(seconds) * 1000;
const put = { bytes: 0, ms: 0 };
const got = { bytes: 0, ms: 0 };
do {
  let begin = performance.now();
  await kvs.putStream(key!, chunks());
  put.bytes += length;
  put.ms += performance.now() - begin;
  begin = performance.now();
  for await (const chunk of kvs.getStream(key!)) got.bytes += chunk.byteLength;
  got.ms += performance.now() - begin;
} while (performance.now() < end);
const rate = ({ bytes, ms }: { bytes: number; ms: number }): number => bytes / 1000 / ms;
if (got.bytes !== put.bytes) throw new Error(`put ${put.bytes} bytes and got ${got.bytes}`);
console.log(JSON.stringify({ putRate: rate(put), getRate: rate(got), rss: process.memoryUsage().rss }));
handle.close();
