/**
 * The client of PMI-1, the "simple" wire protocol (RFC 13), as real launchers answer it: Slurm, Hydra, a Flux shell,
 * `flux start -s N`. Pure: bytes go out through `send` and come in through `feed`.
 *
 * Invariants: one request is under way at a time. Only commands that every server knows are sent: an unknown one ends the
 * job under Hydra and hangs it under Slurm. No line is longer than 1000 bytes: servers cut longer ones in silence, so a
 * long value is spread over keys `KEY.0`, `KEY.1` …
 */
import { utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { LineReader, parsePmiLine } from "./pmi-server.ts";

const LINE_BYTES_MAX = 1000;
const VALUE_BYTES_MAX = 900;
/** Marks a value that goes on in further keys: how many there are. */
const SPLIT_MARK = "split:";
/** Servers may announce more than they hold; replies are longer than requests. */
const REPLY_BYTES_MAX = 64 * 1024;

type Words = Readonly<Record<string, string>>;

export interface PmiClientOptions {
  send(bytes: Uint8Array): void;
  /** Every line in both directions (FLUX_PMI_DEBUG). */
  trace?(direction: "C" | "S", line: string): void;
}

export class PmiClient {
  readonly #options: PmiClientOptions;
  readonly #lines = new LineReader(REPLY_BYTES_MAX);
  #waiting: { command: string; resolve(words: Words): void; reject(error: FluxError): void } | null = null;
  #lost: FluxError | null = null;
  #kvsname = "";
  #valueBytesMax = VALUE_BYTES_MAX;

  constructor(options: PmiClientOptions) {
    this.#options = options;
  }

  /** The name of the key space: the job's id under Flux. */
  get kvsname(): string {
    return this.#kvsname;
  }

  /** Takes bytes from the server. */
  feed(chunk: Uint8Array): void {
    try {
      for (const line of this.#lines.feed(chunk)) {
        this.#options.trace?.("S", line);
        this.#receive(parsePmiLine(line));
      }
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.lost(error);
    }
  }

  /** The connection is gone: what waits fails. */
  lost(error: FluxError = new FluxError("ECONNRESET", "the launcher closed the PMI connection")): void {
    this.#lost ??= error;
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(this.#lost);
  }

  /** Greets the server and asks for limits and name. Rejects with EPROTO where it speaks another protocol. */
  async initialize(): Promise<void> {
    const answer = await this.#call("cmd=init pmi_version=1 pmi_subversion=1", "response_to_init");
    checkResult(answer, "init");
    const maxes = await this.#call("cmd=get_maxes", "maxes");
    checkResult(maxes, "get_maxes");
    const announced = Number(maxes["vallen_max"]);
    if (announced > 0) this.#valueBytesMax = Math.min(announced, VALUE_BYTES_MAX);
    const name = await this.#call("cmd=get_my_kvsname", "my_kvsname");
    checkResult(name, "get_my_kvsname");
    this.#kvsname = name["kvsname"] ?? "";
  }

  /** Puts a value without spaces or line ends. Others see it after the barrier. */
  async put(key: string, value: string): Promise<void> {
    if (/\s/.test(value)) throw new FluxError("EINVAL", "a PMI-1 value must not contain white space");
    const overhead = `cmd=put kvsname=${this.#kvsname} key=${key}.00 value=\n`.length;
    const room = Math.min(this.#valueBytesMax, LINE_BYTES_MAX - overhead);
    if (room < SPLIT_MARK.length + 4) throw new FluxError("EINVAL", `PMI-1 key '${key}' is too long`);
    if (utf8Encode(value).byteLength <= room && !value.startsWith(SPLIT_MARK)) return this.#put(key, value);
    // Counted in characters of at most 3 bytes when they are not ASCII.
    const step = /^[ -~]*$/.test(value) ? room : Math.floor(room / 3);
    const parts = Math.ceil(value.length / step);
    for (let part = 0; part < parts; part++)
      await this.#put(`${key}.${part}`, value.slice(part * step, (part + 1) * step));
    await this.#put(key, `${SPLIT_MARK}${parts}`);
  }

  /** The value of a key, or null where there is none. */
  async get(key: string): Promise<string | null> {
    const value = await this.#get(key);
    if (value === null || !value.startsWith(SPLIT_MARK)) return value;
    let joined = "";
    for (let part = 0; part < Number(value.slice(SPLIT_MARK.length)); part++) {
      const piece = await this.#get(`${key}.${part}`);
      if (piece === null) throw new FluxError("EPROTO", `the launcher lost a part of the PMI-1 key '${key}'`);
      joined += piece;
    }
    return joined;
  }

  /** Waits until all processes of the program have come here. */
  async barrier(): Promise<void> {
    checkResult(await this.#call("cmd=barrier_in", "barrier_out"), "barrier_in");
  }

  /** Says that this process is done with PMI; needed before it may end under some launchers. */
  async finalize(): Promise<void> {
    checkResult(await this.#call("cmd=finalize", "finalize_ack"), "finalize");
  }

  /** Asks for the end of the whole program. No answer comes. */
  abort(exitCode: number, message: string): void {
    this.#write(`cmd=abort exitcode=${exitCode} error_msg=${message.replace(/\n/g, " ")}`);
  }

  async #put(key: string, value: string): Promise<void> {
    const answer = await this.#call(`cmd=put kvsname=${this.#kvsname} key=${key} value=${value}`, "put_result");
    checkResult(answer, `put ${key}`);
  }

  async #get(key: string): Promise<string | null> {
    const answer = await this.#call(`cmd=get kvsname=${this.#kvsname} key=${key}`, "get_result");
    return resultOf(answer) === 0 ? (answer["value"] ?? "") : null;
  }

  #call(line: string, reply: string): Promise<Words> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== null) return reject(this.#lost);
      if (this.#waiting !== null) return reject(new FluxError("EBUSY", "a PMI-1 request is under way"));
      this.#waiting = { command: reply, resolve, reject };
      this.#write(line);
    });
  }

  #write(line: string): void {
    this.#options.trace?.("C", line);
    this.#options.send(utf8Encode(`${line}\n`));
  }

  #receive(words: Words): void {
    const waiting = this.#waiting;
    if (waiting === null) return;
    this.#waiting = null;
    if (words["cmd"] === waiting.command) waiting.resolve(words);
    else
      waiting.reject(
        new FluxError("EPROTO", `the launcher answered '${words["cmd"] ?? ""}' instead of '${waiting.command}'`),
      );
  }
}

/** 0 where the server does not say. */
function resultOf(words: Words): number {
  return Number(words["rc"] ?? "0");
}

function checkResult(words: Words, what: string): void {
  if (resultOf(words) !== 0) throw new FluxError("EPROTO", `PMI-1 ${what} failed with rc=${words["rc"]}`);
}
