/**
 * Booting under a launcher that speaks PMI-1 on an inherited descriptor (PMI_FD, PMI_RANK, PMI_SIZE).
 */
import { FluxError } from "../base/errors.ts";
import type { ByteStream } from "../base/ports.ts";
import { PmiClient } from "../protocol/pmi-client.ts";
import type { BootClient } from "./bootstrap.ts";

export interface PmiEnvironment {
  readonly descriptor: number;
  readonly rank: number;
  readonly size: number;
}

/** What the variables say; null where they are not all there, or are no numbers. */
export function pmiEnvironment(env: Readonly<Record<string, string>>): PmiEnvironment | null {
  const values = ["PMI_FD", "PMI_RANK", "PMI_SIZE"].map((name) => env[name] ?? "");
  if (!values.every((value) => /^\d+$/.test(value))) return null;
  const [descriptor, rank, size] = values.map(Number) as [number, number, number];
  return { descriptor, rank, size };
}

/** `stream` is the launcher's end of the descriptor. `trace` gets every line. */
export function pmiBoot(stream: ByteStream, place: PmiEnvironment, trace?: (line: string) => void): BootClient {
  const client = new PmiClient({
    send: (bytes) => void stream.write(bytes),
    ...(trace === undefined ? {} : { trace: (direction, line) => trace(`${direction}: ${line}`) }),
  });
  return {
    method: "simple",
    initialize: async () => {
      stream.start({
        data: (chunk) => client.feed(chunk),
        close: (error) => client.lost(new FluxError("ECONNRESET", "bootstrap: the launcher is gone", { cause: error })),
      });
      await client.initialize();
      return { rank: place.rank, size: place.size, name: client.kvsname };
    },
    get: (key) => client.get(key),
    put: (key, value) => client.put(key, value),
    barrier: () => client.barrier(),
    finalize: async () => {
      await client.finalize();
      stream.end();
    },
  };
}
