/** `flux alloc`: get resources and an instance on them, and stay attached to it. */
import { FluxError } from "../../base/errors.ts";
import type { Integer } from "../../base/json.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { ATTACH_DEFAULTS, attachJob } from "../jobs/attach.ts";
import { jobIdText, watchEventlog } from "../jobs/client.ts";
import { JobOutcome } from "../jobs/outcome.ts";
import { allocJobspec } from "../submission/instance.ts";
import { ALLOC_OPTIONS } from "../submission/options.ts";
import { submitSingle } from "../submission/single.ts";
import { submissionSource } from "../submission/source.ts";

export const command: Command = defineCommand({
  name: "alloc",
  usageProgram: "flux alloc",
  dialect: "argparse",
  summary: "allocate a new Flux instance for interactive use",
  usage: "[OPTIONS...] [COMMAND] [ARGS...]",
  description:
    "Allocate resources and start a new Flux instance. Once the instance has started, attach to it interactively.",
  options: ALLOC_OPTIONS,
  operands: [
    {
      name: "COMMAND",
      arity: "...",
      help: "Set the initial COMMAND of new Flux instance.(default is an interactive shell)",
    },
  ],
  stopAtOperand: true,
  keepSeparator: true,
  examples: ["flux alloc -N2", "flux alloc -n4 flux run -n4 hostname", "flux alloc -N1 --bg"],
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  const background = options.has("bg");
  const terminal = context.stdinIsTerminal && context.stdoutIsTerminal;
  const jobspec = allocJobspec(options, operands, submissionSource(context), terminal && !background);
  const submitted = await submitSingle(context, options, jobspec);
  if (submitted === null) return 0;
  const { handle, id } = submitted;
  if (options.has("verbose")) context.err(`jobid: ${jobIdText(id)}\n`);
  if (background) return waitUntilReady(context, handle, id);
  return attachJob(context, handle, id, {
    ...ATTACH_DEFAULTS,
    quiet: options.has("quiet"),
    showEvents: options.count("verbose") > 1,
    showStatus: terminal,
  });
}

/** Waits until the new instance takes jobs, then prints its id. */
async function waitUntilReady(context: CommandContext, handle: Handle, id: Integer): Promise<number> {
  const uri = await instanceUri(handle, id);
  const child = await context.open(localUri(uri));
  await child.rpc("state-machine.wait");
  context.out(`${jobIdText(id)}\n`);
  return 0;
}

/** The URI that the instance announces in its job's memo. */
function instanceUri(handle: Handle, id: Integer): Promise<string> {
  const outcome = new JobOutcome();
  return new Promise((resolve, reject) => {
    const stream = watchEventlog(handle, id, "eventlog", {
      event: (event) => {
        outcome.apply(event);
        const uri = event.name === "memo" ? event.context?.["uri"] : undefined;
        if (typeof uri !== "string") return;
        stream.cancel();
        resolve(uri);
      },
      end: (error) => {
        const why = outcome.exception?.note ?? outcome.taskText();
        reject(error ?? new FluxError("EIO", `instance was not started${why === "" ? "" : `: ${why}`}`));
      },
    });
  });
}

/** The socket path inside an `ssh://HOST/PATH` URI: the instance is on this machine, or cannot be reached anyway. */
function localUri(uri: string): string {
  const match = /^ssh:\/\/[^/]*(\/.*)$/.exec(uri);
  return match === null ? uri : `local://${match[1]!}`;
}
