/** `flux python`, `flux pythonX.Y`: a Python interpreter in the environment of Flux programs (flux-python(1)). */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { commandEnvironment } from "../../broker/environment.ts";
import { builtinValue, pythonPath } from "../framework/builtin-values.ts";
import { externalDirectories, findInPath, isProgram } from "../framework/external.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { runInEnvironment } from "./env.ts";

export const command: Command = defineCommand({
  name: "python",
  usageProgram: "flux python",
  program: "flux",
  dialect: "getopt",
  summary: "Run the python interpreter that flux was configured with",
  usage: "[--get-path] [--list-versions] [PYTHON ARGUMENTS...]",
  unparsed: true,
  operands: [{ name: "arguments", arity: "..." }],
  run: (context) => {
    const { host, operands } = context;
    const interpreter = host.env["FLUX_PYTHON"] ?? "python3";
    if (operands[0] === "--get-path") return context.out(`${builtinValue("python_path")}\n`);
    if (operands[0] === "--list-versions")
      return context.out(
        versions(interpreter)
          .map((name) => `${name}\n`)
          .join(""),
      );
    const env = commandEnvironment(host.env, host.fluxPath);
    env["PYTHONPATH"] = pythonPath(env);
    return runInEnvironment(context, [interpreter, ...operands], env);
  },
});

/** The words that can stand for `python`: the version of the interpreter, and programs `flux-pythonX.Y`. */
function versions(interpreter: string): string[] {
  const names = new Set<string>();
  const path = findInPath(interpreter);
  if (path !== null) {
    const program = "import sys; print('python%d.%d' % sys.version_info[:2])";
    names.add(execFileSync(path, ["-c", program], { encoding: "utf8" }).trim());
  }
  for (const directory of externalDirectories().filter((each) => existsSync(each)))
    for (const file of readdirSync(directory))
      if (/^flux-python\d+(\.\d+)*$/.test(file) && isProgram(join(directory, file))) names.add(file.slice(5));
  return [...names].sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
}
