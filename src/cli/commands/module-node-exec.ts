/**
 * `flux module-node-exec PATH`: runs a broker module that is written in JavaScript or TypeScript (flux-module(1)). Started by
 * the broker, with the channel to it in FLUX_MODULE_URI. The file's default export is a service: an object with `start`
 * (`ModuleDefinition` of the package `flux-ts`, which the file may import from wherever it is).
 */
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";
import { errorText, FluxError } from "../../base/errors.ts";
import { runModule } from "../../broker/module-client.ts";
import { resourceUsage } from "../../host/resource-usage.ts";
import { channelOver } from "../../sdk/local-connector.ts";
import type { ModuleDefinition } from "../../sdk/module.ts";
import { defineCommand, type Command } from "../framework/command.ts";

const URI = /^fd:\/\/(\d+)$/;

export const command: Command = defineCommand({
  name: "module-node-exec",
  dialect: "getopt",
  summary: "Run a broker module in JavaScript or TypeScript (started by the broker)",
  usage: "PATH",
  hidden: true,
  operands: [{ name: "PATH", arity: "1" }],
  async run(context) {
    const [path] = context.operands;
    if (path === undefined) return context.failUsage();
    const { FLUX_MODULE_URI: uri = "" } = context.host.env;
    const descriptor = URI.exec(uri)?.[1];
    if (descriptor === undefined) return context.fail("FLUX_MODULE_URI is not set: use flux module load");
    delete process.env["FLUX_MODULE_URI"];
    const ports = await context.ports();
    return runModule({
      channel: await channelOver(ports.net.openDescriptor(Number(descriptor))),
      find: () => moduleIn(path),
      ports,
      rusage: resourceUsage,
      complain: (text) => context.complain(`${path}: ${text}`),
    });
  },
});

/** What a file has to offer. Rejects with FluxError where that is no service. */
async function moduleIn(path: string): Promise<Pick<ModuleDefinition, "start">> {
  const sdk = new URL("../../host/sdk.js", import.meta.url).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "flux-ts" ? { url: sdk, shortCircuit: true } : next(specifier, context),
  });
  let offered: unknown;
  try {
    offered = ((await import(pathToFileURL(path).href)) as { default?: unknown }).default;
  } catch (error) {
    // The place in the file is what its author wants to know.
    const place = error instanceof Error ? (error.stack?.split("\n")[0] ?? "") : "";
    const where = place.startsWith("file:") ? ` (${place})` : "";
    throw new FluxError("EINVAL", `${errorText(error)}${where}`, { cause: error });
  }
  if (typeof offered !== "object" || offered === null || typeof (offered as { start?: unknown }).start !== "function")
    throw new FluxError("EINVAL", "the default export is no module: an object with a function 'start' is wanted");
  return offered as Pick<ModuleDefinition, "start">;
}
