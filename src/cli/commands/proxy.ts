/**
 * `flux proxy`: a shell or program that talks to another instance (flux-proxy(1)), through a socket of its own whose
 * connections are passed on byte by byte. Instances on this machine only.
 */
import { connect as connectSocket, createServer, type Server } from "node:net";
import { errorText } from "../../base/errors.ts";
import { exitCodeOfStatus, SIGNALS } from "../../base/signals.ts";
import { COMPATIBLE_VERSION } from "../../broker/boot.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { resolveTarget } from "../target.ts";

export const command: Command = defineCommand({
  name: "proxy",
  dialect: "getopt",
  summary: "Create proxy environment for Flux instance",
  usage: "[OPTIONS] JOBID or URI [COMMAND...]",
  stopAtOperand: true,
  options: [
    { names: ["force"], short: "f", help: "Allow the proxy command to connect to a broker of another version" },
    { names: ["nohup"], short: "n", help: "Do not send SIGHUP to child processes when connection is lost" },
  ],
  operands: [
    { name: "TARGET", arity: "1" },
    { name: "COMMAND", arity: "..." },
  ],
  run: proxy,
});

async function proxy(context: CommandContext): Promise<number> {
  const [target, ...words] = context.operands;
  if (target === undefined) return context.failUsage();
  const uri = await resolveTarget(context, target).catch((error: unknown) =>
    context.fail(`Unable to resolve ${target} to a URI: ${errorText(error)}`),
  );
  if (!uri.startsWith("local://"))
    return context.fail(`${uri} is on another machine: log in there, or use ${target}?local if it is this one`);
  const handle = await context.open(uri);
  const { value: version } = await handle.rpc<{ value: string }>("attr.get", { name: "version" });
  if (version !== COMPATIBLE_VERSION) {
    const text = `broker version ${version} differs from ${COMPATIBLE_VERSION}`;
    if (!context.options.has("force")) return context.fail(`${text}: use --force to connect nevertheless`);
    context.complain(`warning: ${text}`);
  }
  const { disk, host } = await context.ports();
  const parent = disk.info(host.temporaryDirectory) === null ? "/tmp" : host.temporaryDirectory;
  const directory = disk.makeTemporaryDirectory(`${parent}/flux-proxy-`);
  const server = await relay(`${directory}/local-0`, uri.slice("local://".length));
  try {
    return await runChild(context, `local://${directory}/local-0`, words, (lost) => handle.onClose(lost));
  } finally {
    server.close();
    disk.remove(directory);
  }
}

function relay(path: string, target: string): Promise<Server> {
  const server = createServer((client) => {
    const upstream = connectSocket(target);
    client.pipe(upstream).pipe(client);
    // Either end's failure is the end of both; its owner sees the closed connection.
    client.on("error", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
  });
  return new Promise((resolve, reject) => server.once("error", reject).listen(path, () => resolve(server)));
}

async function runChild(
  context: CommandContext,
  uri: string,
  words: readonly string[],
  whenLost: (callback: () => void) => void,
): Promise<number> {
  const { exec, host } = await context.ports();
  const shell = host.env["SHELL"] ?? "/bin/sh";
  const argv = words.length === 0 ? [shell] : words.length === 1 ? [shell, "-c", words[0]!] : words;
  const env = { ...host.env, FLUX_URI: uri };
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
    whenLost(() => {
      if (isEnded) return;
      context.complain(`Lost connection to Flux${context.options.has("nohup") ? "" : ": Sending SIGHUP to child"}`);
      if (context.options.has("nohup")) return;
      child.kill(SIGNALS["SIGHUP"]!);
      child.kill(SIGNALS["SIGCONT"]!);
    });
  });
}
