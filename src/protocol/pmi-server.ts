/**
 * The server of PMI-1, the "simple" wire protocol (RFC 13): what parallel programs and brokers ask to find each other.
 * One server serves the processes of one node, or all brokers of `flux start -s N`. Pure.
 *
 * Invariants: a value put is seen by others after the barrier only, and a barrier ends when every local process has
 * entered it. A line that no client may send is refused with EPROTO; what to do then is the caller's to decide.
 */
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";

const PMI_KVSNAME_MAX = 64;
const PMI_KEY_MAX = 64;
export const PMI_VALUE_MAX = 1024;
/** The longest line that may be sent, from the limits above. */
const LINE_MAX: number = PMI_KVSNAME_MAX + PMI_KEY_MAX + PMI_VALUE_MAX + 64;
/** Keys of this kind stay on their node. */
const LOCAL_PREFIX = "local::";

const Result = { Success: 0, InvalidKey: 4, KeyTooLong: 5, ValueTooLong: 7, NameTooLong: 8 } as const;

export interface PmiServerOptions {
  readonly kvsname: string;
  /** Processes of the whole program. */
  readonly universeSize: number;
  /** Processes that connect to this server. */
  readonly localSize: number;
  readonly appnum?: number;
  /** Keys that are there from the start. */
  readonly preset?: Readonly<Record<string, string>>;
  /**
   * Carries what was put since the last barrier to the other servers, and brings what all of them have. Default: there
   * are no others. A rejection fails the barrier.
   */
  exchange?(puts: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>>>;
  /** A process asked for the end of the whole program. */
  abort(rank: number, exitCode: number, message: string | null): void;
  /** Every line in both directions. */
  trace?(rank: number, direction: "C" | "S", line: string): void;
}

/** The words of a line. `value` and `error_msg` reach to its end, spaces included. */
export function parsePmiLine(line: string): Readonly<Record<string, string>> {
  const words: Record<string, string> = {};
  const tail = /(?:^|\s)(value|error_msg)=(.*)$/s.exec(line);
  const head = tail === null ? line : line.slice(0, tail.index);
  for (const word of head.split(" ")) {
    const equals = word.indexOf("=");
    if (equals > 0) words[word.slice(0, equals)] = word.slice(equals + 1);
  }
  if (tail !== null) words[tail[1]!] = tail[2]!;
  return words;
}

/** Cuts bytes into lines. Throws FluxError EPROTO where a line is longer than `maxBytes`. */
export class LineReader {
  readonly #maxBytes: number;
  #text = "";

  constructor(maxBytes: number = LINE_MAX) {
    this.#maxBytes = maxBytes;
  }

  /** The protocol is ASCII; a byte that is not decodes to something no command matches. */
  *feed(chunk: Uint8Array): Iterable<string> {
    this.#text += utf8Decode(chunk);
    for (let end = this.#text.indexOf("\n"); end >= 0; end = this.#text.indexOf("\n")) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      yield line.replace(/\r$/, "");
    }
    if (this.#text.length > this.#maxBytes) throw new FluxError("EPROTO", "PMI-1 line is too long");
  }
}

export class PmiServer {
  readonly #options: PmiServerOptions;
  readonly #values: Map<string, string>;
  /** Put since the last barrier. */
  #pending: Record<string, string> = {};
  #waiting: PmiConnection[] = [];

  constructor(options: PmiServerOptions) {
    this.#options = options;
    this.#values = new Map(Object.entries(options.preset ?? {}));
  }

  /** Begins to serve a process; one that `isLate` was started again, and waits for nobody. `send` gets whole lines with their line ends. */
  connect(rank: number, send: (bytes: Uint8Array) => void, isLate = false): PmiConnection {
    return new PmiConnection(this, this.#options, rank, send, isLate);
  }

  /** A process that came when the others had met already: what it says is there at once. */
  putLate(key: string, value: string): void {
    this.#values.set(key, value);
  }

  put(key: string, value: string): void {
    if (key.startsWith(LOCAL_PREFIX)) this.#values.set(key, value);
    else this.#pending[key] = value;
  }

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  enterBarrier(connection: PmiConnection): void {
    this.#waiting.push(connection);
    if (this.#waiting.length < this.#options.localSize) return;
    const waiting = this.#waiting;
    const puts = this.#pending;
    this.#waiting = [];
    this.#pending = {};
    const leave = (result: number): void => {
      for (const each of waiting) each.reply(`cmd=barrier_out rc=${result}`);
    };
    const merge = (values: Readonly<Record<string, string>>): void => {
      for (const [key, value] of Object.entries(values)) this.#values.set(key, value);
    };
    merge(puts);
    if (this.#options.exchange === undefined) return leave(Result.Success);
    this.#options.exchange(puts).then(
      (values) => {
        merge(values);
        leave(Result.Success);
      },
      () => leave(-1),
    );
  }
}

/** One process that is served. */
export class PmiConnection {
  readonly rank: number;
  readonly #server: PmiServer;
  readonly #options: PmiServerOptions;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #lines = new LineReader();
  /** Between `mcmd=spawn` and `endcmd`. */
  #inSpawn = false;
  #started = false;
  #finalized = false;
  #aborted = false;
  readonly #isLate: boolean;

  constructor(
    server: PmiServer,
    options: PmiServerOptions,
    rank: number,
    send: (bytes: Uint8Array) => void,
    isLate: boolean,
  ) {
    this.#isLate = isLate;
    this.#server = server;
    this.#options = options;
    this.rank = rank;
    this.#send = send;
  }

  /** The process has greeted and has not said that it is done: the others may wait for it. */
  get isActive(): boolean {
    return this.#started && !this.#finalized;
  }

  /** Takes bytes from the process. Throws FluxError EPROTO. */
  feed(chunk: Uint8Array): void {
    for (const line of this.#lines.feed(chunk)) {
      if (this.#aborted) return;
      this.#options.trace?.(this.rank, "C", line);
      this.#handle(line);
    }
  }

  reply(line: string): void {
    this.#options.trace?.(this.rank, "S", line);
    this.#send(utf8Encode(`${line}\n`));
  }

  #handle(line: string): void {
    const words = parsePmiLine(line);
    if (this.#inSpawn) {
      if (line.trim() !== "endcmd") return;
      this.#inSpawn = false;
      return this.reply("cmd=spawn_result rc=-1");
    }
    if (words["mcmd"] === "spawn") {
      this.#inSpawn = true;
      return;
    }
    const { kvsname, universeSize, appnum } = this.#options;
    switch (words["cmd"]) {
      case "init":
        return this.#init(words);
      case "get_maxes":
        return this.reply(
          `cmd=maxes rc=0 kvsname_max=${PMI_KVSNAME_MAX} keylen_max=${PMI_KEY_MAX} vallen_max=${PMI_VALUE_MAX}`,
        );
      case "get_appnum":
        return this.reply(`cmd=appnum rc=0 appnum=${appnum ?? 0}`);
      case "get_universe_size":
        return this.reply(`cmd=universe_size rc=0 size=${universeSize}`);
      case "get_my_kvsname":
        return this.reply(`cmd=my_kvsname rc=0 kvsname=${kvsname}`);
      case "put":
        return this.reply(`cmd=put_result rc=${this.#put(words)}`);
      case "get":
        return this.#get(words);
      case "barrier_in":
        return this.#isLate ? this.reply("cmd=barrier_out rc=0") : this.#server.enterBarrier(this);
      case "finalize":
        this.#finalized = true;
        return this.reply("cmd=finalize_ack rc=0");
      case "abort":
        return this.#abort(words);
      case "publish_name":
        return this.reply("cmd=publish_result rc=-1 msg=command not implemented");
      case "unpublish_name":
        return this.reply("cmd=unpublish_result rc=-1 msg=command not implemented");
      case "lookup_name":
        return this.reply("cmd=lookup_result rc=-1 msg=command not implemented");
      default:
        throw new FluxError("EPROTO", `PMI-1 wire protocol error: '${line}'`);
    }
  }

  #init(words: Readonly<Record<string, string>>): void {
    this.#started = true;
    const isKnown = words["pmi_version"] === "1" && Number(words["pmi_subversion"] ?? "0") >= 1;
    this.reply(isKnown ? "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1" : "cmd=response_to_init rc=-1");
  }

  #put(words: Readonly<Record<string, string>>): number {
    const { kvsname, key, value } = words;
    if (kvsname !== undefined && kvsname.length > PMI_KVSNAME_MAX) return Result.NameTooLong;
    if (key === undefined || key === "" || value === undefined) return Result.InvalidKey;
    if (key.length > PMI_KEY_MAX) return Result.KeyTooLong;
    if (value.length > PMI_VALUE_MAX) return Result.ValueTooLong;
    if (this.#isLate) this.#server.putLate(key, value);
    else this.#server.put(key, value);
    return Result.Success;
  }

  #get(words: Readonly<Record<string, string>>): void {
    const value = this.#server.get(words["key"] ?? "");
    if (value === undefined) this.reply(`cmd=get_result rc=${Result.InvalidKey}`);
    else this.reply(`cmd=get_result rc=${Result.Success} value=${value}`);
  }

  #abort(words: Readonly<Record<string, string>>): void {
    this.#aborted = true;
    const exitCode = Number(words["exitcode"] ?? words["exit_code"] ?? "1");
    this.#options.abort(this.rank, Number.isInteger(exitCode) ? exitCode : 1, words["error_msg"] ?? null);
  }
}
