/**
 * The execution service (RFC 32): runs the jobs that the job manager hands over, through the shell hosts. Runs at rank 0.
 *
 * Invariant: what a job has in its exec.eventlog is sent to the KVS before the job manager hears that the job is over;
 * one commit holds what all jobs of a turn have written.
 */
import { errnoSentence, FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { f58FormOf, formatFluid } from "../../formats/fluid.ts";
import { Idset } from "../../formats/idset.ts";
import { MATCHTAG_NONE, Payload, responseTo, type EventMessage } from "../../protocol/message.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import type { HostEvent, ShellStart } from "../../protocol/shell-host.ts";
import { KvsBatch } from "../../sdk/kvs-batch.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import {
  ANY_USER,
  ANYONE,
  requireInteger,
  requireJobId,
  requireNumber,
  requireObject,
  requireString,
  type Methods,
} from "../../sdk/service.ts";
import { HostLink, type HostLinkListener } from "./host-link.ts";
import { killedBy } from "./loss.ts";
import type { ExecRequest, JobExceptionEvent, StartResponse } from "./protocol.ts";
import { JobRunner } from "./runner.ts";
import { execSettings, settingsReport, type ExecSettings } from "./settings.ts";
import type { ExecWorld } from "./world.ts";

export const jobExecModule: ModuleDefinition = {
  name: "job-exec",
  async start(context) {
    const service = new JobExecService(context);
    await service.begin();
    return service;
  },
};

/** What this service writes of a job. */
const GUEST_LOGS: readonly string[] = ["exec.eventlog", "output", "input"];

class JobExecService implements RunningModule, ExecWorld, HostLinkListener {
  readonly context: ModuleContext;
  readonly batch: KvsBatch;
  settings: ExecSettings;
  readonly #runners = new Map<Integer, JobRunner>();
  readonly #links = new Map<number, HostLink>();
  /** The job manager as the sender of requests; null while it is away. */
  #manager: string | null = null;
  /** What there is to say of jobs that an earlier job manager handed over, until the present one asks for them. */
  readonly #untold = new Map<Integer, StartResponse[]>();
  #finished: JobRunner[] = [];
  #isSettleScheduled = false;

  constructor(context: ModuleContext) {
    this.context = context;
    this.settings = firstSettings(context);
    this.batch = new KvsBatch({
      handle: context.handle,
      clock: context.ports.clock,
      failed: (error) => context.log(LogLevel.err, `committing exec eventlogs: ${error.message}`),
      delayed: (error) => context.log(LogLevel.err, `committing exec eventlogs: ${error.message}; trying again`),
    });
  }

  async begin(): Promise<void> {
    const { server, handle, name } = this.context;
    server.add(name, this.#methods());
    const heard = ({ payload }: EventMessage): void =>
      this.#jobException((payload?.value ?? {}) as object as JobExceptionEvent);
    await handle.subscribe("job-exception", heard, { ownerOnly: true });
    await handle.rpc("job-manager.exec-hello", { service: name }, { nodeid: 0 });
  }

  configure(config: JsonObject): void {
    this.settings = execSettings(config, this.context.args);
  }

  stop(): void {
    for (const runner of this.#runners.values()) runner.stop();
    this.#runners.clear();
    this.batch.flush();
  }

  link(rank: number): HostLink {
    let link = this.#links.get(rank);
    if (link === undefined) {
      const { handle, ports, attribute } = this.context;
      const patienceMs = 1000 * (tryParseFsd(attribute("tbon.rejoin_timeout") ?? "") ?? 0);
      link = new HostLink({ rank, handle, listener: this, clock: ports.clock, patienceMs });
      this.#links.set(rank, link);
    }
    return link;
  }

  /** RFC 32 matches responses by job id, so one request may have many even where it is no stream. */
  respond(request: IncomingRequest, response: StartResponse): void {
    if (request.sender !== this.#manager) {
      const untold = this.#untold.get(response.id);
      if (untold === undefined) this.#untold.set(response.id, [response]);
      else untold.push(response);
      return;
    }
    this.context.handle.respond(responseTo(request.message, 0, Payload.json(response)));
  }

  end(request: IncomingRequest): void {
    if (request.isStreaming && request.matchtag !== MATCHTAG_NONE) request.end();
  }

  finished(runner: JobRunner): void {
    this.#finished.push(runner);
    this.#settleSoon();
  }

  settled(key: string): Promise<void> {
    this.#settleSoon();
    return this.batch.settle(key);
  }

  /** After the messages at hand, but before anything else: the KVS takes it in its present turn. */
  #settleSoon(): void {
    if (this.#isSettleScheduled) return;
    this.#isSettleScheduled = true;
    void Promise.resolve().then(() => this.#settleFinished());
  }

  drain(targets: string, reason: string): void {
    this.context.handle
      .rpc("resource.drain", { targets, reason, mode: "update" }, { nodeid: 0 })
      .catch((error: unknown) => this.context.log(LogLevel.err, `draining ${targets}: ${String(error)}`));
  }

  debug(text: string): void {
    this.context.log(LogLevel.debug, text);
  }

  idText(id: Integer): string {
    return formatFluid(id, f58FormOf(this.context.ports.host.env));
  }

  attached(rank: number, jobs: readonly Integer[]): void {
    const known = new Set(jobs);
    for (const runner of this.#runnersOn(rank)) runner.hostAttached(rank, known.has(runner.job.id));
  }

  events(rank: number, events: readonly HostEvent[]): void {
    for (const event of events) this.#runners.get(event.id)?.hostEvent(rank, event);
  }

  lost(rank: number, error: FluxError, status: number | null): void {
    const runners = this.#runnersOn(rank);
    // What a signal or a lost node did is in the logs of those whom it concerns.
    const isKnown = killedBy(status) !== null || error.is("EHOSTUNREACH");
    const level = isKnown ? LogLevel.info : LogLevel.err;
    if (runners.length > 0) this.context.log(level, `shell host of rank ${rank}: ${error.message}`);
    for (const runner of runners) runner.shellLost(rank, error, status);
  }

  #runnersOn(rank: number): JobRunner[] {
    return [...this.#runners.values()].filter((runner) => runner.isHosted && runner.job.isRunningOn(rank));
  }

  /** All jobs that begin or end in this turn: one commit, then the responses, so that these cannot overtake it. */
  #settleFinished(): void {
    this.#isSettleScheduled = false;
    const runners = this.#finished;
    this.#finished = [];
    this.batch.flush();
    for (const runner of runners) {
      this.#runners.delete(runner.job.id);
      const respond = (): void => runner.respondFinish();
      if (!this.batch.canBePassed) respond();
      else
        Promise.all(GUEST_LOGS.map((name) => this.batch.settle(`${runner.guestKey}.${name}`))).then(respond, respond);
    }
  }

  #methods(): Methods {
    return {
      start: (request) => this.#start(request),
      disconnect: {
        roles: ANYONE,
        handler: (request) => {
          if (request.sender === this.#manager) this.#manager = null;
          return undefined;
        },
      },
      "manager-started": async (request) => {
        this.#manager = request.sender;
        await this.context.handle.rpc("job-manager.exec-hello", { service: this.context.name }, { nodeid: 0 });
        return null;
      },
      expiration: (request) => {
        this.#runner(request, "id").setExpiration(requireNumber(request.json, "expiration"));
        return null;
      },
      "critical-ranks": { roles: ANY_USER, handler: (request) => this.#criticalRanks(request) },
      "shell-barrier": { roles: ANY_USER, handler: (request) => this.#shellBarrier(request) },
      "shell-start": (request) => this.#shellStart(request),
      "shell-report": (request) => this.#shellReport(request),
      override: { roles: ANY_USER, handler: (request) => this.#override(request) },
      "stats-get": { roles: ANY_USER, handler: () => this.#stats() },
    };
  }

  #start(request: IncomingRequest): undefined {
    const exec: ExecRequest = {
      id: requireJobId(request.json, "id"),
      userid: requireInteger(request.json, "userid"),
      jobspec: requireObject(request.json, "jobspec"),
      R: requireObject(request.json, "R"),
      reattach: request.json["reattach"] === true,
      wasInHand: request.json["inHand"] === true,
    };
    this.#manager = request.sender;
    const known = this.#runners.get(exec.id);
    const untold = this.#untold.get(exec.id) ?? [];
    this.#untold.delete(exec.id);
    known?.adopt(request);
    for (const response of untold) this.respond(request, response);
    if (known !== undefined || untold.length > 0) return undefined;
    try {
      const runner = new JobRunner(this, request, exec);
      this.#runners.set(exec.id, runner);
      runner.begin();
    } catch (error) {
      if (!isFluxError(error)) throw error;
      const { id } = exec;
      this.respond(request, { id, type: "exception", data: { severity: 0, type: "exec", note: error.message } });
      this.respond(request, { id, type: "release", data: { ranks: "all", final: true } });
      this.end(request);
      this.#runners.delete(id);
    }
    return undefined;
  }

  #jobException({ id, type, severity, wait_status: waitStatus }: JobExceptionEvent): void {
    if (severity === 0) this.#runners.get(id)?.jobException(type, waitStatus);
  }

  #criticalRanks(request: IncomingRequest): null {
    const runner = this.#runner(request, "id");
    if (!request.isOwner && request.userid !== runner.job.userid) throw new FluxError("EPERM");
    runner.job.setCritical(Idset.parse(requireString(request.json, "ranks")));
    return null;
  }

  #shellBarrier(request: IncomingRequest): undefined {
    const runner = this.#runner(request, "id");
    if (!request.isOwner && request.userid !== runner.job.userid) throw new FluxError("EPERM");
    runner.enterBarrier(request);
    return undefined;
  }

  /** What a job shell that is a program has to know. */
  #shellStart(request: IncomingRequest): ShellStart {
    const { isHosted, testRun, exec } = this.#runner(request, "id");
    if (isHosted || testRun !== null) throw new FluxError("EINVAL", "the job has no job shell of its own");
    const { id, userid, jobspec, R } = exec;
    return { id, userid, jobspec, R };
  }

  /** What it has to tell. */
  #shellReport(request: IncomingRequest): null {
    const runner = this.#runner(request, "id");
    const rank = requireInteger(request.json, "rank");
    const { events } = request.json;
    if (!Array.isArray(events)) throw new FluxError("EPROTO", "events are wanted");
    for (const event of events.filter(isShellEvent)) runner.hostEvent(rank, event);
    return null;
  }

  #override(request: IncomingRequest): null {
    const id = requireJobId(request.json, "jobid");
    const runner = this.#runners.get(id);
    if (runner === undefined || runner.testRun?.isOverridden !== true) throw new FluxError("ENOENT", "Job not found");
    if (!request.isOwner && request.userid !== runner.job.userid) throw new FluxError("EPERM", "Permission denied");
    runner.override(requireString(request.json, "event"), Number(request.json["status"] ?? 0));
    return null;
  }

  /** Throws FluxError ENOENT. */
  #runner(request: IncomingRequest, key: string): JobRunner {
    const runner = this.#runners.get(requireJobId(request.json, key));
    if (runner === undefined) throw new FluxError("ENOENT", "Job not found");
    return runner;
  }

  #stats(): JsonObject {
    const jobs = Object.fromEntries(
      [...this.#runners.values()].map((runner) => [this.idText(runner.job.id), runner.report]),
    );
    return { ...settingsReport(this.settings), jobs };
  }
}

/** What a job shell tells but for its end, which is that of its process. */
function isShellEvent(value: unknown): value is HostEvent {
  if (!isJsonObject(value)) return false;
  const { type, event, severity, kind, note } = value;
  if (type === "log") return isJsonObject(event) && typeof event["name"] === "string";
  return type === "exception" && [typeof severity, typeof kind, typeof note].join() === "number,string,string";
}

/** A module that cannot be loaded says why in the log, too. Throws FluxError EINVAL. */
function firstSettings(context: ModuleContext): ExecSettings {
  try {
    return execSettings(context.config(), context.args);
  } catch (error) {
    if (isFluxError(error))
      context.log(
        LogLevel.err,
        `${context.name}: error parsing config: ${error.message}: ${errnoSentence(error.errnum)}`,
      );
    throw error;
  }
}
