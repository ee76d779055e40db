/**
 * A user who submits jobs in a simulated run and remembers which submissions were acknowledged. Jobs are simulated
 * programs: some fail, some are killed, some depend on others.
 */
import { base64Encode, utf8Encode } from "../../src/base/bytes.ts";
import { isFluxError } from "../../src/base/errors.ts";
import { stringifyJson, type Integer, type JsonObject } from "../../src/base/json.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import type { Seeded } from "../../src/testkit/seeded.ts";
import { OWNER_USERID, type World } from "../../src/testkit/world.ts";

/** Commands of simulated jobs, and what becomes of them when nothing else happens. */
const COMMANDS: readonly (readonly string[])[] = [
  ["true"],
  ["true"],
  ["false"],
  ["hostname"],
  ["echo", "hello"],
  ["exit", "3"],
  ["sleep", "2"],
  ["sleep", "30"],
  ["spew", "50"],
  ["crash"],
];

export class JobActor {
  readonly submitted: Integer[] = [];
  readonly #world: World;
  readonly #dice: Seeded;

  constructor(world: World, dice: Seeded) {
    this.#world = world;
    this.#dice = dice;
  }

  /** Submits jobs, cancels some of them. Ends when all are submitted or the broker is lost. */
  async run(handle: Handle, count: number): Promise<void> {
    try {
      for (let index = 0; index < count; index++) {
        const answer = await handle.rpc<{ id: Integer }>("job-ingest.submit", this.#request());
        this.submitted.push(answer.id);
        this.#world.record("submitted", answer.id);
        if (this.#dice.chance(0.15)) await this.#cancelOne(handle);
      }
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#world.mark("a submitter lost its broker");
    }
  }

  async #cancelOne(handle: Handle): Promise<void> {
    const id = this.#dice.pick(this.submitted);
    try {
      await handle.rpc("job-manager.raise", { id, type: "cancel", severity: 0, note: "no longer wanted" });
      this.#world.mark("a job was cancelled");
    } catch (error) {
      // It may have ended in the meantime; a lost broker shows at the next submission.
      if (!isFluxError(error, "ENOENT") && !isFluxError(error, "EINVAL")) throw error;
    }
  }

  #request(): JsonObject {
    const header = ["version", "i1", "userid", `i${OWNER_USERID}`, "mechanism", "snone", ""].join("\0");
    const payload = base64Encode(utf8Encode(stringifyJson(this.#jobspec())));
    return { J: `${base64Encode(utf8Encode(header))}.${payload}.none`, urgency: 16, flags: 0 };
  }

  #jobspec(): JsonObject {
    const dependencies = this.#dependencies();
    return {
      version: 1,
      resources: [
        { type: "slot", count: this.#dice.pick([1, 1, 2, 4]), label: "task", with: [{ type: "core", count: 1 }] },
      ],
      tasks: [{ command: this.#dice.pick(COMMANDS), slot: "task", count: { per_slot: 1 } }],
      attributes: {
        system: {
          duration: this.#dice.pick([0, 0, 0, 10]),
          cwd: "/tmp",
          environment: {},
          ...(dependencies.length > 0 ? { dependencies } : {}),
        },
      },
    };
  }

  #dependencies(): JsonObject[] {
    if (this.submitted.length === 0 || !this.#dice.chance(0.3)) return [];
    this.#world.mark("a job depends on another");
    const scheme = this.#dice.pick(["afterok", "afterany", "afternotok", "afterstart"]);
    return [{ scheme, value: String(this.#dice.pick(this.submitted)) }];
  }
}
