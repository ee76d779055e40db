/**
 * One configuration in all brokers of an instance: it changes on the leader only, which publishes it; followers take what is
 * published, and ask where they may have missed it.
 *
 * Invariants: a follower's services see configurations in the leader's order. If a service of a follower refuses one, the
 * log says so, and that broker goes on with the one it had.
 */
import { errorText, FluxError } from "../base/errors.ts";
import { isJsonObject, stringifyJson, type JsonObject } from "../base/json.ts";
import { LogLevel } from "../sdk/module.ts";
import { GAP_TOPIC, type Handle } from "../sdk/handle.ts";
import { isFromOwner, type EventMessage } from "../protocol/message.ts";
import { ANY_USER, type Methods } from "../sdk/service.ts";

const CONFIG_TOPIC = "config.update";

export interface SharedConfigOptions {
  readonly rank: number;
  readonly handle: Handle;
  current(): JsonObject;
  /** Reads the files again. Throws FluxError. */
  reread(): JsonObject;
  /** Hands a configuration to the services of this broker. Rejects with the first refusal; then nothing has changed. */
  apply(config: JsonObject): Promise<void>;
  /** Those who join below are given this one. */
  announce(config: JsonObject): void;
  log(severity: number, text: string): void;
}

export class SharedConfig {
  readonly #options: SharedConfigOptions;
  #eventSequence = 0;

  constructor(options: SharedConfigOptions) {
    this.#options = options;
  }

  /** Follows the leader, where this broker is not the leader itself. */
  async start(): Promise<void> {
    if (this.#options.rank !== 0) await this.#options.handle.subscribe("", (event) => this.#hear(event));
  }

  methods(): Methods {
    const { current, reread } = this.#options;
    return {
      get: { roles: ANY_USER, handler: () => current() },
      load: (request) => {
        if (request.bytes === null) throw new FluxError("EPROTO", "error decoding config.load request");
        return this.#replace(request.json);
      },
      reload: () => {
        this.#refuseOnFollowers();
        const config = reread();
        return stringifyJson(config) === stringifyJson(current()) ? null : this.#replace(config);
      },
    };
  }

  #refuseOnFollowers(): void {
    if (this.#options.rank !== 0) throw new FluxError("EINVAL", "configuration can only be changed on rank 0");
  }

  async #replace(config: JsonObject): Promise<null> {
    this.#refuseOnFollowers();
    const { apply, announce, handle } = this.#options;
    await apply(config);
    announce(config);
    handle.sendEvent(CONFIG_TOPIC, config, { isPrivate: true });
    return null;
  }

  #hear(event: EventMessage): void {
    const { sequence, topic, payload } = event;
    const isGap = topic === GAP_TOPIC || (this.#eventSequence !== 0 && sequence > this.#eventSequence + 1);
    this.#eventSequence = sequence;
    if (topic === CONFIG_TOPIC && isFromOwner(event) && isJsonObject(payload?.value)) this.#adopt(payload.value);
    else if (isGap) void this.#ask();
  }

  async #ask(): Promise<void> {
    const { handle, log, current } = this.#options;
    try {
      const config = await handle.rpc<JsonObject>("config.get", null, { nodeid: 0 });
      if (stringifyJson(config) !== stringifyJson(current())) this.#adopt(config);
    } catch (error) {
      // Whoever answers next, a rejoined parent or an event, tells it.
      log(LogLevel.debug, `asking for the configuration: ${errorText(error)}`);
    }
  }

  #adopt(config: JsonObject): void {
    const { apply, announce, log } = this.#options;
    announce(config);
    apply(config).catch((error: unknown) => log(LogLevel.err, errorText(error)));
  }
}
