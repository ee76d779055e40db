/**
 * The log of one broker: a ring of recent records, copies on standard error, and what goes up to the leader
 * (flux-broker(1), LOGGING). Served as `log.*`.
 *
 * Invariant: the ring never holds more than `log-ring-size` records. Records that came from followers are printed by the
 * leader and not kept in its ring.
 */
import { utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import type { Disk } from "../base/ports.ts";
import { Payload } from "../protocol/message.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { RequestSet } from "../sdk/request-set.ts";
import { ANYONE, requireString, type Methods } from "../sdk/service.ts";
import type { Attributes } from "./attributes.ts";
import { formatForStderr, formatLogRecord, parseLogRecord, type LogRecord } from "./log-record.ts";

const ATTRIBUTE_PREFIX = "log-";

export interface LogSurroundings {
  readonly rank: () => string;
  readonly pid: number;
  readonly attributes: Attributes;
  now(): number;
  stderr(text: string): void;
  /** Sends a line to the leader. */
  forward(line: string): void;
  /** Appends a line to `log-filename`, on the leader. Throws FluxError where it takes no more. */
  appendFile(path: string, line: string): void;
}

export class BrokerLog {
  readonly #surroundings: LogSurroundings;
  #ring: LogRecord[] = [];
  readonly #followers = new RequestSet<null>();
  /** Tell of records as they come: `flux shutdown` shows them. */
  readonly listeners: Set<(record: LogRecord) => void> = new Set();
  #local = 0;
  #remote = 0;
  /** Why the last line could not be copied to the file. */
  #fileTrouble: string | null = null;

  constructor(surroundings: LogSurroundings) {
    this.#surroundings = surroundings;
  }

  /** Adds a record of this broker. */
  append(appname: string, severity: number, text: string): void {
    const { now, rank, pid } = this.#surroundings;
    this.#take({ timestamp: now(), severity, rank: rank(), appname, procid: String(pid), text });
  }

  #level(name: string): number {
    return Number(this.#surroundings.attributes.get(name) ?? "-1");
  }

  #isLeader(): boolean {
    return this.#surroundings.rank() === "0";
  }

  #take(record: LogRecord): void {
    if (record.rank !== this.#surroundings.rank()) return this.#takeRemote(record);
    this.#local++;
    if (record.severity <= this.#level("log-level")) this.#keep(record);
    for (const listener of this.listeners) listener(record);
    if (!this.#isLeader() && record.severity <= this.#level("log-forward-level") && this.#stderrMode() === "leader")
      this.#surroundings.forward(formatLogRecord(record));
    if (this.#isLeader() || this.#stderrMode() === "local") this.#show(record);
    else if (record.severity <= this.#level("log-critical-level")) this.#surroundings.stderr(formatForStderr(record));
    if (this.#isLeader()) this.#copyToFile(record);
  }

  /** A follower's record, at the leader. */
  #takeRemote(record: LogRecord): void {
    this.#remote++;
    for (const listener of this.listeners) listener(record);
    if (this.#stderrMode() === "leader") this.#show(record);
    this.#copyToFile(record);
  }

  #stderrMode(): string {
    return this.#surroundings.attributes.get("log-stderr-mode") ?? "leader";
  }

  #show(record: LogRecord): void {
    const isShown =
      record.severity <= this.#level("log-stderr-level") || record.severity <= this.#level("log-critical-level");
    if (isShown) this.#surroundings.stderr(formatForStderr(record));
  }

  #copyToFile(record: LogRecord): void {
    const path = this.#surroundings.attributes.get("log-filename");
    if (path === null || path === "") return;
    try {
      this.#surroundings.appendFile(path, formatForStderr(record));
      this.#fileTrouble = null;
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      if (this.#fileTrouble !== error.message) this.#complain(record, error.message);
      this.#fileTrouble = error.message;
    }
  }

  /** Said to people only: the log itself is what cannot be written. */
  #complain({ timestamp, rank, procid }: LogRecord, message: string): void {
    const text = `log-filename: ${message}`;
    this.#surroundings.stderr(formatForStderr({ timestamp, severity: 3, rank, appname: "broker", procid, text }));
  }

  #keep(record: LogRecord): void {
    const limit = Math.max(1, this.#level("log-ring-size"));
    this.#ring.push(record);
    // Cut now and then, not at each record: shifting a long array costs.
    if (this.#ring.length > limit * 2) this.#ring = this.#ring.slice(-limit);
    const line = formatLogRecord(record);
    for (const [request] of this.#followers) request.respond(Payload.text(line));
  }

  #recent(): LogRecord[] {
    return this.#ring.slice(-Math.max(1, this.#level("log-ring-size")));
  }

  /** The methods of the service `log`. */
  methods(): Methods {
    return {
      append: (request) => {
        this.#take(parseLogRecord(utf8Decode(request.bytes ?? new Uint8Array(0)).replace(/\0$/, "")));
        return null;
      },
      clear: () => {
        this.#ring = [];
        return null;
      },
      dmesg: { streaming: true, handler: (request) => this.#dmesg(request) },
      cancel: (request) => {
        this.#followers.takeCanceled(request)?.[0].end();
        return undefined;
      },
      disconnect: {
        roles: ANYONE,
        handler: (request) => {
          this.#followers.takeDisconnected(request);
          return undefined;
        },
      },
      setattr: (request) => {
        const name = requireString(request.json, "name");
        if (!name.startsWith(ATTRIBUTE_PREFIX)) throw new FluxError("EINVAL", `${name} is not a log attribute`);
        this.#surroundings.attributes.setByClient(name, requireString(request.json, "value"), false);
        return null;
      },
      "stats-get": {
        roles: ANYONE,
        handler: () => ({
          "ring-used": this.#recent().length,
          count: this.#local + this.#remote,
          local: this.#local,
          remote: this.#remote,
        }),
      },
    };
  }

  #dmesg(request: IncomingRequest): undefined {
    const { follow, nobacklog } = request.json;
    if (nobacklog !== true) for (const record of this.#recent()) request.respond(Payload.text(formatLogRecord(record)));
    if (follow === true) this.#followers.add(request, null);
    else request.end();
  }

  /** Ends all streams. */
  close(): void {
    this.#followers.failAll(new FluxError("ENODATA"));
  }
}

/** Adds a line to a file; the file may be moved away between lines. */
export function appendLine(disk: Disk, path: string, line: string): void {
  const log = disk.openLog(path);
  try {
    log.append(utf8Encode(line));
  } finally {
    log.close();
  }
}
