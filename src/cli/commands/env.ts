/** `flux env`: prints the environment of Flux programs, or runs one in it. */
import { errnoSentence, errorText, isFluxError } from "../../base/errors.ts";
import { commandEnvironment } from "../../broker/environment.ts";
import { exitCodeOfStatus, SIGNALS } from "../../base/signals.ts";
import { pythonPath, SHOWN_VARIABLES } from "../framework/builtin-values.ts";
import { becomeProgram, findInPath } from "../framework/external.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

const NAMES = [...SHOWN_VARIABLES, "FLUX_URI", "PYTHONPATH", "PATH"];

export const command: Command = defineCommand({
  name: "env",
  usageProgram: "flux env",
  program: "flux",
  dialect: "getopt",
  summary: "print the flux environment or execute a command inside it",
  usage: "[OPTIONS...] [COMMAND...]",
  description: "Print the flux environment or execute COMMAND inside it",
  stopAtOperand: true,
  operands: [{ name: "COMMAND", arity: "..." }],
  run: async (context) => {
    const { host } = context;
    const env = commandEnvironment(host.env, host.fluxPath);
    env["PYTHONPATH"] = pythonPath(env);
    if (context.operands.length > 0) return runInEnvironment(context, context.operands, env);
    for (const name of NAMES) if (env[name] !== undefined) context.out(`export ${name}="${env[name]}"\n`);
    return 0;
  },
});

/** Becomes, as nearly as possible, another program. Resolves with its exit code. */
export async function runInEnvironment(
  context: CommandContext,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<number> {
  const program = findInPath(argv[0]!, env["PATH"]);
  if (program !== null) becomeProgram(program, argv, env);
  const ports = await context.ports();
  return new Promise((resolve) => {
    try {
      const child = ports.exec.spawn(
        {
          argv,
          env,
          cwd: ports.host.cwd,
          stdin: "inherit",
          stdout: "inherit",
          stderr: "inherit",
          newProcessGroup: false,
        },
        { output: () => {}, exit: (status) => resolve(exitCodeOfStatus(status)) },
      );
      for (const name of ["SIGTERM", "SIGHUP"]) context.onSignal(name, () => child.kill(SIGNALS[name]!));
      // The terminal sends it to both.
      context.onSignal("SIGINT", () => {});
    } catch (error) {
      const text = isFluxError(error) ? errnoSentence(error.errnum) : errorText(error);
      context.complain(`execvp (${argv[0]}): ${text}`);
      resolve(1);
    }
  });
}
