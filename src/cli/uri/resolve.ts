/**
 * Finds the instance that a word names (flux-uri(1)): a URI, a job, a path of jobs through the hierarchy of instances, or
 * a process (`pid:N`), or a job of another workload manager (`slurm:ID`, `lsf:ID`). `?local` and `?remote` choose the form
 * of the result.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { STATES_RUNNING } from "../../formats/job-states.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { watchEventlog } from "../jobs/client.ts";
import { throughProxy } from "../framework/connect.ts";
import type { CommandContext } from "../framework/command.ts";

/** The ways to name an instance, as the help lists them. */
export const RESOLVERS: Readonly<Record<string, string>> = {
  jobid: "Get URI for a given Flux JOBID",
  lsf: "Get URI for a Flux instance launched under IBM Spectrum LSF",
  pid: "Get FLUX_URI for a given local PID",
  slurm: "Get URI for a Flux instance launched under Slurm",
};

/**
 * Resolves a word to a `local://` or `ssh://` URI; `isPatient`, or `?wait`, waits for jobs to announce theirs. Throws
 * FluxError ENOENT, EINVAL with a sentence.
 */
export async function resolveTarget(context: CommandContext, word: string, isPatient = false): Promise<string> {
  const at = word.indexOf("?");
  const target = at < 0 ? word : word.slice(0, at);
  const query = at < 0 ? [] : word.slice(at + 1).split("&");
  const wanted = ["local", "remote"].filter((form) => query.includes(form));
  if (wanted.length > 1) throw new FluxError("EINVAL", "Only one of 'local' or 'remote' is allowed");
  const uri = await nativeUri(context, target, isPatient || query.includes("wait"));
  const local = context.host.env["FLUX_URI_RESOLVE_LOCAL"] !== undefined;
  if (wanted[0] === "remote") return remoteForm(uri, (await context.ports()).host.hostname);
  return local || wanted[0] === "local" ? localForm(uri) : uri;
}

/** The URI by which a broker on this machine is reached. */
function localForm(uri: string): string {
  return uri.replace(/^ssh:\/\/[^/]*/, "local://");
}

function remoteForm(uri: string, hostname: string): string {
  return uri.replace(/^local:\/\//, `ssh://${hostname}`);
}

async function nativeUri(context: CommandContext, target: string, isPatient: boolean): Promise<string> {
  if (/^(local|ssh):\/\//.test(target)) return target;
  if (target === "")
    throw new FluxError("EINVAL", "a URI, a job id or a path of job ids is missing ('.' is this instance)");
  const colon = /^[A-Za-z][A-Za-z0-9+.-]*:/.exec(target)?.[0].length ?? 0;
  const scheme = colon === 0 ? "jobid" : target.slice(0, colon - 1);
  const rest = target.slice(colon);
  if (scheme === "pid") return (await import("./processes.ts")).uriOfProcess(rest);
  if (scheme === "slurm") return (await import("./workload-managers.ts")).slurmUri(rest);
  if (scheme === "lsf") return (await import("./workload-managers.ts")).lsfUri(rest);
  if (scheme !== "jobid")
    throw new FluxError(
      "EINVAL",
      `No plugin for URI scheme ${scheme}: there are ${Object.keys(RESOLVERS).join(", ")}, and local:// and ssh:// URIs`,
    );
  let handle: Handle | null = await context.open();
  // The socket that this command came by may be that of a proxy.
  let uri = await attribute(handle, "local-uri");
  // Connected to only where something is asked: what the path ends at may end, too, as soon as it is found.
  const here = async (): Promise<Handle> => (handle ??= await context.open(uri));
  const enter = (next: string): void => {
    uri = next;
    handle = null;
  };
  const isNested = async (): Promise<boolean> => (await attribute(await here(), "instance-level")) !== "0";
  const leave = async (): Promise<void> => enter(await attribute(await here(), "parent-uri"));
  if (rest.startsWith("/")) while (await isNested()) await leave();
  for (const step of rest.split("/")) {
    if (step === "" || step === ".") continue;
    if (step !== "..") enter(await uriOfJob(await here(), step, isPatient));
    else if (await isNested()) await leave();
  }
  return uri;
}

async function attribute(handle: Handle, name: string): Promise<string> {
  return throughProxy(name, await getAttribute(handle, name));
}

async function uriOfJob(handle: Handle, word: string, isPatient: boolean): Promise<string> {
  const id = tryParseFluid(word);
  if (id === null) throw new FluxError("EINVAL", `failed to resolve '${word}': not a URI and not a job id`);
  const { job } = await handle
    .rpc<{ job: JsonObject }>("job-list.list-id", { id, attrs: ["state", "annotations"] })
    .catch((error: unknown) => {
      if (isFluxError(error, "ENOENT")) throw new FluxError("ENOENT", `jobid ${word} not found`);
      throw error;
    });
  if (isPatient) return announcedUri(handle, id, word);
  if ((Number(job["state"]) & STATES_RUNNING) === 0) throw new FluxError("EINVAL", `jobid ${word} is not running`);
  const annotations = isJsonObject(job["annotations"]) ? job["annotations"] : {};
  const user = isJsonObject(annotations["user"]) ? annotations["user"] : {};
  if (typeof user["uri"] !== "string") throw new FluxError("ENOENT", `URI not found for job ${word}`);
  return user["uri"];
}

/** Follows the job's events until it announces its URI, or ends without. */
async function announcedUri(handle: Handle, id: Integer, word: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const stream = watchEventlog(handle, id, "eventlog", {
      event: ({ name, context }) => {
        const uri = name === "memo" ? context?.["uri"] : undefined;
        if (typeof uri !== "string") return;
        stream.cancel();
        resolve(uri);
      },
      end: (error) => reject(error ?? new FluxError("ENOENT", `URI not found for job ${word}`)),
    });
  });
}
