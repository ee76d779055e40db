/**
 * The log of an instance's lives: a `start` event when its services are up, a `finish` event before they go down, in the
 * KVS under `admin.eventlog` (RFC 18). A `start` after a `start` tells of a crash.
 */
import type { JsonObject } from "../base/json.ts";
import { errorText, isFluxError } from "../base/errors.ts";
import { orNull } from "../base/promises.ts";
import { decodeEventlog, encodeEntry } from "../formats/eventlog.ts";
import { Kvs, KvsTransaction } from "../sdk/kvs.ts";
import type { Core } from "./core.ts";

const KEY = "admin.eventlog";
const FORMAT_VERSION = 1;
const LOG_ERR = 3;

/** Posts the start of a life; says so when the one before had no end. Only where there is a KVS. */
export async function postStart(core: Core): Promise<void> {
  await posting(core, async (kvs) => {
    // A dump that was restored may be one of a running instance: nothing crashed.
    const isRestored = (core.options.attributes.get("content.restore") ?? "") !== "";
    if (!isRestored && (await lastEventName(kvs)) === "start")
      core.options.log.append(
        "broker",
        LOG_ERR,
        "Flux was not shut down properly: what was acknowledged before is here",
      );
    const version = core.options.attributes.get("version") ?? "";
    await post(core, kvs, "start", { version: FORMAT_VERSION, core_version: version });
  });
}

/** Posts the orderly end of a life. */
export async function postFinish(core: Core): Promise<void> {
  await posting(core, (kvs) => post(core, kvs, "finish", { version: FORMAT_VERSION }));
}

async function posting(core: Core, action: (kvs: Kvs) => Promise<void>): Promise<void> {
  if (core.modules.find("kvs") === null) return;
  try {
    await action(new Kvs(core.handle));
  } catch (error) {
    if (!isFluxError(error)) throw error;
    core.options.log.append("broker", LOG_ERR, `${KEY}: ${errorText(error)}`);
  }
}

async function post(core: Core, kvs: Kvs, name: string, context: JsonObject): Promise<void> {
  const timestamp = core.options.ports.clock.now();
  await kvs.commit(new KvsTransaction().append(KEY, encodeEntry({ timestamp, name, context })));
}

async function lastEventName(kvs: Kvs): Promise<string | null> {
  const text = await orNull(kvs.getText(KEY), "ENOENT");
  return text === null ? null : (decodeEventlog(text).at(-1)?.name ?? null);
}
