/** `flux multi-prog`: a job whose tasks run different programs (flux-multi-prog(1)). */
import { readFileSync } from "node:fs";
import { utf8DecodeStrict } from "../../base/bytes.ts";
import { errnoSentence, FluxError } from "../../base/errors.ts";
import { Idset } from "../../formats/idset.ts";
import { systemError } from "../../host/errors.ts";
import { findInPath } from "../framework/external.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { MultiProgConfig, shellText } from "../submission/multi-prog.ts";

export const command: Command = defineCommand({
  name: "multi-prog",
  usageProgram: "flux multi-prog",
  complaintProgram: "flux-multi-prog",
  dialect: "argparse",
  summary: "run a different program for each task of a job",
  usage: "[OPTIONS] CONFIG",
  description: "Run a parallel program with a different executable and arguments for each task",
  options: [
    {
      names: ["dry-run"],
      short: "n",
      argument: "IDS",
      help: "Do not run anything. Instead, print what would be run for each rank in IDS",
    },
  ],
  operands: [{ name: "CONFIG", arity: "1", help: "multi-prog configuration file" }],
  epilogue:
    "Each line of CONFIG has a set of task ranks, or * for all that no other line has, and a command:\n" +
    "  0-1  solver --mesh %o\n" +
    "  *    helper %t\n" +
    "%t is replaced by the task's rank, %o by its place in the line's set. # begins a comment.\n",
  examples: ["flux run -n4 flux multi-prog myapp.conf", "flux multi-prog --dry-run=0-3 myapp.conf"],
  run,
});

function run(context: CommandContext): number {
  const { options, operands, host } = context;
  const path = operands[0]!;
  const ids = options.text("dry-run");
  const ranks = ids === null ? null : Idset.tryParse(ids);
  if (ids !== null && ranks === null) context.failUsage(`argument -n/--dry-run: invalid IDset value: '${ids}'`);
  const config = new MultiProgConfig(path, readText(path));
  if (ranks !== null) {
    for (const rank of ranks) context.out(`${rank}: ${shellText(config.wordsOf(rank))}\n`);
    return 0;
  }
  const rank = host.env["FLUX_TASK_RANK"] ?? "";
  if (!/^\d+$/.test(rank)) throw new FluxError("EINVAL", "FLUX_TASK_RANK not found or invalid");
  return become(config.wordsOf(Number(rank)), host.env);
}

function readText(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const { errnum } = systemError(path, error);
    throw new FluxError(errnum, `${errnoSentence(errnum)}: '${path}'`, { cause: error });
  }
  return utf8DecodeStrict(bytes) ?? fail(`${path}: not a text in UTF-8`);
}

function fail(text: string): never {
  throw new FluxError("EINVAL", text);
}

/** The process goes on as another program: its task stays one process. */
function become(words: readonly string[], env: Readonly<Record<string, string>>): never {
  const program = findInPath(words[0]!, env["PATH"]);
  if (program === null) throw new FluxError("ENOENT", `${words[0]!}: No such file or directory`);
  return process.execve!(program, [...words], { ...env });
}
