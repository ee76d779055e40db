/**
 * One simulated run: boot an instance, let users work and faults happen, start it again where its leader died, let
 * every job end, and check what must hold. All of it decided by the seed.
 */
import type { Integer } from "../../src/base/json.ts";
import type { Handle } from "../../src/sdk/handle.ts";
import { SimulatedInstance, type Workload, type WorkloadContext } from "../../src/testkit/instance.ts";
import { World } from "../../src/testkit/world.ts";
import { checkDisjoint, checkEventlogs, markOutcomes, readJob, watchSequence, watchTasks } from "./checks.ts";
import { JobActor } from "./job-actor.ts";
import { KvsActor } from "./kvs-actor.ts";
import { planOf, type Plan } from "./plan.ts";

/** Virtual time that a phase may take: liveness. */
const PATIENCE_MS = 600_000;
const QUIET_LIMIT_MS = 60_000;
const SIGTERM = 15;
const FAULT_WINDOW_MS = 5_000;

export interface RunResult {
  readonly seed: string;
  readonly digest: string;
  readonly events: number;
  readonly marks: ReadonlyMap<string, number>;
}

class Scenario {
  readonly world: World;
  readonly plan: Plan;
  readonly #kvsActors: KvsActor[] = [];
  readonly #jobActor: JobActor;
  #failure: Error | null = null;

  constructor(seed: string, trace?: (line: string) => void) {
    this.world = new World(seed, trace === undefined ? {} : { trace });
    this.plan = planOf(seed);
    this.#jobActor = new JobActor(this.world, this.world.dice.fork("jobs"));
    for (let index = 0; index < this.plan.kvsActors; index++)
      this.#kvsActors.push(new KvsActor(this.world, `u${index}`, this.world.dice.fork(`actor ${index}`)));
  }

  async run(): Promise<void> {
    watchTasks(this.world);
    const first = this.#boot((context) => this.#work(context));
    this.#scheduleFaults(first);
    await this.#toEnd(first, "first instance");
    const second = this.#boot((context) => this.#verify(context));
    await this.#toEnd(second, "second instance");
    if (second.exitCodes[0] !== 0)
      throw new Error(`the instance ended with ${second.exitCodes[0]}: ${second.stderr.join("")}`);
    await this.#checkQuiet();
  }

  #boot(workload: Workload): SimulatedInstance {
    return new SimulatedInstance(this.world, {
      size: this.plan.size,
      workload,
      attributes: { "tbon.topo": this.plan.topology },
      config: { kvs: { durability: this.plan.durability } },
    });
  }

  async #toEnd(instance: SimulatedInstance, name: string): Promise<void> {
    let ended = await instance.runToEnd(PATIENCE_MS);
    if (!ended && this.#failure === null && instance.exitCodes.some((code) => code !== null)) {
      // A broker was lost before all had come up: the instance waits for it, until its user has had enough.
      this.world.mark("an instance was given up by its user");
      instance.signalBroker(0, SIGTERM);
      ended = await instance.runToEnd(PATIENCE_MS);
    }
    if (this.#failure !== null) throw this.#failure;
    if (!ended) throw new Error(`${name} did not end: ${instance.exitCodes.join()} ${instance.stderr.join("")}`);
  }

  /** The initial program of the first instance. */
  async #work({ handle, connect }: WorkloadContext): Promise<number> {
    const { plan, world } = this;
    const actors = this.#kvsActors.map(async (actor, index) => {
      const rank = index % plan.size;
      const client = await connect(rank).catch(() => null);
      if (client === null) return;
      await watchSequence(client, rank);
      await this.#catching(actor.run(client, plan.kvsOperations));
    });
    await Promise.all([...actors, this.#catching(this.#jobActor.run(handle, plan.jobs))]);
    if (!plan.killsLeader && !world.dice.chance(0.3)) await this.#drain(handle);
    else world.mark("the initial program ended before its jobs");
    return 0;
  }

  /** The initial program of the second instance: everything acknowledged is there, and every job comes to its end. */
  async #verify({ handle }: WorkloadContext): Promise<number> {
    await this.#catching(this.#verifyAll(handle));
    return 0;
  }

  async #verifyAll(handle: Handle): Promise<void> {
    for (const actor of this.#kvsActors) await actor.verify(handle);
    await this.#drain(handle);
    const ids: readonly Integer[] = this.#jobActor.submitted;
    const jobs = await Promise.all(ids.map((id) => readJob(handle, id)));
    checkEventlogs(jobs);
    checkDisjoint(this.world, jobs);
    markOutcomes(this.world, jobs);
    for (const { id, events } of jobs) this.world.record("job", id, events.map(({ name }) => name).join());
    if (new Set(ids).size !== ids.length) throw new Error("a job id was given twice");
  }

  async #drain(handle: Handle): Promise<void> {
    await handle.rpc("job-manager.drain");
  }

  async #catching(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  #scheduleFaults(instance: SimulatedInstance): void {
    const { plan, world } = this;
    const dice = world.dice.fork("faults");
    const at = (): number => dice.fraction() * dice.pick([50, 500, FAULT_WINDOW_MS]);
    if (plan.killsLeaf)
      world.timeline.after(
        at(),
        () => {
          world.mark("a leaf was killed");
          instance.killBroker(plan.size - 1);
        },
        true,
      );
    if (plan.resetsLink)
      world.timeline.after(
        at(),
        () => {
          if (world.network.resetOne((left, right) => left.includes("broker") && right.includes("broker")))
            world.mark("a link was reset");
        },
        true,
      );
    if (plan.cutsCable) {
      const machine = instance.machineOf(dice.below(plan.size));
      const from = at();
      world.timeline.after(from, () => world.network.cut(machine), true);
      world.timeline.after(from + dice.pick([100, 3000, 20_000]), () => world.network.restore(machine), true);
      world.mark("a cable was cut");
    }
    if (plan.killsLeader)
      world.timeline.after(
        at(),
        () => {
          if (instance.isOver) return;
          world.mark("the leader was killed");
          if (plan.losesPower) instance.killMachine(0);
          else instance.killBroker(0);
        },
        true,
      );
  }

  /** Nothing is left: no process of the instances, no stream between them. */
  async #checkQuiet(): Promise<void> {
    const { world } = this;
    const left = (): string[] =>
      [...world.processes.processes.values()]
        .map(({ scope }) => scope.name)
        .filter((name) => !name.includes("/client["));
    await world.timeline.runUntil(() => left().length === 0, QUIET_LIMIT_MS);
    if (left().length > 0) throw new Error(`left behind: ${left().join(", ")}`);
    await world.timeline.runUntil(() => world.network.openStreams === 0, QUIET_LIMIT_MS);
    if (world.network.openStreams > 0) throw new Error(`${world.network.openStreams} streams left open`);
  }
}

/** Runs a seed. Throws what was found wrong. */
export async function runScenario(seed: string, trace?: (line: string) => void): Promise<RunResult> {
  const scenario = new Scenario(seed, trace);
  await scenario.run();
  const { world } = scenario;
  return { seed, digest: world.digest(), events: world.timeline.eventCount, marks: world.marks };
}
