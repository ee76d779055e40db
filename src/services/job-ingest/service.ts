/**
 * The ingest service: submissions of one event-loop turn are stored in one KVS commit and handed to the job manager in
 * one message. A submitter hears its job's id only when the job is safely stored.
 */
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import type { Integer, JsonObject, JsonValue } from "../../base/json.ts";
import { FluidGenerator, fluidParts } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { JobFlag, type SubmittedJob } from "../../sdk/job-protocol.ts";
import { PRIMARY_NAMESPACE, type Operation } from "../../sdk/kvs-protocol.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, ANYONE } from "../../sdk/service.ts";
import { checkSubmission, openSubmission, operationsOf, removalOf, type Checked, type Opened } from "./core.ts";
import { SharedEnvironments } from "./environments.ts";
import { frobnicate } from "./frobnicate.ts";
import { parseSubmit, type SubmitRequest } from "./protocol.ts";
import { DEFAULT_SETTINGS, generatorOf, ingestSettings, type ExternalStage, type IngestSettings } from "./settings.ts";
import type { ValidatorSettings } from "./validate.ts";
import { WorkCrew } from "./workers.ts";

const SERVICE = "job-ingest";
/** Jobs in one commit; more of the same turn go with a second one. */
const BATCH_MAX = 1000;

export const jobIngestModule: ModuleDefinition = { name: SERVICE, start: (context) => JobIngestService.start(context) };

interface Entry {
  readonly request: IncomingRequest;
  readonly job: SubmittedJob;
  readonly envelope: string;
  readonly checked: Checked;
}

class JobIngestService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #generatorNumber: number;
  /** What makes ids; null until it is known where those of the instance are. */
  #generator: FluidGenerator | null = null;
  #generatorUnderWay: Promise<FluidGenerator> | null = null;
  readonly #environments = new SharedEnvironments();
  /** What the built-in plugins of each stage have done. */
  readonly #frobnicated = { requests: 0, errors: 0 };
  readonly #validated = { requests: 0, errors: 0 };
  #settings: IngestSettings = DEFAULT_SETTINGS;
  #frobnicators: WorkCrew | null = null;
  #validators: WorkCrew | null = null;
  /** The hosts of the instance, once somebody asked; null where they are not known. */
  #hosts: Hostlist | null | undefined = undefined;
  #batch: Entry[] = [];
  #isScheduled = false;

  private constructor(context: ModuleContext, generator: number) {
    this.#context = context;
    this.#generatorNumber = generator;
  }

  static async start(context: ModuleContext): Promise<RunningModule> {
    const generator = generatorOf(context.rank, context.args);
    if (generator === null) return standAside(context);
    const service = new JobIngestService(context, generator);
    service.configure(context.config());
    context.server.add(SERVICE, {
      submit: { roles: ANY_USER, handler: (request) => service.#submit(request) },
      getinfo: async () => ({ timestamp: (await service.#readyGenerator()).timestampMs(service.#nowMs()) }),
      "stats-get": { roles: ANYONE, handler: () => service.#statistics() },
    });
    // Other ranks ask when the first job comes, so that brokers need not wait for one another when they start.
    if (context.rank === 0) await service.#readyGenerator();
    return service;
  }

  async #readyGenerator(): Promise<FluidGenerator> {
    try {
      this.#generator ??= await (this.#generatorUnderWay ??= this.#makeGenerator());
      return this.#generator;
    } finally {
      this.#generatorUnderWay = null;
    }
  }

  /** Ids count milliseconds: those of all ranks together, and those of an instance that comes back from where it was. */
  async #makeGenerator(): Promise<FluidGenerator> {
    const epochMs = Math.floor(this.#nowMs()) - (await this.#passedMs());
    return new FluidGenerator({ generator: this.#generatorNumber, epochMs });
  }

  async #passedMs(): Promise<number> {
    const { handle, rank } = this.#context;
    if (rank > 0) {
      try {
        return (await handle.rpc<{ timestamp: number }>("job-ingest.getinfo", null, { nodeid: 0 })).timestamp;
      } catch (error) {
        if (!isFluxError(error, "ENOSYS")) throw error;
      }
    }
    const { max_jobid: id } = await handle.rpc<{ max_jobid: Integer }>("job-manager.getinfo", null, { nodeid: 0 });
    return id === 0 ? 0 : fluidParts(id).timestampMs + 1;
  }

  configure(config: JsonObject): void {
    const settings = ingestSettings(config, this.#context.args);
    this.#settings = settings;
    this.#context.log(LogLevel.debug, settings.report);
    this.#dismissCrews();
    this.#frobnicators = this.#crew("job-frobnicator", settings.externalFrobnicators);
    this.#validators = this.#crew("job-validator", settings.externalValidators);
  }

  stop(): void {
    for (const { request } of this.#batch) request.respondError(new FluxError("ENOSYS", "job-ingest is unloading"));
    this.#batch = [];
    this.#dismissCrews();
  }

  #dismissCrews(): void {
    this.#frobnicators?.stop();
    this.#validators?.stop();
  }

  #crew(program: string, stage: ExternalStage | null): WorkCrew | null {
    if (stage === null) return null;
    const args = [`--plugins=${stage.plugins.join(",")}`, ...stage.args];
    return new WorkCrew(this.#context, { program, args, bufferSizeBytes: this.#settings.bufferSizeBytes });
  }

  #nowMs(): number {
    return this.#context.ports.clock.now() * 1000;
  }

  #submit(request: IncomingRequest): undefined | Promise<undefined> {
    const submission = parseSubmit(request);
    if (this.#generator === null) return this.#readyGenerator().then(() => this.#take(request, submission));
    return this.#take(request, submission);
  }

  #take(request: IncomingRequest, submission: SubmitRequest): undefined | Promise<undefined> {
    const { userid, isOwner } = request;
    const opened = openSubmission(submission, { userid, isOwner });
    const { frobnicators, policy, validator } = this.#settings;
    const change = (): JsonValue => frobnicate(opened.original, frobnicators, policy);
    const changed = frobnicators.length === 0 ? opened.original : counted(this.#frobnicated, change);
    const validates = (submission.flags & JobFlag.NoValidate) === 0 && validator !== null;
    const isQuick = !validates || (!validator.plugins.includes("feasibility") && this.#validators === null);
    if (this.#frobnicators !== null || !isQuick) return this.#submitSlowly(request, submission, opened, changed);
    this.#accept(request, submission, this.#check(opened, changed, validates ? validator : null));
    return undefined;
  }

  #check(opened: Opened, jobspec: JsonValue, validator: ValidatorSettings | null): Checked {
    const check = (): Checked => checkSubmission(opened, jobspec, validator, () => this.#knownHosts());
    return validator === null ? check() : counted(this.#validated, check);
  }

  /** The same, with others asked: worker programs, and the scheduler whether the job could ever run. */
  async #submitSlowly(
    request: IncomingRequest,
    submission: SubmitRequest,
    opened: Opened,
    frobnicated: JsonValue,
  ): Promise<undefined> {
    const { urgency, flags } = submission;
    const { userid, rolemask } = request;
    const job = (jobspec: JsonValue): JsonObject => ({ jobspec, userid, rolemask, urgency, flags });
    const fromOthers = await this.#frobnicators?.run(job(frobnicated));
    const validator = (flags & JobFlag.NoValidate) === 0 ? this.#settings.validator : null;
    const checked = this.#check(opened, fromOthers ?? frobnicated, validator);
    if (validator?.plugins.includes("feasibility") === true) await this.#checkFeasibility(checked);
    if (validator !== null) await this.#validators?.run(job(checked.jobspec));
    this.#accept(request, submission, checked);
    return undefined;
  }

  async #checkFeasibility({ jobspec }: Checked): Promise<void> {
    try {
      await this.#context.handle.rpc("feasibility.check", { jobspec });
    } catch (error) {
      // Without a scheduler nobody knows: the one that comes will say what it thinks of the job.
      if (isFluxError(error, "ENOSYS")) return;
      this.#validated.errors += 1;
      throw error;
    }
  }

  #knownHosts(): Hostlist | null {
    if (this.#hosts === undefined) this.#hosts = Hostlist.tryParse(this.#context.attribute("hostlist") ?? "");
    return this.#hosts === null || this.#hosts.isEmpty ? null : this.#hosts;
  }

  #accept(request: IncomingRequest, submission: SubmitRequest, checked: Checked): void {
    const { J, urgency, flags } = submission;
    const job: SubmittedJob = {
      id: this.#generator!.next(this.#nowMs()),
      userid: request.userid,
      urgency,
      flags,
      t_submit: this.#context.ports.clock.now(),
      jobspec: this.#environments.share(checked.jobspec),
    };
    this.#batch.push({ request, job, envelope: J, checked });
    const { batchCount } = this.#settings;
    if (this.#isScheduled || this.#batch.length < batchCount) return;
    this.#isScheduled = true;
    this.#context.ports.clock.defer(() => this.#flush());
  }

  #flush(): void {
    this.#isScheduled = false;
    const batch = this.#batch;
    this.#batch = [];
    for (let at = 0; at < batch.length; at += BATCH_MAX) void this.#process(batch.slice(at, at + BATCH_MAX));
  }

  /** Stores a batch, hands it on, and answers. Never rejects. */
  async #process(batch: readonly Entry[]): Promise<void> {
    try {
      await this.#commit(batch.flatMap(({ job, envelope, checked }) => operationsOf(job, envelope, checked.payload)));
      const errors = await this.#announce(batch.map(({ job }) => job));
      const texts = new Map(errors);
      for (const { request, job } of batch) {
        const text = texts.get(job.id);
        if (text === undefined) request.respond({ id: job.id });
        else request.respondError(new FluxError("EINVAL", text));
      }
      if (errors.length > 0) await this.#commit(errors.map(([id]) => removalOf(id)));
    } catch (error) {
      const failure =
        error instanceof FluxError ? error : new FluxError("EINVAL", `internal error: ${errorText(error)}`);
      const trace = failure === error ? failure.message : String((error as Error).stack ?? error);
      this.#context.log(LogLevel.err, `submission failed: ${trace}`);
      for (const { request } of batch) if (!request.isFinished) request.respondError(failure);
    }
  }

  /** Hands stored jobs to the job manager; returns those that it refuses, with the reason. What it has not heard of goes. */
  async #announce(jobs: readonly SubmittedJob[]): Promise<[Integer, string][]> {
    try {
      const { errors } = await this.#context.handle.rpc<{ errors: [Integer, string][] }>("job-manager.submit", {
        jobs,
      });
      return errors;
    } catch (error) {
      // A job whose submitter is told that it failed must not run after the next restart.
      await this.#commit(jobs.map(({ id }) => removalOf(id)));
      throw error;
    }
  }

  async #commit(ops: readonly Operation[]): Promise<void> {
    await this.#context.handle.rpc("kvs.commit", { namespace: PRIMARY_NAMESPACE, flags: 0, ops });
  }

  #statistics(): object {
    const none = { running: 0, trash: 0, backlog: 0, pids: [0, 0, 0, 0] };
    const validator = this.#validators?.report() ?? { ...none, ...this.#validated, backlog: this.#batch.length };
    const frobnicator = this.#frobnicators?.report() ?? { ...none, ...this.#frobnicated };
    return { pipeline: { frobnicator, validator } };
  }
}

/** Does the work of a stage, and counts it. */
function counted<T>(counts: { requests: number; errors: number }, work: () => T): T {
  counts.requests += 1;
  try {
    return work();
  } catch (error) {
    counts.errors += 1;
    throw error;
  }
}

/** A rank that makes no ids leaves the service to those above it: requests from here go there. */
function standAside(context: ModuleContext): RunningModule {
  context.ports.clock.defer(() => context.handle.send("module.remove", { name: context.name }));
  return { stop: () => undefined };
}
