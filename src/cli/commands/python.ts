/** `flux python`: the Python interpreter in the environment of Flux programs. */
import { programEnvironment } from "../../broker/environment.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { runInEnvironment } from "./env.ts";

export const command: Command = defineCommand({
  name: "python",
  usageProgram: "flux python",
  program: "flux",
  dialect: "getopt",
  summary: "Run the python interpreter that flux was configured with",
  usage: "[PYTHON ARGUMENTS...]",
  unparsed: true,
  operands: [{ name: "arguments", arity: "..." }],
  run: (context) => {
    const { host } = context;
    const uri = host.env["FLUX_URI"];
    const env = programEnvironment(host.env, uri ?? "", host.fluxPath);
    if (uri === undefined) delete env["FLUX_URI"];
    return runInEnvironment(context, [host.env["FLUX_PYTHON"] ?? "python3", ...context.operands], env);
  },
});
