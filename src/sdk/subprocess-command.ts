/**
 * What requests to a subprocess server (RFC 42) say: the command, its streams and names; and how the server's answers and
 * its log speak of processes. Pure.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import { exitCodeOfStatus, signalOfStatus } from "../base/signals.ts";

/** Flags of `exec` and `attach`: which streams are wanted, and more. */
export const SubprocessFlag = { Stdout: 1, Stderr: 2, Channel: 4, Credit: 8, Waitable: 16 } as const;
/** Local flags of `exec`. */
const LocalFlag = { StdioFallthrough: 1, NoSetpgrp: 2, ForkExec: 4 } as const;
const LOCAL_FLAGS_ALL = LocalFlag.StdioFallthrough | LocalFlag.NoSetpgrp | LocalFlag.ForkExec;

/** Input that a client may send before it must wait for more credit, in bytes. */
const INPUT_CREDIT_BYTES = 64 * 1024;

/** Where a program starts whose own directory is not on its node. */
export const FALLBACK_DIRECTORY = "/tmp";

export interface SubprocessCommand {
  readonly argv: readonly string[];
  /** Null: that of the server. */
  readonly env: Readonly<Record<string, string>> | null;
  /** Variables besides those. */
  readonly addedEnv: Readonly<Record<string, string>>;
  /** Null: that of the server. */
  readonly cwd: string | null;
  readonly channels: readonly string[];
  readonly label: string | null;
  readonly options: JsonObject;
  readonly flags: number;
  /** Signals go to the process alone, not to what it starts. */
  readonly staysInGroup: boolean;
  /** The program has the standard streams of the server. */
  readonly inheritsStdio: boolean;
}

function stringsOf(value: JsonValue | undefined): string[] | null {
  return Array.isArray(value) && value.every((item) => typeof item === "string") ? (value as string[]) : null;
}

/** Reads an `exec` request. Throws FluxError EPROTO, EINVAL. */
export function parseSubprocessCommand(request: JsonObject, isStreaming: boolean): SubprocessCommand {
  const { cmd, flags = 0, local_flags: localFlags = 0 } = request;
  if (!isJsonObject(cmd)) throw new FluxError("EPROTO", "invalid request payload: Object item not found: cmd");
  const malformed = new FluxError("EPROTO", "error parsing command string");
  const { cwd, env = {}, label, opts = {}, channels = [] } = cmd;
  const argv = stringsOf(cmd["cmdline"]);
  const names = stringsOf(channels);
  if (argv === null || names === null || !isJsonObject(env) || !isJsonObject(opts)) throw malformed;
  if (argv.length === 0) throw new FluxError("EPROTO", "command string is empty");
  if (cwd !== undefined && typeof cwd !== "string") throw malformed;
  if (label !== undefined && (typeof label !== "string" || label === "")) throw malformed;
  if (typeof flags !== "number" || typeof localFlags !== "number") throw malformed;
  checkFlags(flags, localFlags, isStreaming);
  // Services of ours add variables to the environment that programs of the server have.
  const added = isJsonObject(cmd["env_add"]) ? cmd["env_add"] : {};
  return {
    argv,
    env: Object.keys(env).length === 0 ? null : textsOf(env),
    addedEnv: textsOf(added),
    cwd: cwd ?? null,
    channels: names,
    label: label ?? null,
    options: opts,
    flags,
    staysInGroup: (localFlags & LocalFlag.NoSetpgrp) !== 0,
    inheritsStdio: (localFlags & LocalFlag.StdioFallthrough) !== 0,
  };
}

function checkFlags(flags: number, localFlags: number, isStreaming: boolean): void {
  const refuse = (what: string): FluxError => new FluxError("EINVAL", what);
  if ((localFlags & ~LOCAL_FLAGS_ALL) !== 0) throw refuse("error launching process: Invalid argument");
  if (isStreaming) {
    if ((flags & SubprocessFlag.Waitable) !== 0) throw refuse("waitable flag only supported in background mode");
    return;
  }
  if ((flags & SubprocessFlag.Credit) !== 0) throw refuse("write-credit flag is not allowed in background mode");
  if ((localFlags & LocalFlag.StdioFallthrough) !== 0)
    throw refuse("stdio-fallthrough flag is not allowed in background mode");
}

function textsOf(variables: JsonObject): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(variables)) if (typeof value === "string") texts[name] = value;
  return texts;
}

/** Whether a client that asked with `flags` is told of a stream. */
export function wantsStream(flags: number, stream: string): boolean {
  const { Stdout, Stderr, Channel } = SubprocessFlag;
  return (flags & (stream === "stdout" ? Stdout : stream === "stderr" ? Stderr : Channel)) !== 0;
}

/** The credit that a stream begins with, in bytes: `opts` may say `NAME_BUFSIZE`. */
export function inputCreditBytes(options: JsonObject, name: string): number {
  const bytes = Number(options[`${name}_BUFSIZE`] ?? INPUT_CREDIT_BYTES);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : INPUT_CREDIT_BYTES;
}

/** The last part of the path of the program. */
export function programName(argv: readonly string[]): string {
  const [path = ""] = argv;
  return path.slice(path.lastIndexOf("/") + 1);
}

/** How a process ended, for the log. */
export function endText(status: number): string {
  const signum = signalOfStatus(status);
  return signum === 0 ? `Exit ${exitCodeOfStatus(status)}` : `Killed by signal ${signum}`;
}

export function lostDirectoryText(path: string): string {
  return `Could not change dir to ${path}: No such file or directory. Going to ${FALLBACK_DIRECTORY} instead\n`;
}
