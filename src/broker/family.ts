/**
 * What a broker does when neighbours in the tree come and go: whose memberships in groups end, what the brokers above are
 * told again, what the log says.
 *
 * Invariants: a lost broker leaves all groups at once. The brokers below it have a time to rejoin elsewhere, and lose nothing
 * when they do; one that rejoins sends the groups of its subtree anew, which replace what was known.
 */
import { stringifyJson } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import { formatDuration } from "../formats/duration.ts";
import { LogLevel } from "../sdk/module.ts";
import type { Attributes } from "./attributes.ts";
import type { Core } from "./core.ts";
import { DISCONNECTED, type Welcome } from "./edge.ts";
import type { BrokerLog } from "./log.ts";
import type { Overlay } from "./overlay.ts";
import type { Timers } from "./timers.ts";

export interface FamilyOptions {
  readonly ports: Ports;
  readonly core: Core;
  readonly overlay: Overlay;
  readonly attributes: Attributes;
  readonly log: BrokerLog;
  readonly timers: Timers;
  /** Whether this broker is on its way out: then nothing is worth a word. */
  isEnding(): boolean;
}

export class Family {
  readonly #options: FamilyOptions;

  constructor(options: FamilyOptions) {
    this.#options = options;
  }

  /** Somebody above has let this broker in. */
  joined({ config, hostlist, starttime, epoch }: Welcome, isAgain: boolean): void {
    const { core, overlay, attributes, log, ports } = this.#options;
    attributes.set("hostlist", hostlist);
    if (!isAgain) {
      core.config = config;
      return overlay.open({ hostlist, config, starttime, epoch });
    }
    ports.trace.mark("broker.rejoined");
    const rank = overlay.parentRank ?? 0;
    log.append("overlay", LogLevel.notice, `rejoined under ${core.hostOf(rank)} (rank ${rank})`);
    core.groups.tellAll();
    overlay.announceConfig(config);
    if (stringifyJson(config) === stringifyJson(core.config)) return;
    core.replaceConfig(config).catch((error: unknown) => core.bug("config", "the configuration of the parent", error));
  }

  /** The link to the one above broke; another is looked for. */
  parentParted(reason: string): void {
    this.#options.log.append("overlay", LogLevel.err, `${reason}: looking for another way into the instance`);
  }

  childTorpid(rank: number, isTorpid: boolean, silentSeconds: number): void {
    const { core, log } = this.#options;
    const how = isTorpid ? `has been unresponsive for ${formatDuration(silentSeconds)}` : "is responsive now";
    log.append("overlay", LogLevel.err, `broker on ${core.hostOf(rank)} (rank ${rank}) ${how}`);
    core.groups.mark("broker.torpid", rank, isTorpid);
  }

  /** `reason` is null where the child said goodbye: then it goes with all that it had. */
  childLeft(rank: number, reason: string | null): void {
    const { core, overlay, log, ports, timers, attributes } = this.#options;
    const below = core.options.tree.descendantsOf(rank);
    if (reason === null || this.#options.isEnding()) return core.groups.removeRanks([rank, ...below]);
    ports.trace.mark("broker.child-lost");
    const how = reason === DISCONNECTED ? `${reason}${severedText(below.length)}` : `failed: ${reason}`;
    log.append("overlay", LogLevel.err, `${core.hostOf(rank)} (rank ${rank}) ${how}`);
    core.groups.removeRanks([rank]);
    const gone = (): number[] => below.filter((each) => overlay.childTowards(each) === null);
    if (gone().length === 0) return;
    timers.after(attributes.seconds("tbon.rejoin_timeout") * 1000, () => {
      const ranks = gone();
      if (ranks.length === 0) return;
      log.append(
        "overlay",
        LogLevel.err,
        `lost with rank ${rank}: ${ranks.map((each) => core.hostOf(each)).join(",")}`,
      );
      core.groups.removeRanks(ranks);
    });
  }
}

function severedText(others: number): string {
  return others === 0 ? "" : ` and severed contact with ${others} other ${others === 1 ? "node" : "nodes"}`;
}
