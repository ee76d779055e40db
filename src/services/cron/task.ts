/**
 * One run of an entry's command, from its deferral or start to its end, and the record of it that users see. It runs
 * through the subprocess server of a broker (RFC 42).
 */
import { base64Decode, utf8Decode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Clock, TimerHandle } from "../../base/ports.ts";
import { exitCodeOfStatus, signalOfStatus, signalSentence, SIGNALS } from "../../base/signals.ts";
import type { Handle } from "../../sdk/handle.ts";
import { LogLevel } from "../../sdk/module.ts";
import type { EntryRequest } from "./protocol.ts";

export type TaskState = "Deferred" | "Running" | "Exited" | "Failed" | "Timeout" | "Rexec Failure";

const FLAG_STDOUT = 1;
const FLAG_STDERR = 2;

export interface TaskSurroundings {
  readonly handle: Handle;
  readonly clock: Clock;
  log(level: LogLevel, text: string): void;
}

export class Task {
  readonly #surroundings: TaskSurroundings;
  readonly #entry: EntryRequest;
  /** What log lines about it begin with: `cron-7`. */
  readonly #label: string;
  readonly #createTime: number;
  #startTime = 0;
  #runningTime = 0;
  #endTime = 0;
  #pid = 0;
  #status = 0;
  #errnum = 0;
  #hasTimedOut = false;
  #isKilled = false;
  #isAbandoned = false;
  #timer: TimerHandle | null = null;
  #over: () => void = () => {};
  state: TaskState = "Deferred";

  constructor(surroundings: TaskSurroundings, entry: EntryRequest, label: string) {
    this.#surroundings = surroundings;
    this.#entry = entry;
    this.#label = label;
    this.#createTime = surroundings.clock.now();
  }

  get isOver(): boolean {
    return this.#endTime !== 0;
  }
  get hasSucceeded(): boolean {
    return this.state === "Exited";
  }
  /** Seconds since the epoch; 0 before. */
  get startTime(): number {
    return this.#startTime;
  }

  /** Starts the command; `over` is called at its end, whatever that is. */
  run(over: () => void): void {
    const { handle, clock } = this.#surroundings;
    const { command, cwd, environment, rank, timeoutSeconds } = this.#entry;
    this.#over = over;
    this.#startTime = clock.now();
    this.state = "Running";
    const request = {
      cmd: {
        cmdline: ["sh", "-c", command],
        ...(cwd === null ? {} : { cwd }),
        ...(environment === null ? {} : { env: environment }),
        opts: {},
        channels: [],
        msgchan: [],
      },
      flags: FLAG_STDOUT | FLAG_STDERR,
      local_flags: 0,
    };
    handle.open(
      "rexec.exec",
      request,
      {
        item: (payload) => payload !== null && this.#receive(payload.value),
        end: (error) => this.#ended(error),
      },
      { nodeid: rank },
    );
    if (timeoutSeconds !== null)
      this.#timer = clock.after(timeoutSeconds * 1000, () => this.#timedOut(), { background: true });
  }

  /** Asks the command to end (SIGTERM). One that has not begun yet is over at once. */
  kill(): void {
    if (this.state === "Deferred") {
      this.state = "Failed";
      this.#finish();
      return;
    }
    this.#isKilled = true;
    if (this.#pid === 0 || this.isOver) return;
    // It may have ended in the meantime.
    this.#surroundings.handle.send(
      "rexec.kill",
      { pid: this.#pid, signum: SIGNALS["SIGTERM"]! },
      { nodeid: this.#entry.rank },
    );
  }

  /** The service ends: the broker ends the command with it, and nobody is told any more. */
  abandon(): void {
    this.#timer?.cancel();
    this.#isAbandoned = true;
  }

  toJson(): JsonObject {
    const isStarted = this.#startTime > 0;
    return {
      rank: this.state === "Rexec Failure" ? 0 : this.#entry.rank,
      pid: this.#pid,
      status: this.#status,
      state: this.state,
      "create-time": this.#createTime,
      ...(this.#hasTimedOut ? { timedout: true } : {}),
      ...(this.#errnum === 0 ? {} : { rexec_errno: this.#errnum }),
      ...(this.isOver ? { code: this.#pid === 0 ? 0 : exitCodeOfStatus(this.#status) } : {}),
      ...(isStarted ? { "start-time": this.#startTime } : {}),
      ...(this.#runningTime > 0 ? { "running-time": this.#runningTime } : {}),
      ...(this.isOver ? { "end-time": this.#endTime } : {}),
    };
  }

  #receive(answer: JsonObject): void {
    switch (answer["type"]) {
      case "started":
        this.#pid = Number(answer["pid"]);
        this.#runningTime = this.#surroundings.clock.now();
        if (this.#isKilled) this.kill();
        return;
      case "output":
        return this.#output(answer["io"] as JsonObject);
      case "finished":
        this.#status = Number(answer["status"]);
    }
  }

  #output({ stream, data, encoding }: JsonObject): void {
    if (typeof data !== "string") return;
    const text = encoding === "base64" ? utf8Decode(base64Decode(data) ?? new Uint8Array(0)) : data;
    const level = stream === "stderr" ? LogLevel.err : LogLevel.info;
    const { name, command, rank } = this.#entry;
    for (const line of text.split("\n"))
      if (line !== "")
        this.#surroundings.log(level, `${this.#label}[${name}]: rank=${rank}: command="${command}": "${line}"`);
  }

  #timedOut(): void {
    this.#timer = null;
    this.#hasTimedOut = true;
    this.kill();
  }

  #ended(error: FluxError | null): void {
    if (this.#isAbandoned) return;
    const { command } = this.#entry;
    if (error !== null) {
      // A rank that is not there is unreachable, for whoever looks at the record.
      this.#errnum = error.errnum;
      this.state = "Rexec Failure";
      const program = command.split(/\s/, 1)[0];
      this.#surroundings.log(LogLevel.err, `${this.#label}: failure running ${program}: ${error.message}`);
    } else if (this.#status === 0) {
      // It may have done well in spite of the signal, but not in time.
      this.state = this.#hasTimedOut ? "Timeout" : "Exited";
    } else {
      this.state = this.#hasTimedOut ? "Timeout" : "Failed";
      const signum = signalOfStatus(this.#status);
      const how = signum === 0 ? `Exit ${exitCodeOfStatus(this.#status)}` : signalSentence(signum);
      this.#surroundings.log(LogLevel.err, `${this.#label}: "${command}": Failed: ${how}`);
    }
    this.#finish();
  }

  #finish(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#endTime = this.#surroundings.clock.now();
    this.#over();
  }
}
