/**
 * The service `cron`: keeps the entries, and holds tasks back until the synchronisation event where there is one, so that
 * on all nodes of a system such work happens at the same time.
 *
 * Arguments: `sync=TOPIC`, `sync_epsilon=SECONDS` (a task that is due so soon after the event still runs).
 */
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { parseFsd } from "../../formats/duration.ts";
import type { Subscription } from "../../sdk/handle.ts";
import { LogLevel, type ModuleContext, type ModuleDefinition, type RunningModule } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import { requireInteger, requireString, type Answer } from "../../sdk/service.ts";
import { Entry } from "./entry.ts";
import { parseEntryRequest } from "./protocol.ts";

const SYNC_EPSILON_SECONDS = 0.015;

class CronService implements RunningModule {
  readonly #context: ModuleContext;
  readonly #entries = new Map<number, Entry>();
  /** Entries whose task waits for the synchronisation event. */
  readonly #deferred = new Set<Entry>();
  #nextId = 1;
  #sync: Subscription | null = null;
  #syncTopic: string | null = null;
  #syncEpsilonSeconds = SYNC_EPSILON_SECONDS;
  #lastSyncTime = -Infinity;

  constructor(context: ModuleContext) {
    this.#context = context;
  }

  async start(): Promise<RunningModule> {
    const { args, server, name } = this.#context;
    let topic: string | null = null;
    for (const word of args) {
      const [key, value = ""] = word.split(/=(.*)/s, 2);
      if (key === "sync") topic = value;
      else if (key === "sync_epsilon") this.#setEpsilon(value);
      else throw new FluxError("EINVAL", `${name}: unknown option '${word}'`);
    }
    if (topic !== null) await this.#synchronize(topic);
    server.add(name, {
      create: (request) => this.#create(request),
      list: () => ({ entries: Array.from(this.#entries.values(), (entry) => entry.toJson()) }),
      start: async (request) => {
        const entry = this.#find(request);
        await entry.start();
        return entry.toJson();
      },
      stop: (request) => {
        const entry = this.#find(request);
        entry.stop();
        return entry.toJson();
      },
      delete: (request) => this.#delete(request),
      sync: (request) => this.#configureSync(requirePayload(request)),
    });
    return this;
  }

  /** One that cannot be read is passed over: tasks are no less due. */
  #setEpsilon(text: string): void {
    try {
      this.#syncEpsilonSeconds = parseFsd(text);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      this.#context.log(LogLevel.err, `option sync_epsilon=${text} ignored: ${error.message}`);
    }
  }

  stop(): void {
    for (const entry of this.#entries.values()) entry.abandon();
    this.#sync?.cancel();
  }

  async #create(request: IncomingRequest): Promise<Answer> {
    const { handle, ports, log } = this.#context;
    const parsed = parseEntryRequest(requirePayload(request));
    const entry = new Entry(this.#nextId++, parsed, {
      handle,
      clock: ports.clock,
      log,
      admit: (due) => this.#isHeldBack(due),
      finished: (over) => void this.#entries.delete(over.id),
    });
    this.#entries.set(entry.id, entry);
    await entry.start();
    return entry.toJson();
  }

  /** Throws ENOENT. */
  #find(request: IncomingRequest): Entry {
    const entry = this.#entries.get(requireInteger(requirePayload(request), "id"));
    if (entry === undefined) throw new FluxError("ENOENT");
    return entry;
  }

  #delete(request: IncomingRequest): Answer {
    const entry = this.#find(request);
    this.#deferred.delete(entry);
    const record = entry.toJson();
    if (entry.delete(request.json["kill"] === true)) this.#entries.delete(entry.id);
    return record;
  }

  // ---- Synchronisation

  async #configureSync(json: JsonObject): Promise<Answer> {
    const { topic, sync_epsilon: epsilon } = json;
    if (epsilon !== undefined && typeof epsilon !== "number") throw new FluxError("EPROTO");
    if (typeof epsilon === "number") this.#syncEpsilonSeconds = epsilon;
    if (json["disable"] === true) {
      this.#sync?.cancel();
      this.#sync = null;
      this.#syncTopic = null;
      this.#runDeferred();
    } else if (topic !== undefined) await this.#synchronize(requireString(json, "topic"));
    if (this.#syncTopic === null) return { sync_disabled: true };
    return { sync_event: this.#syncTopic, sync_epsilon: this.#syncEpsilonSeconds };
  }

  async #synchronize(topic: string): Promise<void> {
    const { handle, ports, log } = this.#context;
    const before = this.#sync;
    this.#sync = await handle.subscribe(topic, () => {
      this.#lastSyncTime = ports.clock.now();
      this.#runDeferred();
    });
    this.#syncTopic = topic;
    before?.cancel();
    log(LogLevel.info, `synchronizing cron tasks to event ${topic}`);
  }

  #isHeldBack(entry: Entry): boolean {
    const { ports, log } = this.#context;
    if (this.#syncTopic === null) return false;
    if (ports.clock.now() - this.#lastSyncTime < this.#syncEpsilonSeconds) return false;
    this.#deferred.add(entry);
    log(LogLevel.debug, `deferring ${entry.label} to next ${this.#syncTopic} event`);
    return true;
  }

  #runDeferred(): void {
    const due = [...this.#deferred];
    this.#deferred.clear();
    for (const entry of due) entry.runTask();
  }
}

/** The payload of a request that must have one. Throws EPROTO. */
function requirePayload(request: IncomingRequest): JsonObject {
  if (request.message.payload === null) throw new FluxError("EPROTO");
  return request.json;
}

export const cronModule: ModuleDefinition = { name: "cron", start: (context) => new CronService(context).start() };
