/**
 * `flux proxy`: a shell or program that talks to another instance, on this machine or by ssh on another, through a socket
 * of its own (flux-proxy(1)). All its connections share the one that the proxy has.
 */
import { errorText, FluxError } from "../../base/errors.ts";
import type { Ports } from "../../base/ports.ts";
import { exitCodeOfStatus, SIGNALS } from "../../base/signals.ts";
import { COMPATIBLE_VERSION } from "../../broker/boot.ts";
import { LocalConnector } from "../../broker/connector-local.ts";
import { Pace } from "../../broker/pace.ts";
import { getAttribute } from "../../sdk/attributes.ts";
import { connectLocal } from "../../sdk/local-connector.ts";
import type { MessageChannel } from "../../sdk/channel.ts";
import type { Handle } from "../../sdk/handle.ts";
import { nearForm } from "../framework/connect.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { ProxyRouter } from "../proxy/proxy-router.ts";
import { connectBySsh, remoteOf } from "../proxy/ssh.ts";
import { resolveTarget } from "../uri/resolve.ts";

const RECONNECT_MS = 2000;
const SHOW_CURSOR = "\u001b[?25h";

export const command: Command = defineCommand({
  name: "proxy",
  dialect: "getopt",
  usageProgram: "flux proxy",
  complaintProgram: "flux proxy",
  summary: "Create proxy environment for Flux instance",
  description: "Route messages to/from Flux instance",
  usage: "[OPTIONS] JOBID|URI [COMMAND...]",
  stopAtOperand: true,
  options: [
    { names: ["force"], short: "f", help: "Allow the proxy command to connect to a broker of another version" },
    { names: ["nohup"], short: "n", help: "Do not send SIGHUP to child processes when connection is lost" },
    { names: ["reconnect"], help: "If broker connection is lost, try to reconnect" },
  ],
  operands: [
    { name: "TARGET", arity: "1" },
    { name: "COMMAND", arity: "..." },
  ],
  run: proxy,
});

async function proxy(context: CommandContext): Promise<number> {
  const [target, ...words] = context.operands;
  if (target === undefined) return context.failUsage("URI argument is required");
  const named = await resolveTarget(context, target).catch((error: unknown) =>
    context.fail(`Unable to resolve ${target} to a URI: ${errorText(error)}`),
  );
  const uri = await nearForm(named);
  const ports = await context.ports();
  const link = new Uplink(context, ports, uri);
  const handle = await link.connect().catch((error: unknown) => context.fail(`${uri}: ${errorText(error)}`));
  await checkVersion(context, handle);
  const { disk, host } = ports;
  const parent = disk.info(host.temporaryDirectory) === null ? "/tmp" : host.temporaryDirectory;
  const directory = disk.makeTemporaryDirectory(`${parent}/flux-proxy-`);
  const connector = new LocalConnector({
    net: ports.net,
    clock: ports.clock,
    pace: new Pace(ports.clock),
    router: link.router,
    ownerUserid: host.uid,
    access: () => ({ allowGuestUser: false, allowRootOwner: false }),
    isOffline: () => false,
    log: () => {},
  });
  try {
    await connector.listen(`${directory}/local-0`);
    return await runChild(context, ports, link, `local://${directory}/local-0`, words);
  } finally {
    connector.destroy();
    disk.remove(directory);
  }
}

async function checkVersion(context: CommandContext, handle: Handle): Promise<void> {
  const version = await getAttribute(handle, "version");
  if (version === COMPATIBLE_VERSION) return;
  const text = `broker version ${version} differs from ${COMPATIBLE_VERSION}`;
  if (!context.options.has("force")) return context.fail(`${text}: use --force to connect nevertheless`);
  context.complain(`warning: ${text}`);
}

/** The connection to the instance, made anew when it breaks where that is wanted. */
class Uplink {
  readonly router: ProxyRouter;
  readonly uri: string;
  readonly #context: CommandContext;
  readonly #ports: Ports;
  /** Called when the connection is lost for good. */
  lost: () => void = () => {};

  constructor(context: CommandContext, ports: Ports, uri: string) {
    this.#context = context;
    this.#ports = ports;
    this.uri = uri;
    this.router = new ProxyRouter({ clock: ports.clock, newUuid: () => ports.random.uuid() });
  }

  async connect(): Promise<Handle> {
    return this.router.attachTo(await this.#open(), () => this.#broken());
  }

  #open(): Promise<MessageChannel> {
    if (remoteOf(this.uri) === null) return connectLocal(this.#ports, this.uri);
    const { fluxPath } = this.#ports.host;
    return connectBySsh(this.uri, fluxPath.slice(0, fluxPath.lastIndexOf("/")));
  }

  #broken(): void {
    if (!this.#context.options.has("reconnect")) return this.lost();
    this.#context.complain("broker: Connection reset by peer: reconnecting");
    this.#retry();
  }

  #retry(): void {
    this.#ports.clock.after(
      RECONNECT_MS,
      () =>
        void this.connect().then(
          () => this.#context.complain("reconnected"),
          (error: unknown) => {
            if (!(error instanceof FluxError)) throw error;
            this.#retry();
          },
        ),
      { background: true },
    );
  }
}

async function runChild(
  context: CommandContext,
  { exec, host }: Ports,
  link: Uplink,
  uri: string,
  words: readonly string[],
): Promise<number> {
  const shell = host.env["SHELL"] ?? "/bin/sh";
  const argv = words.length === 0 ? [shell] : words.length === 1 ? [shell, "-c", words[0]!] : words;
  const env: Record<string, string> = { ...host.env, FLUX_URI: uri };
  const remote = remoteOf(link.uri);
  if (remote !== null) env["FLUX_PROXY_REMOTE"] = remote;
  let isEnded = false;
  return new Promise((resolve) => {
    const child = exec.spawn(
      { argv, env, cwd: host.cwd, stdin: "inherit", stdout: "inherit", stderr: "inherit", newProcessGroup: false },
      {
        output: () => {},
        exit: (status) => {
          isEnded = true;
          resolve(exitCodeOfStatus(status));
        },
      },
    );
    // The terminal sends it to both; what it means is for the program to say.
    context.onSignal("SIGINT", () => {});
    link.lost = () => {
      if (isEnded) return;
      // A program that had hidden the cursor may not come to show it again.
      if (context.stdoutIsTerminal) context.out(SHOW_CURSOR);
      context.complain(`Lost connection to Flux${context.options.has("nohup") ? "" : ": Sending SIGHUP to child"}`);
      if (context.options.has("nohup")) return;
      child.kill(SIGNALS["SIGHUP"]!);
      child.kill(SIGNALS["SIGCONT"]!);
    };
  });
}
