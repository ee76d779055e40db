/** What a submission reads of this machine: environment, directory, limits, files. */
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { FluxError } from "../../base/errors.ts";
import { parseProcLimits, RLIM_INFINITY } from "../../formats/rlimit.ts";
import { systemError } from "../../host/errors.ts";
import type { CommandContext } from "../framework/command.ts";
import type { SubmissionSource } from "./request.ts";
import { resumeOptions } from "./resume.ts";

/** Set by bin/flux: Node raises its own soft limit on open files when it starts. */
const OPEN_FILES_VARIABLE = "FLUX_SOFT_NOFILE";

export function submissionSource(context: CommandContext): SubmissionSource {
  const { [OPEN_FILES_VARIABLE]: openFiles, ...env } = context.host.env;
  return {
    env: withFluxInPath(env, context.host.fluxPath),
    cwd: context.host.cwd,
    limits: currentLimits(openFiles),
    now: Date.now() / 1000,
    readFile: (path) => reading(path, () => ({ data: readFileSync(path), permissions: statSync(path).mode & 0o7777 })),
    readText: (path) => reading(path, () => readFileSync(path, "utf8")),
    resumeOptions: (path) => resumeOptions(path, context.host.cwd),
    warn: (message) => context.err(`${message}\n`),
  };
}

/** A job that says `flux` finds one also where the user has none in PATH and called this one by its own path. */
function withFluxInPath(env: Readonly<Record<string, string>>, fluxPath: string): Record<string, string> {
  const directory = dirname(fluxPath);
  const path = env["PATH"] ?? "";
  return path.split(":").includes(directory)
    ? { ...env }
    : { ...env, PATH: path === "" ? directory : `${path}:${directory}` };
}

function currentLimits(openFiles: string | undefined): Record<string, number> {
  let text: string;
  try {
    text = readFileSync("/proc/self/limits", "utf8");
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // Not Linux: jobs then have the limits of the broker.
    return {};
  }
  const limits: Record<string, number> = {};
  for (const [name, { soft }] of Object.entries(parseProcLimits(text)))
    limits[name] = soft === Infinity ? RLIM_INFINITY : soft;
  if (openFiles !== undefined) limits["nofile"] = openFiles === "unlimited" ? RLIM_INFINITY : Number(openFiles);
  return limits;
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { errnum, message } = systemError("", error);
    throw new FluxError(errnum, `${message.replace(/^: /, "")}: '${path}'`, { cause: error });
  }
}
