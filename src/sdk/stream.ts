/**
 * A streaming RPC as an async iterable: items in order, then the end or the error. Leaving the loop cancels it.
 *
 * Invariants: a `next` that waits is settled, whatever ends the stream; an answer that is not JSON is the error of the
 * `next` that takes it, and of nobody else.
 */
import { FluxError } from "../base/errors.ts";
import type { Payload } from "../protocol/message.ts";
import type { OpenStream, StreamListener } from "./handle.ts";

export class ResponseStream<T> implements AsyncIterableIterator<T> {
  readonly #items: (Payload | null)[] = [];
  readonly #stream: OpenStream;
  #waiting: {
    resolve(result: IteratorResult<T> | Promise<IteratorResult<T>>): void;
    reject(error: FluxError): void;
  } | null = null;
  #ended: { error: FluxError | null } | null = null;

  constructor(open: (listener: StreamListener) => OpenStream) {
    this.#stream = open({ item: (payload) => this.#add(payload), end: (error) => this.#finish(error) });
  }

  /** Asks the service to end the stream. */
  cancel(): void {
    this.#stream.cancel();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#items.length > 0) return resultOf<T>(this.#items.shift()!);
    if (this.#ended !== null) {
      const { error } = this.#ended;
      return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  return(): Promise<IteratorResult<T>> {
    this.cancel();
    this.#items.length = 0;
    this.#finish(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  #add(payload: Payload | null): void {
    if (this.#ended !== null) return;
    if (this.#waiting === null) {
      this.#items.push(payload);
      return;
    }
    const { resolve } = this.#waiting;
    this.#waiting = null;
    resolve(resultOf<T>(payload));
  }

  #finish(error: FluxError | null): void {
    if (this.#ended !== null) return;
    this.#ended = { error };
    const waiting = this.#waiting;
    this.#waiting = null;
    if (error === null) waiting?.resolve({ done: true, value: undefined });
    else waiting?.reject(error);
  }
}

/** Asynchronous, so that a malformed payload rejects. */
async function resultOf<T>(payload: Payload | null): Promise<IteratorResult<T>> {
  return { done: false, value: (payload === null ? {} : payload.value) as T };
}
