/**
 * Finds the broker that a command talks to and connects to it: `local://PATH`, or a path through the hierarchy of
 * instances (`.` this one, `..` its parent, `/` the outermost one).
 */
import { dirname } from "node:path";
import { errnoSentence, isFluxError, FluxError } from "../../base/errors.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { MessageChannel } from "../../sdk/channel.ts";
import { connectLocal } from "../../sdk/local-connector.ts";
import { Handle } from "../../sdk/handle.ts";
import { nodeClock } from "../../host/clock.ts";
import { fluxCommandPath } from "../../host/paths.ts";
import { nodeNet } from "../../host/net.ts";
import type { Dialect } from "./command.ts";

/** Where the broker of a system instance listens, when FLUX_URI says nothing. */
const SYSTEM_SOCKET = "/run/flux/local";
const REMEDY = "FLUX_URI is not set: run this inside an instance (see flux-start(1)), or set FLUX_URI";

/** Connects. `uri` null means the system instance. Throws FluxError. */
export async function connect(uri: string | null): Promise<Handle> {
  if (uri !== null && /^[./]/.test(uri)) return connectByPath(uri);
  return connectTo(uri ?? `local://${SYSTEM_SOCKET}`);
}

async function connectTo(uri: string): Promise<Handle> {
  const scheme = /^([^:]*):\/\/(.*)$/s.exec(uri);
  if (scheme?.[1] === "ssh") {
    const near = await nearForm(uri);
    if (near !== uri) return connectTo(near);
    const { connectBySsh } = await import("../proxy/ssh.ts");
    return new Handle(withCredentials(await connectBySsh(uri, dirname(fluxCommandPath()))));
  }
  if (scheme === null || scheme[1] !== "local")
    throw new FluxError("ENOENT", `Unable to find connector name '${scheme?.[1] ?? uri}'`);
  const retries = process.env["FLUX_LOCAL_CONNECTOR_RETRY_COUNT"];
  const options = retries === undefined ? {} : { retries: Number(retries) };
  const channel = await connectLocal({ net: nodeNet(), clock: nodeClock() }, uri, options);
  return new Handle(withCredentials(process.env["FLUX_HANDLE_TRACE"] === undefined ? channel : await traced(channel)));
}

/**
 * The local form of an ssh URI that names a socket on this very host: few machines let one log in to themselves. Any other
 * URI as it is, and all where the user has a program of their own for the way (FLUX_SSH).
 */
export async function nearForm(uri: string): Promise<string> {
  const [, host, path] = /^ssh:\/\/([^/@:?]+)(\/[^?]*)$/.exec(uri) ?? [];
  if (path === undefined || process.env["FLUX_SSH"] !== undefined) return uri;
  const [{ hostname }, { existsSync }] = await Promise.all([import("node:os"), import("node:fs")]);
  return host === hostname() && existsSync(path) ? `local://${path}` : uri;
}

async function traced(channel: MessageChannel): Promise<MessageChannel> {
  const { tracedChannel } = await import("./trace-channel.ts");
  const clock = nodeClock();
  return tracedChannel(
    channel,
    () => clock.monotonicMs() / 1000,
    (text) => void process.stderr.write(text),
  );
}

/** Speaks for somebody else where the environment says so; a broker believes that of the instance owner only. */
function withCredentials(channel: MessageChannel): MessageChannel {
  const userid = process.env["FLUX_HANDLE_USERID"];
  const rolemask = process.env["FLUX_HANDLE_ROLEMASK"];
  if (userid === undefined && rolemask === undefined) return channel;
  const claimed = {
    ...(userid !== undefined && { userid: Number(userid) }),
    ...(rolemask !== undefined && { rolemask: Number(rolemask) }),
  };
  return {
    start: (receive, closed) => channel.start(receive, closed),
    send: (message) => channel.send({ ...message, ...claimed }),
    close: () => channel.close(),
  };
}

async function connectByPath(path: string): Promise<Handle> {
  let handle = await connectTo(process.env["FLUX_URI"] ?? `local://${SYSTEM_SOCKET}`);
  if (path === "/") {
    while ((await levelOf(handle)) > 0) handle = await parentOf(handle);
    return handle;
  }
  for (const step of path.split("/")) {
    if (step === "" || step === ".") continue;
    if (step !== "..") throw new FluxError("EINVAL", `'${path}' is no path to an instance: use '.', '..' or '/'`);
    if ((await levelOf(handle)) > 0) handle = await parentOf(handle);
  }
  return handle;
}

async function levelOf(handle: Handle): Promise<number> {
  return Number(await getAttribute(handle, "instance-level"));
}

async function parentOf(handle: Handle): Promise<Handle> {
  const uri = throughProxy("parent-uri", await getAttribute(handle, "parent-uri"));
  handle.close();
  return connectTo(uri);
}

/** What an attribute means here: where a proxy led to another machine, that is where its broker's parent is, too. */
export function throughProxy(name: string, value: string): string {
  const remote = process.env["FLUX_PROXY_REMOTE"];
  if (name !== "parent-uri" || remote === undefined || !value.startsWith("local://")) return value;
  return `ssh://${remote}${value.slice("local://".length)}`;
}

/** What a command says when there is no broker, in its dialect. */
export function connectionComplaint(error: unknown, dialect: Dialect, uri: string | null, words = "flux_open"): string {
  if (!isFluxError(error)) throw error;
  const remedy = uri === null ? ` (${REMEDY})` : "";
  if (dialect === "argparse") return `Unable to connect to Flux: ${error.message}${remedy}`;
  const sentence = errnoSentence(error.errnum);
  const isSaid = uri?.startsWith("ssh:") === true || error.message.endsWith(sentence);
  const detail = isSaid ? error.message : `${sentence}: ${error.message}`;
  return `${words}: ${detail}${remedy}`;
}
