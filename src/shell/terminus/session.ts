/**
 * A terminal session: a program on a pseudo terminal, and the clients that look at it and type into it. What clients and
 * sessions say to each other is the protocol of `flux terminus` and of interactive jobs: a streaming request
 * `{type: "attach", mode, winsize}` gets `{type: "data"}` and at last `{type: "exit", message, status}`; plain requests of
 * the same client are `{type: "data" | "resize" | "detach"}`.
 *
 * Invariants: a client that reads gets every byte from its attachment on, in order, and then the exit. What was printed
 * before the first of them came is kept for it, and the program waits when that is too much. Later, while nobody looks,
 * the program goes on and the last of what it prints is kept. A client that reads slowly holds the program back.
 *
 * It does not know what starts the program, nor under which name requests reach it.
 */
import { base64Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { SIGNALS } from "../../base/signals.ts";
import { encodeStreamData } from "../../formats/stream-data.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { requireObject, requireString } from "../../sdk/service.ts";

/** Output that is kept while no client reads, in bytes. */
const KEPT_BYTES_MAX: number = 64 * 1024;
/** Output under way to one client before the program is held back, in bytes. */
const UNDER_WAY_BYTES_MAX: number = 256 * 1024;
const EXIT_TEXT = "session exiting";

/** The program of a session, as it is started. */
export interface TerminalProcess {
  readonly pid: number;
  write(chunk: Uint8Array): boolean;
  drained(): Promise<void>;
  resize(rows: number, columns: number): void;
  kill(signum: number): void;
  /** Holds its output back, or lets it come again. */
  hold(isHeld: boolean): void;
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

export const TERMINAL_SIZE_DEFAULT: TerminalSize = { rows: 24, columns: 80 };

export interface SessionOptions {
  readonly id: number;
  readonly name: string;
  /** Seconds since the epoch. */
  readonly createdAt: number;
  /** A program that has ended is there until a client has looked at what it printed. */
  readonly waitsForClient: boolean;
  /** The program goes on though nobody has looked yet: what it prints is kept elsewhere, too. */
  readonly runsUnseen: boolean;
}

interface Client {
  readonly reads: boolean;
  readonly writes: boolean;
  underWayBytes: number;
}

export class TerminalSession {
  readonly options: SessionOptions;
  readonly #clients = new Map<IncomingRequest, Client>();
  readonly #closed = Promise.withResolvers<number>();
  #process: TerminalProcess | null = null;
  #size: TerminalSize = TERMINAL_SIZE_DEFAULT;
  /** What was typed before there was a program. */
  #typed: Uint8Array[] = [];
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #wasSeen = false;
  #isHeld = false;
  #isKilled = false;
  #status: number | null = null;
  #isClosed = false;

  constructor(options: SessionOptions) {
    this.options = options;
  }

  /** Resolves with the wait status when the program has ended and, where that is asked for, somebody has looked. */
  get closed(): Promise<number> {
    return this.#closed.promise;
  }

  get isExited(): boolean {
    return this.#status !== null;
  }

  get size(): TerminalSize {
    return this.#size;
  }

  /** The program runs. */
  bind(process: TerminalProcess): void {
    this.#process = process;
    for (const chunk of this.#typed.splice(0)) process.write(chunk);
  }

  describe(): JsonObject {
    const { id, name, createdAt } = this.options;
    return {
      id,
      name,
      clients: this.#clients.size,
      pid: this.#process?.pid ?? -1,
      exited: this.isExited ? 1 : 0,
      ctime: createdAt,
    };
  }

  /** A request of a client. Throws FluxError EPROTO, ENOENT, EINVAL. */
  receive(request: IncomingRequest): Promise<null> | null | undefined {
    const type = requireString(request.json, "type");
    if (type === "attach") return this.#attach(request);
    const client = this.#clientOf(request);
    switch (type) {
      case "data":
        return this.#type(client, request.json);
      case "resize":
        this.#resize(requireObject(request.json, "winsize"));
        return null;
      case "detach":
        this.#detach(request);
        return null;
      default:
        throw new FluxError("EPROTO", `unknown request '${type}' to a terminal session`);
    }
  }

  /** A program of the sender is gone. */
  disconnect(sender: string): void {
    for (const request of this.#clients.keys()) if (request.sender === sender) this.#clients.delete(request);
    this.#balance();
  }

  /** What the program prints. */
  output(chunk: Uint8Array): void {
    let isSeen = false;
    for (const [request, client] of this.#clients) {
      if (!client.reads) continue;
      isSeen = true;
      this.#send(request, client, chunk);
    }
    if (!isSeen) this.#keep(chunk);
    this.#balance();
  }

  /** The program has ended, and all it printed was given to `output`. */
  exited(status: number): void {
    if (this.#status !== null) return;
    this.#status = status;
    this.#process = null;
    for (const request of this.#clients.keys()) this.#tellExit(request, EXIT_TEXT, status);
    if (this.#wasSeen || !this.options.waitsForClient) this.#close();
  }

  kill(signum: number): void {
    // A program that is held back gets no further: what it still prints is of no interest to who ends it.
    this.#wasSeen = true;
    this.#isKilled ||= signum === SIGNALS["SIGKILL"];
    this.#process?.kill(signum);
    this.#balance();
    if (this.isExited) this.#close();
  }

  #attach(request: IncomingRequest): undefined {
    if (!request.isStreaming) throw new FluxError("EPROTO", "attach is a streaming request");
    const mode = request.json["mode"] ?? "rw";
    if (mode !== "rw" && mode !== "ro" && mode !== "wo")
      throw new FluxError("EINVAL", `invalid mode '${String(mode)}'`);
    const client: Client = { reads: mode !== "wo", writes: mode !== "ro", underWayBytes: 0 };
    request.respond({ type: "attach" });
    if (client.reads) {
      this.#wasSeen = true;
      const { winsize } = request.json;
      if (isJsonObject(winsize)) this.#resize(winsize);
      for (const chunk of this.#kept.splice(0)) this.#send(request, client, chunk);
      this.#keptBytes = 0;
    }
    if (this.#status !== null) {
      this.#tellExit(request, EXIT_TEXT, this.#status);
      if (client.reads) this.#close();
      return undefined;
    }
    if (!request.isAbandoned) this.#clients.set(request, client);
    this.#balance();
    return undefined;
  }

  #clientOf({ sender }: IncomingRequest): Client {
    for (const [request, client] of this.#clients) if (request.sender === sender) return client;
    throw new FluxError("ENOENT", "not attached to this session");
  }

  async #type(client: Client, payload: JsonObject): Promise<null> {
    if (!client.writes) throw new FluxError("EPERM", "attached read-only");
    const chunk = bytesOf(payload);
    if (chunk.byteLength === 0) return null;
    if (this.#process === null) this.#typed.push(chunk);
    else if (!this.#process.write(chunk)) await this.#process.drained();
    return null;
  }

  #resize({ rows, cols }: JsonObject): void {
    if (!isExtent(rows) || !isExtent(cols)) return;
    this.#size = { rows, columns: cols };
    this.#process?.resize(rows, cols);
  }

  #detach({ sender }: IncomingRequest): void {
    for (const request of this.#clients.keys())
      if (request.sender === sender) this.#tellExit(request, "Client requested detach", 0);
    this.#balance();
  }

  #send(request: IncomingRequest, client: Client, chunk: Uint8Array): void {
    client.underWayBytes += chunk.byteLength;
    void request.respondInTurn({ type: "data", ...encodeStreamData(chunk) }).then(() => {
      client.underWayBytes -= chunk.byteLength;
      this.#balance();
    });
  }

  #tellExit(request: IncomingRequest, message: string, status: number): void {
    this.#clients.delete(request);
    request.respond({ type: "exit", message, status });
    request.end();
  }

  #keep(chunk: Uint8Array): void {
    this.#kept.push(chunk);
    this.#keptBytes += chunk.byteLength;
    // Before anyone has looked nothing is lost: the program is held back instead.
    if (!this.#wasSeen && !this.options.runsUnseen) return;
    while (this.#kept.length > 1 && this.#keptBytes > KEPT_BYTES_MAX) this.#keptBytes -= this.#kept.shift()!.byteLength;
  }

  /** Holds the program back, or lets it go on, as there is room for what it prints. */
  #balance(): void {
    let isFull = !this.#wasSeen && !this.options.runsUnseen && this.#keptBytes >= KEPT_BYTES_MAX;
    for (const { underWayBytes } of this.#clients.values()) isFull ||= underWayBytes >= UNDER_WAY_BYTES_MAX;
    isFull &&= !this.#isKilled;
    if (isFull === this.#isHeld) return;
    this.#isHeld = isFull;
    this.#process?.hold(isFull);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#closed.resolve(this.#status ?? 0);
  }
}

function isExtent(value: JsonValue | undefined): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= 0xffff;
}

/** Throws FluxError EPROTO. */
function bytesOf(payload: JsonObject): Uint8Array {
  const data = requireString(payload, "data");
  if (payload["encoding"] !== "base64") return utf8Encode(data);
  const bytes = base64Decode(data);
  if (bytes === null) throw new FluxError("EPROTO", "data is not base64");
  return bytes;
}
