/** progress.mjs JOBID…: a progress line until all of these jobs are over. Job ids may come in any form. */
import { jobs, openFlux, parseJobId } from "flux-ts";

const ids = process.argv.slice(2);
const flux = await openFlux();
const begin = performance.now();
let done = 0;
let failed = 0;

function show() {
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  const bar = "█".repeat(Math.round((20 * done) / ids.length)).padEnd(20, "░");
  const line = `${bar} ${done}/${ids.length} members, ${failed} failed, ${seconds} s`;
  if (process.stderr.isTTY) process.stderr.write(`\r${line}`);
  else if (done % 16 === 0 || done === ids.length) process.stderr.write(`${line}\n`);
}

await Promise.all(
  ids.map(async (id) => {
    const { success } = await jobs.waitForJob(flux, parseJobId(id));
    done++;
    if (!success) failed++;
    show();
  }),
);
if (process.stderr.isTTY) process.stderr.write("\n");
flux.close();
