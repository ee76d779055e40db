/**
 * The shell host: one process per broker that holds the shells of all jobs with tasks on that broker. It is a client of
 * the broker, and the services `shell-host` and `<uid>-shell-<id>` (one per job) are its.
 *
 * Invariants: what happens in a turn goes to the execution service in one message and to the KVS in one commit, the
 * commit first. A job is reported as over when all it has written is in the KVS, or on the way to the same broker ahead of
 * the report, or in the report itself: a little text that still waits to be written goes with it, and the execution service
 * writes it together with its own. When the broker is gone, no task is left.
 */
import { FluxError, isFluxError } from "../base/errors.ts";
import type { Integer, JsonObject } from "../base/json.ts";
import type { Ports, TimerHandle, WaitStatus } from "../base/ports.ts";
import { SIGNALS } from "../base/signals.ts";
import { f58FormOf } from "../formats/fluid.ts";
import type { EventMessage } from "../protocol/message.ts";
import {
  SHELL_AGENT_SERVICE,
  SHELL_HOST_SERVICE,
  SHELL_HOST_URI,
  type HostEvent,
  type ShellStart,
} from "../protocol/shell-host.ts";
import { findAttribute } from "../sdk/attributes.ts";
import { Guard } from "../sdk/guard.ts";
import type { Handle } from "../sdk/handle.ts";
import { KvsBatch } from "../sdk/kvs-batch.ts";
import { RequestSet } from "../sdk/request-set.ts";
import type { IncomingRequest } from "../sdk/request.ts";
import { ANY_USER, ANYONE, requireInteger, requireJobId, Server, type Method, type Methods } from "../sdk/service.ts";
import { EventQueue } from "./event-queue.ts";
import { planJob } from "./plan.ts";
import type { HostFacts } from "./plugin.ts";
import { Shell } from "./shell.ts";
import { TemporaryDirectories } from "./tmpdir.ts";

/** How long entries of exec.eventlog wait for company, in milliseconds. */
const LOG_DELAY_MS = 10;
/** Characters that a report may bring along for the KVS, per key. */
const REPORTED_LENGTH_MAX = 16 * 1024;
/** The guest keys that a shell writes. */
const GUEST_KEYS: readonly string[] = ["output", "input"];

interface HostedShell {
  readonly shell: Shell;
  /** The broker was told the name of the job's service: the host's own family of names does not hold it. */
  readonly hasOwnName: boolean;
}

export interface ShellHostOptions {
  readonly handle: Handle;
  readonly ports: Ports;
  /** It is the shell of one job only, and nobody attaches to it. */
  readonly single?: {
    /** Its own service. */
    readonly service: string;
    /** Takes what there is to tell. */
    report(events: readonly HostEvent[]): void;
  };
  /** Something went wrong that no job can be told. */
  complain(text: string): void;
}

/** Connects a shell host to its broker; resolves when jobs can be started. */
export async function startShellHost(options: ShellHostOptions): Promise<ShellHost> {
  const { handle, ports } = options;
  const batch = new KvsBatch({
    handle,
    clock: ports.clock,
    sender: ports.random.uuid(),
    failed: (error) => options.complain(`committing job output: ${error.message}`),
    delayed: (error) => options.complain(`committing job output: ${error.message}; trying again`),
  });
  const facts = await readFacts(options, batch);
  const host = new ShellHost(options, facts);
  await host.begin();
  return host;
}

async function readFacts(options: ShellHostOptions, batch: KvsBatch): Promise<HostFacts> {
  const { handle, ports } = options;
  const names = ["rank", "rundir", "local-uri", "instance-level", "jobid", "jobid-path"];
  const [rank, rundir, uri, level, jobId, jobIdPath] = await Promise.all(
    names.map((name) => findAttribute(handle, name)),
  );
  return {
    ports,
    handle,
    batch,
    service: options.single?.service ?? SHELL_HOST_SERVICE,
    directories: new TemporaryDirectories(ports.disk, ports.clock, options.complain),
    rank: Number(rank),
    rundir: rundir ?? ports.host.temporaryDirectory,
    uri: uri ?? ports.host.env[SHELL_HOST_URI] ?? "",
    instanceLevel: Number(level ?? 0),
    idForm: f58FormOf(ports.host.env),
    jobId: jobId ?? null,
    jobIdPath: jobIdPath ?? null,
  };
}

class ShellHost {
  readonly #options: ShellHostOptions;
  readonly #facts: HostFacts;
  readonly #server: Server;
  readonly #shells = new Map<Integer, HostedShell>();
  /** The execution service, where it is attached. */
  readonly #watchers = new RequestSet<null>();
  readonly #events = new EventQueue();
  /** Tells this host from another of the same rank. */
  readonly #uuid: string;
  /** Shells to be let go of when their end has been told. */
  readonly #ended: Shell[] = [];
  /** Leaders whose tasks have ended, by job: other shells may still send them output, until the job is over. */
  readonly #leaders = new Map<Integer, HostedShell>();
  #isFlushScheduled = false;
  #logTimer: TimerHandle | null = null;
  readonly #guard: Guard;
  readonly closed: Promise<void>;

  constructor(options: ShellHostOptions, facts: HostFacts) {
    this.#options = options;
    this.#facts = facts;
    const { handle } = options;
    this.#uuid = facts.ports.random.uuid();
    this.#server = new Server(handle, { rank: facts.rank, fatal: (error) => this.#fatal(error) });
    this.#server.add(facts.service, this.#methods());
    this.#guard = new Guard(facts.ports.exec, "jobs");
    this.closed = new Promise((resolve) => {
      handle.onClose(() => {
        this.#killAll();
        facts.directories.removeKept();
        resolve();
      });
    });
  }

  async begin(): Promise<void> {
    const { handle, uri, ports } = this.#facts;
    await handle.rpc("service.add", { service: this.#facts.service });
    const heard = ({ topic, payload }: EventMessage): void => this.#event(topic, payload?.value ?? {});
    await handle.subscribe("shell-", heard, { ownerOnly: true });
    if (this.#options.single !== undefined) return;
    this.#guard.post(uri, ports.host.env["PATH"] ?? "");
    // One name for the services of all jobs: a job has its service before it is heard of.
    await handle.rpc("service.add", { service: `${this.#facts.ports.host.uid}-shell-*` });
    await handle.rpc(`${SHELL_AGENT_SERVICE}.ready`, { pid: this.#facts.ports.host.pid });
  }

  /** Ends the tasks of all jobs by a signal. */
  terminate(signum: number): void {
    for (const { shell } of this.#shells.values()) shell.terminate(signum);
  }

  /** What its shells have written is in the KVS. */
  settle(): Promise<unknown> {
    const keys = [...this.#shells.values(), ...this.#leaders.values()].flatMap(({ shell }) => guestKeysOf(shell));
    return Promise.all(keys.map((key) => this.#facts.batch.settle(key)));
  }

  /** Ends every job and the connection. */
  stop(): void {
    this.#guard.dismiss();
    this.#killAll();
    this.#facts.handle.close();
  }

  #methods(): Methods {
    const passOn = (request: IncomingRequest): Promise<object> => this.#passOn(request);
    return {
      told: (request) => {
        this.#events.confirm(requireInteger(request.json, "through"));
        return undefined;
      },
      attach: { streaming: true, handler: (request) => this.#attach(request) },
      start: (request) => this.#start(request),
      kill: (request) => {
        this.#find(request)?.shell.terminate(requireInteger(request.json, "signum"));
        return undefined;
      },
      destroy: (request) => {
        this.#find(request)?.shell.destroy(requireInteger(request.json, "signum"));
        return undefined;
      },
      expiration: (request) => {
        this.#find(request)?.shell.setExpiration(Number(request.json["expiration"]));
        return undefined;
      },
      release: (request) => {
        const id = requireJobId(request.json, "id");
        const leader = this.#leaders.get(id);
        if (leader === undefined) return undefined;
        this.#leaders.delete(id);
        this.#removeService(leader);
        leader.shell.release();
        return undefined;
      },
      log: (request) => {
        const { level, message, component } = request.json;
        this.#findForJob(request)?.log(Number(level), String(message), String(component));
        return undefined;
      },
      exchange: passOn,
      write: passOn,
      stdin: passOn,
      processes: passOn,
      disconnect: { roles: ANYONE, handler: (request) => void this.#watchers.takeDisconnected(request) },
      "stats-get": { roles: ANY_USER, handler: () => ({ jobs: [...this.#shells.keys()] }) },
    };
  }

  #attach(request: IncomingRequest): undefined {
    this.#watchers.add(request, null);
    // Those that ended while nobody listened are among the jobs: how they ended is told next.
    const { since, host } = request.json;
    const isSame = host === this.#uuid && typeof since === "number";
    this.#events.again(isSame ? since : null);
    const jobs = new Set([...this.#shells.keys(), ...this.#events.jobs]);
    request.respond({ jobs: [...jobs], host: this.#uuid });
    this.#scheduleFlush();
    return undefined;
  }

  #start(request: IncomingRequest): undefined {
    for (const job of request.json["jobs"] as readonly object[]) this.startJob(job as ShellStart);
    return undefined;
  }

  startJob(start: ShellStart): void {
    const { id } = start;
    try {
      const { rank, ports } = this.#facts;
      const readFile = (path: string): Uint8Array => ports.disk.readFile(path);
      const shell = new Shell(planJob(start, { brokerRank: rank, cwd: ports.host.cwd, readFile }), {
        facts: this.#facts,
        report: (event) => this.#report(event),
        exited: (ended, status) => this.#exited(ended, status),
        barrier: () => this.#facts.handle.rpc("job-exec.shell-barrier", { id, rank }, { nodeid: 0 }),
      });
      const hasOwnName = this.#options.single !== undefined || shell.plan.userid !== this.#facts.ports.host.uid;
      this.#shells.set(id, { shell, hasOwnName });
      shell.start(() => this.#addService(shell));
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#report({ type: "exception", id, severity: 0, kind: "exec", note: error.message });
      this.#report({ type: "exit", id, status: 1 << 8 });
    }
  }

  #find(request: IncomingRequest): HostedShell | undefined {
    return this.#shells.get(requireJobId(request.json, "id"));
  }

  /** The shell, also of a leader whose tasks have ended. */
  #findForJob(request: IncomingRequest): Shell | undefined {
    return (this.#find(request) ?? this.#leaders.get(requireJobId(request.json, "id")))?.shell;
  }

  /** A request of one shell of a job to another. */
  #passOn(request: IncomingRequest): Promise<object> {
    const shell = this.#findForJob(request);
    if (shell === undefined) throw new FluxError("ENOENT", "no such job on this node");
    const method = request.topic.slice(request.topic.lastIndexOf(".") + 1);
    return shell.receive(method, request.json);
  }

  /** `shell-<id>.kill {signum}`: a signal for the tasks of a job, from whoever may send it. */
  #event(topic: string, payload: JsonObject): void {
    const match = /^shell-(\d+)\.kill$/.exec(topic);
    const signum = payload["signum"];
    if (match === null) return;
    for (const [id, { shell }] of this.#shells) {
      if (String(id) !== match[1]) continue;
      if (typeof signum === "number") shell.kill(signum);
      else shell.refuseKill();
    }
  }

  #addService(shell: Shell): void {
    const hosted = this.#shells.get(shell.plan.id);
    if (hosted === undefined) return;
    const kill: Method = {
      roles: ANY_USER,
      handler: (request) => {
        shell.kill(requireInteger(request.json, "signum"));
        return null;
      },
    };
    this.#server.add(shell.serviceName, forOwnerOf(shell, { ...shell.methods(), kill }));
    if (!hosted.hasOwnName) return;
    this.#facts.handle
      .rpc("service.add", { service: shell.serviceName })
      .catch((error: unknown) => this.#options.complain(`service ${shell.serviceName}: ${String(error)}`));
  }

  #report(event: HostEvent): void {
    this.#events.push(event);
    // An entry of the log waits for company: the job may be over in a moment.
    if (event.type !== "log") this.#scheduleFlush();
    else this.#logTimer ??= this.#facts.ports.clock.after(LOG_DELAY_MS, () => this.#scheduleFlush());
  }

  #exited(shell: Shell, status: WaitStatus): void {
    const { id } = shell.plan;
    const hosted = this.#shells.get(id);
    if (hosted === undefined) return;
    // The job's own service is there for as long as the job has tasks anywhere.
    const staysLeader = shell.isLeader && shell.plan.brokerRanks.length > 1;
    if (!staysLeader) this.#removeService(hosted);
    const { batch, rank } = this.#facts;
    const exit = (): void => {
      this.#shells.delete(id);
      if (staysLeader) this.#leaders.set(id, hosted);
      else this.#ended.push(shell);
      this.#report({ type: "exit", id, status, ...this.#takeAppends(shell) });
    };
    const keys = guestKeysOf(shell);
    // At rank 0 small commits and the report take the same way, and commits go first. Elsewhere only an answer tells.
    const isSingle = this.#options.single !== undefined;
    const isOrdered = rank === 0 && !batch.canBePassed;
    if (!isSingle && (isOrdered || !keys.some((key) => batch.isUnderWay(key, REPORTED_LENGTH_MAX)))) return exit();
    Promise.all(keys.map((key) => batch.settle(key))).then(exit, exit);
  }

  #removeService({ shell: { serviceName }, hasOwnName }: HostedShell): void {
    this.#server.remove(serviceName);
    if (hasOwnName) this.#facts.handle.send("service.remove", { service: serviceName });
  }

  /** What a shell has written and is not on its way yet, to go with the report; longer text goes in a commit. */
  #takeAppends({ guestKey }: Shell): { appends?: Record<string, string> } {
    const { batch } = this.#facts;
    const appends: Record<string, string> = {};
    for (const name of GUEST_KEYS) {
      const key = `${guestKey}.${name}`;
      const text = batch.take(key, REPORTED_LENGTH_MAX);
      if (text === null) batch.hasten(key);
      else appends[name] = text;
    }
    return Object.keys(appends).length === 0 ? {} : { appends };
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    this.#facts.ports.clock.defer(() => {
      this.#isFlushScheduled = false;
      this.#logTimer?.cancel();
      this.#logTimer = null;
      this.#facts.batch.flush();
      if (!this.#events.isEmpty && (this.#watchers.size > 0 || this.#options.single !== undefined)) {
        const told = this.#events.take();
        for (const [request] of this.#watchers) request.respond(told);
        this.#options.single?.report(told.events);
      }
      for (const shell of this.#ended.splice(0)) shell.release();
    });
  }

  #killAll(): void {
    this.#logTimer?.cancel();
    for (const { shell } of this.#shells.values()) shell.kill(SIGNALS["SIGKILL"]!);
  }

  #fatal(error: unknown): void {
    this.#killAll();
    throw error;
  }
}

function guestKeysOf({ guestKey }: Shell): string[] {
  return GUEST_KEYS.map((name) => `${guestKey}.${name}`);
}

/** The methods of a job's service, for the owner of the job and the owner of the instance. */
function forOwnerOf(shell: Shell, methods: Methods): Methods {
  const guard = (method: Methods[string]): Method => {
    const inner: Method = typeof method === "function" ? { handler: method } : method;
    return {
      ...inner,
      handler: (request) => {
        if (!request.isOwner && request.userid !== shell.plan.userid) throw new FluxError("EPERM");
        return inner.handler(request);
      },
    };
  };
  return Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, guard(method)]));
}
