/**
 * Finds the instance that a word names (flux-uri(1)): a URI, a job, a path of jobs through the hierarchy of instances, or
 * a process (`pid:N`). `?local` and `?remote` choose the form of the result.
 */
import { existsSync, readFileSync } from "node:fs";
import { FluxError, isFluxError } from "../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../base/json.ts";
import { tryParseFluid } from "../formats/fluid.ts";
import { STATES_RUNNING } from "../formats/job-states.ts";
import type { Handle } from "../sdk/handle.ts";
import { watchEventlog } from "./jobs/client.ts";
import { throughProxy } from "./framework/connect.ts";
import type { CommandContext } from "./framework/command.ts";

/** Resolves a word to a `local://` or `ssh://` URI; `isPatient` waits for jobs to announce theirs. Throws FluxError ENOENT, EINVAL with a sentence. */
export async function resolveTarget(context: CommandContext, word: string, isPatient = false): Promise<string> {
  const [target, query] = word.split("?", 2) as [string, string | undefined];
  const uri = await nativeUri(context, target, isPatient);
  const wantsLocal =
    query === "local" || (query !== "remote" && context.host.env["FLUX_URI_RESOLVE_LOCAL"] !== undefined);
  if (wantsLocal) return localForm(uri);
  return query === "remote" ? remoteForm(uri, (await context.ports()).host.hostname) : uri;
}

/** The URI by which a broker on this machine is reached. */
export function localForm(uri: string): string {
  return uri.replace(/^ssh:\/\/[^/]*/, "local://");
}

function remoteForm(uri: string, hostname: string): string {
  return uri.replace(/^local:\/\//, `ssh://${hostname}`);
}

async function nativeUri(context: CommandContext, target: string, isPatient: boolean): Promise<string> {
  if (/^(local|ssh):\/\//.test(target)) return target;
  const [scheme, rest] = /^[a-z]+:/.test(target) ? (target.split(/:(.*)/s, 2) as [string, string]) : ["jobid", target];
  if (scheme === "pid") return uriOfProcess(rest);
  if (scheme !== "jobid") throw new FluxError("ENOENT", `failed to resolve ${target}: unknown scheme '${scheme}'`);
  let uri = context.host.env["FLUX_URI"] ?? "local:///run/flux/local";
  let handle = await context.open();
  const enter = async (next: string): Promise<void> => {
    uri = next;
    handle = await context.open(localForm(next));
  };
  if (rest.startsWith("/"))
    while ((await attribute(handle, "instance-level")) !== "0") await enter(await attribute(handle, "parent-uri"));
  for (const step of rest.split("/")) {
    if (step === "" || step === ".") continue;
    if (step !== "..") await enter(await uriOfJob(handle, step, isPatient));
    else if ((await attribute(handle, "instance-level")) !== "0") await enter(await attribute(handle, "parent-uri"));
  }
  return uri;
}

async function attribute(handle: Handle, name: string): Promise<string> {
  return throughProxy(name, (await handle.rpc<{ value: string }>("attr.get", { name })).value);
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

/** A broker's own FLUX_URI is that of its parent: then its children are asked. */
function uriOfProcess(pid: string): string {
  const fail = (): never => {
    throw new FluxError("ENOENT", `PID ${pid} doesn't seem to have a FLUX_URI`);
  };
  if (!/^\d+$/.test(pid) || !existsSync(`/proc/${pid}/environ`)) return fail();
  const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const isBroker = command.some((word) => word === "broker" || word === "start");
  const children = isBroker ? readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ") : [pid];
  for (const each of children.filter(Boolean)) {
    const variables = readFileSync(`/proc/${each}/environ`, "utf8").split("\0");
    const uri = variables.find((variable) => variable.startsWith("FLUX_URI="));
    if (uri !== undefined) return uri.slice("FLUX_URI=".length);
  }
  return fail();
}
