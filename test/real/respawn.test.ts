/** Real brokers that are killed: a router, whose orphans rejoin, and rank 0, which a supervisor starts again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Run, flux } from "./processes.ts";

const GONE_MS = 10_000;

test("a router that is killed costs the jobs on it, not those below it", async () => {
  const script = `
    below=$(flux submit --requires=rank:3 -n1 sh -c 'sleep 4; echo survived')
    on=$(flux submit --requires=rank:1 -n1 sleep 1000)
    for job in $below $on; do flux job wait-event -q $job start; done
    kill -9 $(flux exec -n -r1 flux getattr broker.pid)
    flux job attach $below
    flux job wait-event -q $on exception && echo lost
    flux run --requires=rank:4 -n1 echo goes on`;
  const options = ["-s7", "--test-exit-mode=leader", "-Stbon.topo=kary:2", "-Stbon.rejoin_timeout=5s"];
  await using run = new Run([flux, "start", ...options, "bash", "-c", script]);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(stdout, "survived\nlost\ngoes on\n", stderr);
  assert.equal(code, 0, stderr);
  await run.gone(GONE_MS);
});

test("rank 0 that is killed is started again: what was stored is there, and jobs on other nodes go on, others are tried again", async () => {
  const script = `
    if [ -n "$FLUX_RESUMED" ]; then
      flux kvs get progress
      flux job attach $(flux kvs get survivor)
      flux job wait-event -q $(flux kvs get victim) exception && echo lost
      flux job wait-event -q $(flux kvs get retried) clean; flux jobs -no '{status} {attempt}' $(flux kvs get retried)
      flux run -N3 -n3 echo all nodes | sort -u
      exit 3
    fi
    flux kvs put progress=half
    flux kvs put survivor=$(flux submit --requires=rank:2 -n1 sh -c 'sleep 6; echo survived')
    flux kvs put victim=$(flux submit --requires=rank:0 -n1 sleep 1000)
    flux kvs put retried=$(flux submit --retry=1 --requires=rank:0 -n1 sh -c 'rm again 2>/dev/null || { touch again; sleep 1000; }')
    for key in survivor victim retried; do flux job wait-event -q $(flux kvs get $key) start; done
    kill -9 $(flux getattr broker.pid)
    sleep 100`;
  await using run = new Run([flux, "start", "-s3", "--respawn", "bash", "-c", script]);
  const { code, stdout, stderr } = await run.finished;
  assert.equal(stdout, "half\nsurvived\nlost\nCOMPLETED 2/2\nall nodes\n", stderr);
  assert.equal(code, 3, stderr);
  await run.gone(GONE_MS);
  assert.deepEqual(run.leftFiles(), []);
});
