import assert from "node:assert/strict";
import { test } from "node:test";
import { base64Encode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import type { Integer, JsonObject } from "../base/json.ts";
import { SIGNALS } from "../base/signals.ts";
import { fluidKvsPath, formatFluid } from "../formats/fluid.ts";
import type { Jobspec } from "../formats/jobspec.ts";
import type { Handle } from "../sdk/handle.ts";
import { parseEventlog, type JobEvent } from "../sdk/job-protocol.ts";
import { submitJob, waitForEvent } from "../sdk/jobs.ts";
import { lookupText } from "../sdk/kvs-text.ts";
import { SimulatedInstance, type WorkloadContext } from "../testkit/instance.ts";
import { OWNER_USERID, World } from "../testkit/world.ts";

const LIMIT_MS = 3_600_000;

interface JobOptions {
  readonly nodes?: number;
  readonly slots?: number;
  readonly duration?: number;
  readonly options?: JsonObject;
  readonly system?: JsonObject;
}

function jobspec(
  command: readonly string[],
  { nodes = 0, slots = 1, duration = 0, options, system }: JobOptions = {},
): Jobspec {
  const slot = { type: "slot", count: slots, label: "task", with: [{ type: "core", count: 1 }] };
  const shell = options === undefined ? {} : { shell: { options } };
  return {
    version: 1,
    resources: [nodes === 0 ? slot : { type: "node", count: nodes, with: [slot] }],
    tasks: [{ command, slot: "task", count: { per_slot: 1 } }],
    attributes: { system: { duration, cwd: "/tmp", environment: { HOME: "/root" }, ...shell, ...system } },
  } as Jobspec;
}

/** Runs a workload in a fresh instance and lets the test see what the workload returns. */
async function simulate<T>(
  size: number,
  workload: (context: WorkloadContext, world: World, instance: SimulatedInstance) => Promise<T>,
  prepare: (world: World) => void = () => {},
): Promise<T> {
  const world = new World("execution");
  prepare(world);
  let result: { value: T } | null = null;
  const instance: SimulatedInstance = new SimulatedInstance(world, {
    size,
    workload: async (context) => {
      result = { value: await workload(context, world, instance) };
      return 0;
    },
  });
  assert.equal(await instance.runToEnd(LIMIT_MS), true, instance.stderr.join(""));
  assert.notEqual(result, null, instance.stderr.join(""));
  return result!.value;
}

const run = (handle: Handle, command: readonly string[], options?: JobOptions): Promise<Integer> =>
  submitJob(handle, jobspec(command, options), { userid: OWNER_USERID });

async function events(handle: Handle, id: Integer, log = "eventlog"): Promise<JobEvent[]> {
  return parseEventlog(await lookupText(handle, `${fluidKvsPath(id)}.${log}`));
}

/** Waits for the end of a job. */
async function ended(handle: Handle, id: Integer): Promise<JobEvent[]> {
  await waitForEvent(handle, id, "clean", {});
  return events(handle, id);
}

const statusOf = (log: readonly JobEvent[]): unknown => log.find(({ name }) => name === "finish")?.context?.["status"];
const exceptionOf = (log: readonly JobEvent[]): JsonObject | undefined =>
  log.find(({ name }) => name === "exception")?.context;

/** What tasks wrote to the KVS, as text by rank. */
async function output(handle: Handle, id: Integer, stream = "stdout"): Promise<Record<string, string>> {
  const text: Record<string, string> = {};
  for (const { name, context } of await events(handle, id, "guest.output"))
    if (name === "data" && context!["stream"] === stream && typeof context!["data"] === "string")
      text[String(context!["rank"])] = (text[String(context!["rank"])] ?? "") + context!["data"];
  return text;
}

test("a job leaves its output and the log of its execution", async () => {
  const seen = await simulate(1, async ({ handle }) => {
    const id = await run(handle, ["echo", "hello"]);
    const log = await ended(handle, id);
    return {
      log,
      exec: await events(handle, id, "guest.exec.eventlog"),
      out: await events(handle, id, "guest.output"),
    };
  });
  assert.equal(statusOf(seen.log), 0);
  assert.deepEqual(
    seen.exec.map(({ name }) => name),
    ["init", "starting", "shell.init", "shell.start", "shell.task-exit", "shell-exit", "complete", "done"],
  );
  assert.deepEqual(seen.out[0], {
    timestamp: seen.out[0]!.timestamp,
    name: "header",
    context: {
      version: 1,
      encoding: { stdout: "UTF-8", stderr: "UTF-8" },
      count: { stdout: 1, stderr: 1 },
      options: {},
    },
  });
  const data = seen.out.slice(1).map(({ context }) => context);
  assert.deepEqual(
    data.filter((context) => context!["data"] !== undefined),
    [{ stream: "stdout", rank: "0", data: "hello\n" }],
  );
  assert.equal(data.filter((context) => context!["eof"] === true).length, 2);
});

test("tasks spread over nodes: block by default, cyclic on request, told in shell.start", async () => {
  const seen = await simulate(2, async ({ handle }) => {
    const block = await run(handle, ["hostname"], { nodes: 2, slots: 2 });
    const cyclic = await run(handle, ["hostname"], { nodes: 2, slots: 2, options: { taskmap: { scheme: "cyclic" } } });
    await ended(handle, block);
    await ended(handle, cyclic);
    const start = (await events(handle, block, "guest.exec.eventlog")).find(({ name }) => name === "shell.start");
    return { block: await output(handle, block), cyclic: await output(handle, cyclic), start };
  });
  assert.deepEqual(seen.block, { 0: "node0\n", 1: "node0\n", 2: "node1\n", 3: "node1\n" });
  assert.deepEqual(seen.cyclic, { 0: "node0\n", 1: "node1\n", 2: "node0\n", 3: "node1\n" });
  assert.deepEqual(seen.start?.context, { taskmap: { version: 1, map: [[0, 2, 2, 1]] } });
});

test("tasks have the environment of the jobspec and Flux's own", async () => {
  const env = await simulate(
    2,
    async ({ handle }) => {
      const id = await run(handle, ["show-env"], { nodes: 2 });
      await ended(handle, id);
      return {
        id: formatFluid(id),
        number: id,
        text: JSON.parse((await output(handle, id))["1"]!) as Record<string, string>,
      };
    },
    (world) =>
      world.install("show-env", (process) => {
        process.output("stdout", new TextEncoder().encode(`${JSON.stringify(process.env)}\n`));
        process.exit(0);
      }),
  );
  const { FLUX_JOB_ID, FLUX_JOB_SIZE, FLUX_JOB_NNODES, FLUX_TASK_RANK, FLUX_TASK_LOCAL_ID, PMI_RANK, PMI_SIZE, HOME } =
    env.text;
  assert.deepEqual(
    { FLUX_JOB_ID, FLUX_JOB_SIZE, FLUX_JOB_NNODES, FLUX_TASK_RANK, FLUX_TASK_LOCAL_ID, PMI_RANK, PMI_SIZE, HOME },
    {
      FLUX_JOB_ID: env.id,
      FLUX_JOB_SIZE: "2",
      FLUX_JOB_NNODES: "2",
      FLUX_TASK_RANK: "1",
      FLUX_TASK_LOCAL_ID: "0",
      PMI_RANK: "1",
      PMI_SIZE: "2",
      HOME: "/root",
    },
  );
  assert.equal(env.text["FLUX_KVS_NAMESPACE"], `job-${env.number}`);
});

test("the job's status is that of its worst task", async () => {
  const status = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["exit", "3"], { nodes: 2 });
    const crash = await run(handle, ["crash"]);
    return [statusOf(await ended(handle, id)), statusOf(await ended(handle, crash))];
  });
  assert.deepEqual(status, [3 << 8, (128 + 11) << 8]);
});

test("a program that does not exist fails the job with exit code 127, and says so in its output", async () => {
  const seen = await simulate(1, async ({ handle }) => {
    const id = await run(handle, ["nosuchprogram"]);
    const log = await ended(handle, id);
    return { log, logged: (await events(handle, id, "guest.output")).find(({ name }) => name === "log")?.context };
  });
  const note = "task 0 (host node0): start failed: nosuchprogram: No such file or directory";
  assert.equal(statusOf(seen.log), 127 << 8);
  assert.deepEqual(exceptionOf(seen.log), { type: "exec", severity: 0, note, userid: OWNER_USERID });
  assert.deepEqual(seen.logged, { rank: 0, level: 0, message: note });
});

test("a working directory that does not exist is replaced by /tmp, with a warning", async () => {
  const seen = await simulate(1, async ({ handle }) => {
    const id = await run(handle, ["true"], { system: { cwd: "/nonexistent" } });
    const status = statusOf(await ended(handle, id));
    return { status, log: (await events(handle, id, "guest.output")).find(({ name }) => name === "log")?.context };
  });
  assert.equal(seen.status, 0);
  assert.match(
    String(seen.log?.["message"]),
    /Could not change dir to \/nonexistent: No such file or directory\. Going to \/tmp instead/,
  );
});

test("a job ends at its time limit, by SIGALRM", async () => {
  const log = await simulate(1, async ({ handle }) =>
    ended(handle, await run(handle, ["sleep", "1000"], { duration: 10 })),
  );
  const exception = log.find(({ name }) => name === "exception")!;
  const start = log.find(({ name }) => name === "alloc")!;
  assert.equal(exception.context?.["note"], "resource allocation expired");
  assert.ok(Math.abs(exception.timestamp - start.timestamp - 10) < 1);
  assert.equal(statusOf(log), (128 + SIGNALS["SIGALRM"]!) << 8);
});

test("a canceled job gets SIGTERM, and SIGKILL when it does not go", async () => {
  const log = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["stubborn"], { nodes: 2 });
    await waitForEvent(handle, id, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    await handle.rpc("job-manager.raise", { id, type: "cancel", severity: 0, note: "" });
    return ended(handle, id);
  });
  const canceled = log.find(({ name }) => name === "exception")!.timestamp;
  const finished = log.find(({ name }) => name === "finish")!.timestamp;
  assert.equal(statusOf(log), (128 + 9) << 8);
  assert.ok(Math.abs(finished - canceled - 5) < 1, `SIGKILL came ${finished - canceled}s after SIGTERM`);
});

test("a signal reaches every task", async () => {
  const status = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["sleep", "1000"], { nodes: 2 });
    await waitForEvent(handle, id, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    await handle.rpc("job-manager.kill", { id, signum: SIGNALS["SIGUSR1"] });
    return statusOf(await ended(handle, id));
  });
  assert.equal(status, (128 + SIGNALS["SIGUSR1"]!) << 8);
});

test("a broker that is lost fails the jobs it had, and no other", async () => {
  const seen = await simulate(3, async ({ handle }, _world, instance) => {
    const wide = await run(handle, ["sleep", "1000"], { nodes: 3 });
    const narrow = await run(handle, ["sleep", "60"]);
    await waitForEvent(handle, wide, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    instance.killBroker(2);
    return { wide: await ended(handle, wide), narrow: await ended(handle, narrow) };
  });
  assert.equal(exceptionOf(seen.wide)?.["note"], "node failure on node2 (rank 2)");
  assert.equal(exceptionOf(seen.wide)?.["type"], "exec");
  assert.equal(statusOf(seen.narrow), 0);
});

test("a job that takes longer than exit-timeout after its first task is ended", async () => {
  const seen = await simulate(
    2,
    async ({ handle }) => ended(handle, await run(handle, ["uneven"], { nodes: 2, options: { "exit-timeout": "5s" } })),
    (world) =>
      world.install("uneven", (process) => {
        if (process.env["FLUX_TASK_RANK"] === "0") process.exit(0);
      }),
  );
  const about = "uneven: task rank 0 on host node0";
  assert.equal(exceptionOf(seen)?.["note"], `${about} exited (Exit 0) and exit-timeout=5s has expired`);
});

test("input written to the job's service reaches all tasks on all nodes, and is recorded", async () => {
  const seen = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["cat"], { nodes: 2 });
    await waitForEvent(handle, id, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    const topic = `${OWNER_USERID}-shell-${formatFluid(id, "f58plain")}.stdin`;
    const write = async (payload: JsonObject): Promise<unknown> => {
      for (;;)
        try {
          return await handle.rpc(topic, payload, { nodeid: 0 });
        } catch (error) {
          // The service comes a little after the tasks.
          if (!/No service matching/.test((error as Error).message)) throw error;
          await handle.rpc("attr.get", { name: "rank" });
        }
    };
    await write({ stream: "stdin", rank: "all", data: "to all\n" });
    await write({
      stream: "stdin",
      rank: "1",
      data: base64Encode(new TextEncoder().encode("to one\n")),
      encoding: "base64",
    });
    await write({ stream: "stdin", rank: "all", eof: true });
    await ended(handle, id);
    return { out: await output(handle, id), input: await events(handle, id, "guest.input") };
  });
  assert.deepEqual(seen.out, { 0: "to all\n", 1: "to all\nto one\n" });
  assert.deepEqual(
    seen.input.map(({ name }) => name),
    ["header", "data", "data", "data"],
  );
});

test("the end of input on one node, and of its tasks, keeps no input from another", async () => {
  const seen = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["cat"], { nodes: 2 });
    await waitForEvent(handle, id, "shell.start", { path: "guest.exec.eventlog", waitCreate: true });
    const topic = `${OWNER_USERID}-shell-${formatFluid(id, "f58plain")}.stdin`;
    const write = (payload: JsonObject): Promise<unknown> => handle.rpc(topic, payload, { nodeid: 0 });
    await write({ stream: "stdin", rank: "1", eof: true });
    await waitForEvent(handle, id, "shell.task-exit", { path: "guest.exec.eventlog" });
    await write({ stream: "stdin", rank: "0", data: "late\n" });
    await write({ stream: "stdin", rank: "0", eof: true });
    return { status: statusOf(await ended(handle, id)), out: await output(handle, id) };
  });
  assert.deepEqual(seen, { status: 0, out: { 0: "late\n" } });
});

test("output files: one for the job is whole, one per task is by name, the log tells where", async () => {
  const seen = await simulate(2, async ({ handle, ports }, world) => {
    const options = { output: { stdout: { type: "file", path: "/tmp/job-{{id.dec}}", label: true } } };
    const shared = await run(handle, ["echo", "hi"], { nodes: 2, options });
    const single = { output: { stdout: { type: "file", path: "/tmp/task-{{taskid}}" } } };
    const separate = await run(handle, ["echo", "hi"], { slots: 2, options: single });
    await ended(handle, shared);
    await ended(handle, separate);
    const read = (path: string): string => utf8Decode(ports.disk.readFile(path));
    const redirects = (await events(handle, shared, "guest.output")).filter(({ name }) => name === "redirect");
    world.mark("read");
    return {
      shared: read(`/tmp/job-${String(shared)}`)
        .split("\n")
        .toSorted(),
      separate: [read("/tmp/task-0"), read("/tmp/task-1")],
      path: redirects.map(({ context }) => context!["path"]),
      id: shared,
    };
  });
  assert.deepEqual(seen.shared, ["", "0: hi", "1: hi"]);
  assert.deepEqual(seen.separate, ["hi\n", "hi\n"]);
  assert.deepEqual(seen.path, [`/tmp/job-${String(seen.id)}`, `/tmp/job-${String(seen.id)}`]);
});

test("an output file that takes no more fails its job, once, and no other job of the node", async () => {
  for (const path of ["/tmp/node-{{node.id}}", "/tmp/job"]) {
    const seen = await simulate(
      2,
      async ({ handle }) => {
        const neighbour = await run(handle, ["sleep", "100"], { nodes: 2 });
        await waitForEvent(handle, neighbour, "start", {});
        const options = { output: { stdout: { type: "file", path } } };
        const id = await run(handle, ["spew-on", path.includes("node") ? "node1" : "node0"], { nodes: 2, options });
        const log = await ended(handle, id);
        return { log, neighbour: await ended(handle, neighbour) };
      },
      (world) => {
        // The task on node1 fills the disk of a machine and writes.
        world.install("spew-on", (process) => {
          const storage = world.storage(process.argv[1]!);
          process.onSignal(() => {
            storage.capacityBytes = Number.MAX_SAFE_INTEGER;
            process.exit(0);
          });
          if (process.machine === "node0") return;
          process.after(100, () => {
            storage.capacityBytes = storage.usedBytes();
            for (let line = 0; line < 10; line++) process.output("stdout", utf8Encode(`line ${line}\n`));
          });
        });
      },
    );
    const exceptions = seen.log.filter(({ name }) => name === "exception");
    assert.deepEqual(
      exceptions.map(({ context }) => context!["type"]),
      ["exec"],
    );
    assert.match(String(exceptions[0]!.context!["note"]), /No space left on device/);
    assert.equal(statusOf(seen.log), 256, "whose output is lost has not succeeded");
    assert.equal(statusOf(seen.neighbour), 0);
  }
});

test("simulated runs need no shell: a time, a status, an exception", async () => {
  const seen = await simulate(1, async ({ handle }) => {
    const simulated = (test: JsonObject): JobOptions => ({ system: { exec: { test } } });
    const timed = await run(handle, ["true"], simulated({ run_duration: "100s", wait_status: 256 }));
    const failing = await run(handle, ["true"], simulated({ run_duration: "100s", mock_exception: "run" }));
    const stillborn = await run(handle, ["true"], simulated({ mock_exception: "init" }));
    const faulty = await run(handle, ["true"], simulated({ run_duration: 5 }));
    const held = await run(handle, ["true"], simulated({ override: 1 }));
    await waitForEvent(handle, held, "alloc", {});
    const override = (event: string): Promise<JsonObject> =>
      handle.rpc("job-exec.override", { jobid: held, event, status: 0 });
    while (true) {
      const early = await override("finish").catch((error: Error) => error.message);
      if (early !== "Job not found") {
        assert.equal(early, "Job is starting");
        break;
      }
    }
    await override("start");
    await assert.rejects(override("start"), /Job is running/);
    await override("finish");
    return {
      timed: await ended(handle, timed),
      failing: await ended(handle, failing),
      stillborn: await ended(handle, stillborn),
      faulty: await ended(handle, faulty),
      held: await ended(handle, held),
    };
  });
  const at = (name: string): number => seen.timed.find((event) => event.name === name)!.timestamp;
  assert.equal(Math.round(at("finish") - at("start")), 100);
  assert.equal(statusOf(seen.timed), 256);
  assert.equal(exceptionOf(seen.failing)?.["note"], "mock run exception generated");
  assert.equal(statusOf(seen.failing), SIGNALS["SIGTERM"]);
  assert.equal(exceptionOf(seen.stillborn)?.["note"], "mock initialization exception generated");
  assert.ok(!seen.stillborn.some(({ name }) => name === "start" || name === "finish"));
  assert.match(String(exceptionOf(seen.faulty)?.["note"]), /no Flux standard duration/);
  assert.equal(statusOf(seen.held), 0);
});

test("a job canceled while its shells still gather ends as if its tasks had got the signal", async () => {
  const log = await simulate(2, async ({ handle }) => {
    const id = await run(handle, ["sleep", "1000"], { nodes: 2 });
    await waitForEvent(handle, id, "start", {});
    await handle.rpc("job-manager.raise", { id, type: "cancel", severity: 0, note: "" });
    return ended(handle, id);
  });
  assert.equal(statusOf(log), (128 + SIGNALS["SIGTERM"]!) << 8);
});

test("the files of a jobspec are in the job's directory when its tasks start", async () => {
  const seen = await simulate(
    2,
    async ({ handle }) => {
      const files = {
        "conf/a.json": { mode: 0o100600, data: { answer: 42 } },
        script: { mode: 0o100700, data: "run", encoding: "utf-8" },
      };
      const id = await run(handle, ["show-files"], { nodes: 2, system: { files } as JsonObject });
      const log = await ended(handle, id);
      return { status: statusOf(log), text: await output(handle, id) };
    },
    (world) =>
      world.install("show-files", (process) => {
        const { disk } = world.portsOf(process);
        const directory = process.env["FLUX_JOB_TMPDIR"]!;
        const read = (name: string): string => utf8Decode(disk.readFile(`${directory}/${name}`));
        process.output("stdout", new TextEncoder().encode(`${read("script")} ${read("conf/a.json").trim()}\n`));
        process.exit(0);
      }),
  );
  assert.equal(seen.status, 0);
  assert.deepEqual(Object.values(seen.text), ['run {"answer":42}\n', 'run {"answer":42}\n']);
});
