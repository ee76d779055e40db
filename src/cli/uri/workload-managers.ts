/**
 * Finds instances that run as jobs of another workload manager: Slurm (`slurm:JOBID`) and LSF (`lsf:JOBID`). On the
 * job's first node, processes of the job are looked at until one knows the URI of its instance.
 */
import { spawnSync } from "node:child_process";
import { FluxError } from "../../base/errors.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { fluxCommandPath } from "../../host/paths.ts";
import { processesWith, uriOfProcess } from "./processes.ts";

/** Set in the environment when this runs on a job's node already: then it must not go to another node again. */
const ON_NODE = "FLUX_URI_RESOLVE_ON_NODE";
const LSF_QUERY = "/opt/ibm/csm/bin/csm_allocation_query";

/** The URI of an instance in a Slurm job. Throws FluxError with a sentence. */
export function slurmUri(id: string): string {
  const pids = slurmPids(id);
  if (pids !== null || isOnNode()) return firstUri(pids ?? [], `Slurm job ${id}`);
  const nodes = run("squeue", ["--noheader", "--format=%N", `--jobs=${id}`]);
  if (nodes === null) throw new FluxError("ENOENT", `unable to query nodelist for Slurm job ${id}`);
  const first = firstHost(nodes.trim(), `Slurm job ${id}`);
  const step = ["--jobid", id, "--overlap", "-n1", "-N1", "-w", first];
  const uri = run("srun", [...step, fluxCommandPath(), "uri", "--remote", `slurm:${id}`]);
  return uri?.trim() || fail(`Slurm job ${id}`);
}

/** The processes of a job on this node; null where Slurm knows none. */
function slurmPids(id: string): string[] | null {
  const text = run("scontrol", ["listpids", id]);
  if (text === null) return null;
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => /^\s*(\d+)\s/.exec(line)?.[1] ?? []);
}

/** The URI of an instance in an LSF job. Throws FluxError with a sentence. */
export function lsfUri(id: string): string {
  const here = processesWith("LSB_JOBID", id);
  if (here.length > 0 || isOnNode()) return firstUri(here, `LSF Job ${id}`);
  const answer = run(process.env["CSM_ALLOCATION_QUERY"] ?? LSF_QUERY, ["-j", id]);
  const nodes = /^compute_nodes:\n((?: +- +\S+\n?)+)/m.exec(answer ?? "")?.[1];
  if (nodes === undefined) return fail(`LSF Job ${id}`);
  const first = nodes.trim().replace(/^- +/, "").split("\n")[0]!.trim();
  const uri = run(process.env["FLUX_SSH"] ?? "ssh", [
    first,
    `${ON_NODE}=t ${fluxCommandPath()} uri --remote lsf:${id}`,
  ]);
  return uri?.trim() || fail(`LSF Job ${id}`);
}

function isOnNode(): boolean {
  return process.env[ON_NODE] !== undefined;
}

function firstHost(nodes: string, job: string): string {
  if (nodes === "") throw new FluxError("ENOENT", `empty nodelist for ${job}`);
  const [first] = Hostlist.parse(nodes);
  if (first === undefined) throw new FluxError("ENOENT", `empty nodelist for ${job}`);
  return first;
}

function firstUri(pids: readonly string[], job: string): string {
  for (const pid of pids) {
    try {
      return uriOfProcess(pid);
    } catch (error) {
      // Not every process of a job belongs to the instance.
      if (!(error instanceof FluxError)) throw error;
    }
  }
  return fail(job);
}

function fail(job: string): never {
  throw new FluxError("ENOENT", `${job} doesn't seem to have a FLUX_URI`);
}

/** What a program prints; null where it fails. What it complains of is shown. */
function run(program: string, words: readonly string[]): string | null {
  const env = { ...process.env, [ON_NODE]: "t" };
  const { status, stdout } = spawnSync(program, words, { encoding: "utf8", env, stdio: ["ignore", "pipe", "inherit"] });
  return status === 0 ? stdout : null;
}
