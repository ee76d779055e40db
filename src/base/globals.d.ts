/**
 * What a pure layer may touch besides the ECMAScript library. This file is the complete list: no timers, no console, no
 * process, no network. Everything else reaches a pure layer through the ports of `ports.ts`.
 */

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array, options?: { stream?: boolean }): string;
}

/** The fast text codecs of the engine; used by `bytes.ts` only. */
declare const Buffer: {
  from(text: string, encoding: "utf8" | "latin1" | "base64" | "hex"): Uint8Array<ArrayBuffer>;
  from(
    buffer: ArrayBufferLike,
    byteOffset: number,
    length: number,
  ): Uint8Array & {
    toString(encoding: "utf8" | "latin1" | "base64" | "hex", start?: number, end?: number): string;
  };
  byteLength(text: string, encoding: "utf8"): number;
};

interface AbortSignal {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
}
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}

interface JSON {
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}
