/**
 * The terminal sessions behind one service name (`flux terminus`): a list of them, new ones, their ends. A user's own
 * server has them (`<uid>-terminus`), and every job with an interactive terminal (`<uid>-shell-<id>.terminus`).
 *
 * Invariants: a session has the lowest number that is free; its requests are `NAME.<number>`. Only the user whose server it
 * is, and the owner of the instance, are served.
 */
import { FluxError, errnoSentence, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import type { ChildProcess, Clock, Exec } from "../../base/ports.ts";
import { SIGNALS } from "../../base/signals.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, ANYONE, requireInteger, type Method, type Methods } from "../../sdk/service.ts";
import { TERMINAL_SIZE_DEFAULT, TerminalSession, type TerminalProcess } from "./session.ts";

/** Sessions of one server. */
const SESSIONS_MAX = 64;
/** The variable by which a program knows that it runs in a session. */
export const SESSION_VARIABLE = "FLUX_TERMINUS_SESSION";

export interface TerminusOptions {
  readonly service: string;
  readonly rank: number;
  readonly clock: Clock;
  readonly exec: Exec;
  /** The user whose sessions these are. */
  readonly userid: number;
  /** What programs are started with whose request does not say. */
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** There is no session any more. */
  emptied?(): void;
  /** A client asked for the end of the server. */
  stopped?(): void;
}

export class Terminus {
  readonly #options: TerminusOptions;
  readonly #sessions = new Map<number, TerminalSession>();
  readonly #createdAt: number;

  constructor(options: TerminusOptions) {
    this.#options = options;
    this.#createdAt = options.clock.now();
  }

  /** The methods of the service; `prefix` where the service has other methods, too ("terminus."). */
  methods(prefix = ""): Methods {
    const own: Record<string, Method["handler"]> = {
      list: () => this.#list(),
      new: (request) => this.#new(request),
      kill: (request) => this.#kill(request),
      "kill-server": () => this.#killServer(),
    };
    for (let id = 0; id < SESSIONS_MAX; id++) own[id] = (request) => this.#find(id).receive(request);
    const methods: Record<string, Method> = {};
    for (const [name, handler] of Object.entries(own))
      methods[prefix + name] = {
        roles: ANY_USER,
        handler: (request) => {
          if (!request.isOwner && request.userid !== this.#options.userid) throw new FluxError("EPERM");
          return handler(request);
        },
      };
    const disconnect: Method = { roles: ANYONE, handler: ({ sender }) => this.#disconnect(sender) };
    return { ...methods, [`${prefix}disconnect`]: disconnect, disconnect };
  }

  #disconnect(sender: string): undefined {
    for (const session of this.#sessions.values()) session.disconnect(sender);
    return undefined;
  }

  /** A session whose program somebody else starts and follows. Throws FluxError ENOSPC. */
  open(
    name: string,
    { waitsForClient, runsUnseen }: { waitsForClient: boolean; runsUnseen: boolean },
  ): TerminalSession {
    const id = this.#freeId();
    const createdAt = this.#options.clock.now();
    const session = new TerminalSession({ id, name, createdAt, waitsForClient, runsUnseen });
    this.#sessions.set(id, session);
    void session.closed.then(() => {
      this.#sessions.delete(id);
      if (this.#sessions.size === 0) this.#options.emptied?.();
    });
    return session;
  }

  killAll(signum: number): void {
    for (const session of this.#sessions.values()) session.kill(signum);
  }

  #freeId(): number {
    for (let id = 0; id < SESSIONS_MAX; id++) if (!this.#sessions.has(id)) return id;
    throw new FluxError("ENOSPC", `there are ${SESSIONS_MAX} sessions already`);
  }

  #find(id: number): TerminalSession {
    const session = this.#sessions.get(id);
    if (session === undefined) throw new FluxError("ENOENT");
    return session;
  }

  #list(): object {
    const { service, rank } = this.#options;
    const sessions = [...this.#sessions.values()].map((session) => session.describe());
    return { sessions, server: { service, rank, ctime: this.#createdAt } };
  }

  #new(request: IncomingRequest): object {
    const { name, cmd, environ, cwd, wait } = request.json;
    const given = Array.isArray(cmd) ? cmd.map(String) : [];
    const { environment, service } = this.#options;
    const argv = given.length > 0 ? given : [environment["SHELL"] ?? "/bin/sh"];
    const program = argv[0]!;
    const title = typeof name === "string" && name !== "" ? name : program.slice(program.lastIndexOf("/") + 1);
    const id = this.#freeId();
    const env = { ...(isJsonObject(environ) ? textsOf(environ) : environment), [SESSION_VARIABLE]: String(id) };
    const directory = typeof cwd === "string" ? cwd : this.#options.cwd;
    let session: TerminalSession | null = null;
    const events = {
      output: (_stream: string, chunk: Uint8Array | null) => void (chunk !== null && session?.output(chunk)),
      exit: (status: number) => void session?.exited(status),
    };
    const terminal = { stdin: "pipe", stdout: "pipe", stderr: "pipe", pty: TERMINAL_SIZE_DEFAULT } as const;
    let child: ChildProcess;
    try {
      child = this.#options.exec.spawn({ argv, env, cwd: directory, ...terminal, diesWithParent: true }, events);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      throw new FluxError(error.errnum, `failed to run ${program}: ${errnoSentence(error.errnum)}`, { cause: error });
    }
    session = this.open(title, { waitsForClient: wait === 1 || wait === true, runsUnseen: false });
    session.bind(processOf(child));
    return { name: title, pty_service: `${service}.${id}`, id };
  }

  async #kill(request: IncomingRequest): Promise<object | null> {
    const session = this.#find(requireInteger(request.json, "id"));
    const { signal = SIGNALS["SIGKILL"]!, wait } = request.json;
    if (typeof signal !== "number") throw new FluxError("EPROTO", "signal must be a number");
    session.kill(signal);
    if (wait !== 1 && wait !== true) return null;
    return { type: "exit", message: "session exiting", status: await session.closed };
  }

  #killServer(): null {
    this.killAll(SIGNALS["SIGKILL"]!);
    this.#options.stopped?.();
    return null;
  }
}

function processOf(child: ChildProcess): TerminalProcess {
  return {
    pid: child.pid,
    write: (chunk) => child.write("stdin", chunk),
    drained: () => child.drained("stdin"),
    resize: (rows, columns) => child.resizePty(rows, columns),
    kill: (signum) => void child.kill(signum, { group: true }),
    hold: (isHeld) => (isHeld ? child.pauseOutput("stdout") : child.resumeOutput("stdout")),
  };
}

function textsOf(environ: JsonObject): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(environ)) if (typeof value === "string") variables[name] = value;
  return variables;
}
