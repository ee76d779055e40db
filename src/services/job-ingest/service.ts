/**
 * The ingest service: submissions of one event-loop turn are stored in one KVS commit and handed to the job manager in
 * one message. A submitter hears its job's id only when the job is safely stored.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, stringifyJson, type Integer, type JsonObject, type JsonValue } from "../../base/json.ts";
import { FluidGenerator, fluidParts } from "../../formats/fluid.ts";
import type { SubmittedJob } from "../../sdk/job-protocol.ts";
import { PRIMARY_NAMESPACE, type Operation } from "../../sdk/kvs-protocol.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { ANY_USER, ANYONE } from "../../sdk/service.ts";
import { checkSubmission, operationsOf, removalOf, type Checked, type IngestPolicy } from "./core.ts";
import { SharedEnvironments } from "./environments.ts";
import { defaultsOf, NO_DEFAULTS } from "./frobnicate.ts";
import { parseSubmit, type SubmitRequest } from "./protocol.ts";

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
  readonly #generator: FluidGenerator;
  readonly #environments = new SharedEnvironments();
  readonly #counts = { requests: 0, errors: 0 };
  #policy: IngestPolicy = {
    isValidating: true,
    checksFeasibility: false,
    requireVersion: null,
    defaults: NO_DEFAULTS,
  };
  #batch: Entry[] = [];
  #isScheduled = false;

  private constructor(context: ModuleContext, maxJobId: Integer) {
    this.#context = context;
    // Ids count milliseconds; those of an instance that comes back go on where it was.
    const passedMs = maxJobId === 0 ? 0 : fluidParts(maxJobId).timestampMs + 1;
    const epochMs = Math.floor(context.ports.clock.now() * 1000) - passedMs;
    this.#generator = new FluidGenerator({ generator: generatorOf(context.rank, context.args), epochMs });
  }

  static async start(context: ModuleContext): Promise<RunningModule> {
    const { max_jobid } = await context.handle.rpc<{ max_jobid: Integer }>("job-manager.getinfo", null, { nodeid: 0 });
    const service = new JobIngestService(context, max_jobid);
    service.configure(context.config());
    context.server.add(SERVICE, {
      submit: { roles: ANY_USER, handler: (request) => service.#submit(request) },
      getinfo: () => ({ timestamp: service.#generator.timestampMs(service.#nowMs()) }),
      "stats-get": { roles: ANYONE, handler: () => service.#statistics() },
    });
    return service;
  }

  configure(config: JsonObject): void {
    this.#policy = policyOf(config, this.#context.args);
  }

  stop(): void {
    for (const { request } of this.#batch) request.respondError(new FluxError("ENOSYS", "job-ingest is unloading"));
    this.#batch = [];
  }

  #nowMs(): number {
    return this.#context.ports.clock.now() * 1000;
  }

  #submit(request: IncomingRequest): undefined | Promise<undefined> {
    this.#counts.requests += 1;
    const submission = parseSubmit(request);
    try {
      const { userid, isOwner } = request;
      const checked = checkSubmission(submission, { userid, isOwner }, this.#policy);
      if (checked.needsFeasibility) return this.#checkFeasibility(request, submission, checked);
      this.#accept(request, submission, checked);
      return undefined;
    } catch (error) {
      this.#counts.errors += 1;
      throw error;
    }
  }

  async #checkFeasibility(request: IncomingRequest, submission: SubmitRequest, checked: Checked): Promise<undefined> {
    await this.#context.handle.rpc("feasibility.check", { jobspec: checked.jobspec });
    this.#accept(request, submission, checked);
  }

  #accept(request: IncomingRequest, submission: SubmitRequest, checked: Checked): void {
    const { J, urgency, flags } = submission;
    const job: SubmittedJob = {
      id: this.#generator.next(this.#nowMs()),
      userid: request.userid,
      urgency,
      flags,
      t_submit: this.#context.ports.clock.now(),
      jobspec: this.#environments.share(checked.jobspec),
    };
    this.#batch.push({ request, job, envelope: J, checked });
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#context.ports.clock.defer(() => {
      this.#isScheduled = false;
      const batch = this.#batch;
      this.#batch = [];
      for (let at = 0; at < batch.length; at += BATCH_MAX) void this.#process(batch.slice(at, at + BATCH_MAX));
    });
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
      this.#counts.errors += errors.length;
      if (errors.length > 0) await this.#commit(errors.map(([id]) => removalOf(id)));
    } catch (error) {
      if (!(error instanceof FluxError)) return this.#context.fatal(error);
      this.#context.log(LogLevel.err, `submission failed: ${error.message}`);
      for (const { request } of batch) if (!request.isFinished) request.respondError(error);
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
    const idle = { running: 0, requests: 0, errors: 0, trash: 0, backlog: 0, pids: [0, 0, 0, 0] };
    const { requests, errors } = this.#counts;
    return { pipeline: { frobnicator: idle, validator: { ...idle, requests, errors, backlog: this.#batch.length } } };
  }
}

/** Arguments that say nothing to this service: it makes its batches as requests come. */
const WITHOUT_EFFECT = /^(batch-count|buffer-size)=\d+[kKMG]?$/;

/** What the module's arguments set of the table `ingest.validator`. Throws EINVAL for one that is not known. */
function validatorOf(args: readonly string[]): JsonObject {
  const table: Record<string, JsonValue> = {};
  for (const arg of args) {
    const [, name, list] = /^validator-(plugins|args)=(.*)$/.exec(arg) ?? [];
    if (name !== undefined && list !== undefined) table[name] = list.split(",").filter((word) => word !== "");
    else if (arg === "disable-validator") table["disable"] = true;
    else if (!WITHOUT_EFFECT.test(arg) && !arg.startsWith(MAX_GENERATOR))
      throw new FluxError("EINVAL", `unknown option ${arg}`);
  }
  return table;
}

const MAX_GENERATOR = "max-fluid-generator-id=";
const GENERATOR_MAX = 2 ** 14 - 1;

/** Ids are made on ranks up to a number that fits into them; `max-fluid-generator-id` sets a lower one. Throws EINVAL. */
function generatorOf(rank: number, args: readonly string[]): number {
  const text = args.find((arg) => arg.startsWith(MAX_GENERATOR))?.slice(MAX_GENERATOR.length);
  const max = text === undefined ? GENERATOR_MAX : Number(text);
  if (!Number.isInteger(max) || max < 0 || max > GENERATOR_MAX)
    throw new FluxError("EINVAL", `max-fluid-generator-id must be between 0 and ${GENERATOR_MAX}`);
  if (rank > max) throw new FluxError("EINVAL", `rank ${rank} makes no job ids: the highest that does is ${max}`);
  return rank;
}

/** Reads the table `ingest` of a configuration, and the module's arguments. Throws EINVAL. */
function policyOf(config: JsonObject, args: readonly string[]): IngestPolicy {
  const ingest = config["ingest"];
  const configured = isJsonObject(ingest) && isJsonObject(ingest["validator"]) ? ingest["validator"] : {};
  const validator: JsonObject = { ...configured, ...validatorOf(args) };
  const plugins: JsonValue = validator["plugins"] ?? ["jobspec"];
  if (!Array.isArray(plugins)) throw new FluxError("EINVAL", "ingest.validator.plugins must be an array");
  const unknown = (plugins as JsonValue[]).find((name) => name !== "jobspec" && name !== "feasibility");
  if (unknown !== undefined)
    throw new FluxError("EINVAL", `ingest.validator.plugins: no validator plugin ${stringifyJson(unknown)}`);
  const options = Array.isArray(validator["args"]) ? (validator["args"] as JsonValue[]) : [];
  const version = options.map((option) => /^--require-version=(\d+|any)$/.exec(String(option))?.[1]).find(Boolean);
  return {
    isValidating: validator["disable"] !== true,
    checksFeasibility: (plugins as JsonValue[]).includes("feasibility"),
    requireVersion: version === undefined ? null : version === "any" ? "any" : Number(version),
    defaults: defaultsOf(config),
  };
}
