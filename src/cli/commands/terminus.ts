/**
 * `flux terminus`: terminal sessions that outlive the terminal they are looked at from. The sessions are those of a server
 * in the background, which the first of them starts and which ends with the last.
 */
import { spawn } from "node:child_process";
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { exitCodeOfStatus } from "../../base/signals.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import type { Handle, RequestOptions } from "../../sdk/handle.ts";
import { Server } from "../../sdk/service.ts";
import { SESSION_VARIABLE, Terminus } from "../../shell/terminus/server.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { pipeInto, PtyClient, type PtyTarget } from "../terminal/pty-client.ts";

const SIGKILL = 9;
const READY = "ready";

const RANK: OptionSpec = {
  names: ["rank"],
  short: "r",
  argument: "RANK",
  integer: true,
  help: "Attach to session on rank RANK (default: local rank)",
};
const SERVICE: OptionSpec = {
  names: ["service"],
  short: "s",
  argument: "NAME",
  help: "Use service NAME (default USERID-terminus).",
};
const PLACE: readonly OptionSpec[] = [RANK, SERVICE];

interface Listed {
  readonly server: { readonly service: string; readonly rank: number; readonly ctime: number };
  readonly sessions: readonly { id: number; name: string; clients: number; exited: number; ctime: number }[];
}

interface Place {
  readonly service: string;
  readonly where: RequestOptions;
}

function placeOf(context: CommandContext): Place {
  const nodeid = context.options.integer("rank");
  const service = context.options.text("service") ?? `${context.host.uid}-terminus`;
  // A rank that cannot be has no server.
  return { service, where: nodeid === null || nodeid < 0 ? {} : { nodeid } };
}

/** What is to be said of a server that does not answer. */
function complaint(error: unknown, { service }: Place, what: string): string {
  return isFluxError(error, "ENOSYS", "EHOSTUNREACH")
    ? `no server running at ${service}`
    : `${what}: ${errorText(error)}`;
}

function sessionId(context: CommandContext): number {
  const [text, ...others] = context.operands;
  if (text === undefined || others.length > 0) return context.failUsage("session ID required");
  if (!/^\d+$/.test(text)) return context.fail("session ID must be an integer");
  return Number(text);
}

function refuseNesting(context: CommandContext): void {
  if (context.host.env[SESSION_VARIABLE] !== undefined) context.fail("Nesting flux-terminus sessions not supported");
}

const list: Command = {
  name: "list",
  dialect: "getopt",
  summary: "list active sessions",
  usage: "[OPTIONS]...",
  options: PLACE,
  run: async (context) => {
    const place = placeOf(context);
    const handle = await context.open();
    const { server, sessions } = await handle
      .rpc<Listed>(`${place.service}.list`, {}, place.where)
      .catch((error: unknown) => context.fail(complaint(error, place, "list failed")));
    context.out(`server at ${server.service} running on rank ${server.rank} since ${dateText(server.ctime)}\n`);
    context.out(
      `${sessions.length} current session${sessions.length === 1 ? "" : "s"}${sessions.length > 0 ? ":" : ""}\n`,
    );
    for (const { id, name, clients, exited, ctime } of sessions) {
      const state = exited === 0 ? "" : "(exited) ";
      const count = `${clients} client${clients === 1 ? "" : "s"}`;
      context.out(`${id}: [${name}] ${state}${count} (created ${dateText(ctime)})\n`);
    }
  },
};

/** As ctime(3) has it. */
function dateText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const [weekday, month] = date.toString().split(" ");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${weekday} ${month} ${String(date.getDate()).padStart(2)} ${time} ${date.getFullYear()}`;
}

const start: Command = {
  name: "start",
  dialect: "getopt",
  summary: "Start a new session",
  usage: "[OPTIONS] [COMMAND...]",
  stopAtOperand: true,
  options: [
    { names: ["detach"], short: "d", help: "Start new session and immediately detach" },
    {
      names: ["wait"],
      short: "w",
      help: "Do not clear sessions from server on exit with --detach. Instead, hold session in an 'exited' state until at least one client has attached.",
    },
    { names: ["name"], short: "n", argument: "NAME", help: "Set session name to NAME (default: arg0)" },
    ...PLACE,
  ],
  operands: [{ name: "COMMAND", arity: "..." }],
  run: async (context) => {
    const { options, operands, host } = context;
    if (!options.has("detach")) refuseNesting(context);
    const place = placeOf(context);
    const handle = await context.open();
    await ensureServer(context, handle, place);
    const isLocal = options.integer("rank") === null;
    const request = {
      name: options.text("name") ?? "",
      cmd: [...operands],
      // Without a client who waits, a short program's last words would be lost before we are attached.
      wait: options.has("wait") || !options.has("detach") ? 1 : 0,
      ...(isLocal ? { cwd: host.cwd, environ: { ...host.env } } : {}),
    };
    const { id } = await handle
      .rpc<{ id: number }>(`${place.service}.new`, request, place.where)
      .catch((error: unknown) => context.fail(errorText(error)));
    return options.has("detach") ? 0 : attachTo(context, handle, place, id);
  },
};

/** Starts a server in the background where none answers. */
async function ensureServer(context: CommandContext, handle: Handle, place: Place): Promise<void> {
  try {
    await handle.rpc(`${place.service}.list`, {}, place.where);
    return;
  } catch (error) {
    if (!isFluxError(error, "ENOSYS")) return context.fail(complaint(error, place, "list failed"));
  }
  if (context.options.integer("rank") !== null) return context.fail("Unable to start a new server with --rank option");
  const words = ["terminus", "server", `--service=${place.service}`];
  const child = spawn(context.host.fluxPath, words, { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.endsWith(`${READY}\n`)) break;
  }
  child.stdout.destroy();
  child.unref();
  if (text === `${READY}\n`) return;
  context.complain(text.trimEnd());
  context.fail("Failed to start a new server");
}

const attach: Command = {
  name: "attach",
  dialect: "getopt",
  summary: "Attach to existing session",
  usage: "[OPTIONS] ID",
  options: [
    ...PLACE,
    { names: ["pipe"], short: "p", help: "Pipe stdin to the session and exit. Do not display output" },
  ],
  operands: [{ name: "ID", arity: "1" }],
  run: async (context) => {
    const id = sessionId(context);
    const isPipe = context.options.has("pipe");
    if (!isPipe) refuseNesting(context);
    const place = placeOf(context);
    const handle = await context.open();
    if (!isPipe) return attachTo(context, handle, place, id);
    await pipeInto(context, handle, targetOf(place, id)).catch((error: unknown) =>
      noSession(context, error, place, id),
    );
    return 0;
  },
};

function targetOf({ service, where }: Place, id: number): PtyTarget {
  return { topic: `${service}.${id}`, where };
}

function noSession(context: CommandContext, error: unknown, { service }: Place, id: number): never {
  if (isFluxError(error, "ENOSYS", "ENOENT")) return context.fail(`Invalid session or server at ${service}.${id}`);
  return context.fail(errorText(error));
}

async function attachTo(context: CommandContext, handle: Handle, place: Place, id: number): Promise<number> {
  const client = new PtyClient(context, handle, targetOf(place, id), { clears: true, endsInput: false });
  context.onSignal("SIGUSR1", () => client.detach());
  const { status } = await client.run().catch((error: unknown) => noSession(context, error, place, id));
  return exitCodeOfStatus(status);
}

const kill: Command = {
  name: "kill",
  dialect: "getopt",
  summary: "kill active session ID",
  usage: "[OPTIONS] ID",
  options: PLACE,
  operands: [{ name: "ID", arity: "1" }],
  run: async (context) => {
    const id = sessionId(context);
    const place = placeOf(context);
    const handle = await context.open();
    await handle
      .rpc(`${place.service}.kill`, { id, signal: SIGKILL, wait: 1 }, place.where)
      .catch((error: unknown) => context.fail(complaint(error, place, "kill failed")));
  },
};

const killServer: Command = {
  name: "kill-server",
  dialect: "getopt",
  summary: "tell terminus server to exit",
  usage: "[OPTIONS]...",
  options: PLACE,
  run: async (context) => {
    const place = placeOf(context);
    const handle = await context.open();
    await handle
      .rpc(`${place.service}.kill-server`, {}, place.where)
      .catch((error: unknown) => context.fail(complaint(error, place, "kill-server failed")));
  },
};

/** The server in the background. It says on standard output that it is there, or why not. */
const server: Command = {
  name: "server",
  dialect: "getopt",
  summary: "Serve terminal sessions (started by `flux terminus start`)",
  hidden: true,
  options: [SERVICE],
  run: async (context) => {
    const { service } = placeOf(context);
    const [ports, handle] = await Promise.all([context.ports(), context.open()]);
    const ended = Promise.withResolvers<void>();
    const rank = await getAttribute(handle, "rank");
    const terminus = new Terminus({
      service,
      rank: Number(rank),
      clock: ports.clock,
      exec: ports.exec,
      userid: context.host.uid,
      environment: context.host.env,
      cwd: context.host.cwd,
      emptied: () => ports.clock.defer(() => ended.resolve()),
      stopped: () => ports.clock.defer(() => ended.resolve()),
    });
    new Server(handle, { rank: Number(rank), fatal: (error) => ended.reject(error) }).add(service, terminus.methods());
    handle.onClose(() => ended.resolve());
    try {
      await handle.rpc("service.add", { service });
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      context.out(`flux_service_register (${service}): ${error.message}\n`);
      return 1;
    }
    context.out(`${READY}\n`);
    await ended.promise;
    terminus.killAll(SIGKILL);
    return 0;
  },
};

export const command: Command = defineCommand({
  name: "terminus",
  dialect: "getopt",
  summary: "simple terminal session manager and multiplexer for Flux",
  description: "Simple terminal session manager and multiplexer for Flux.",
  subcommands: [start, attach, list, kill, killServer, server],
});
