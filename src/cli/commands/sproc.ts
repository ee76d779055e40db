/** `flux sproc`: the processes of the brokers' subprocess servers (flux-sproc(1), RFC 42). */
import { errorText, isFluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import { exitCodeOfStatus } from "../../base/signals.ts";
import type { RequestOptions } from "../../sdk/handle.ts";
import { decodeStreamData } from "../../formats/stream-data.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { OutputFormat, sortRows, splitSort, type Row } from "../output/format-string.ts";

const FORMAT_DEFAULT = "{pid:>9} {state:<2} {label:<12} {cmd}";
const HEADINGS: Readonly<Record<string, string>> = {
  pid: "PID",
  state: "ST",
  label: "LABEL",
  rank: "RANK",
  cmd: "COMMAND",
};
/** Stands for the pid where a label names the process. */
const PID_NONE = -1;
const PID_MAX = 2 ** 31 - 1;

const rankOption: OptionSpec = {
  names: ["rank"],
  short: "r",
  argument: "RANK",
  integer: true,
  help: "Send RPC to specified broker rank",
};
const serviceOption: OptionSpec = {
  names: ["service"],
  short: "s",
  argument: "SERVICE",
  help: "Send RPC to specified service (default rexec)",
};

interface Listed {
  readonly rank: number;
  readonly procs: readonly { pid: number; cmd: string; label: string; state: string }[];
}

function addressOf(context: CommandContext): { service: string; where: RequestOptions } {
  const nodeid = context.options.integer("rank");
  return { service: context.options.text("service") ?? "rexec", where: nodeid === null ? {} : { nodeid } };
}

/** How requests name a process: by pid, or by a label. What is no pid is a label. */
export function processName(word: string): { pid: number; label?: string } {
  const isPid = /^\d+$/.test(word) && Number(word) <= PID_MAX;
  return isPid ? { pid: Number(word) } : { pid: PID_NONE, label: word };
}

const ps: Command = {
  name: "ps",
  dialect: "argparse",
  summary: "list subprocesses",
  options: [
    rankOption,
    serviceOption,
    {
      names: ["format"],
      short: "o",
      argument: "FORMAT",
      help: "Specify output format using Python's string format syntax",
    },
    { names: ["no-header"], short: "n", help: "Suppress header output" },
  ],
  run: async (context) => {
    const { service, where } = addressOf(context);
    const { keys, format } = splitSort(context.options.text("format") ?? FORMAT_DEFAULT);
    const output = new OutputFormat(format, (field) => (Object.hasOwn(HEADINGS, field) ? HEADINGS[field]! : null));
    const handle = await context.open();
    const { rank, procs } = await handle
      .rpc<Listed>(`${service}.list`, {}, where)
      .catch((error: unknown) => context.fail(complaint("ps", error)));
    const rows = procs.map(({ pid, cmd, label, state }): Row => {
      const fields: Readonly<Record<string, string | number>> = { pid, state, label: label || "-", rank, cmd };
      return (field) => fields[field];
    });
    const { header, lines } = output.table(sortRows(rows, keys, (name) => Object.hasOwn(HEADINGS, name)));
    if (!context.options.has("no-header")) context.out(`${header}\n`);
    for (const line of lines) if (line !== null) context.out(`${line}\n`);
  },
};

/** `doing: [Errno 3] No such process`. */
function complaint(doing: string, error: unknown): string {
  return `${doing}: ${isFluxError(error) ? `[Errno ${error.errnum}] ${error.message}` : errorText(error)}`;
}

async function waitFor(context: CommandContext, word: string, doing: string): Promise<number> {
  const { service, where } = addressOf(context);
  const handle = await context.open();
  const answer = await handle
    .rpc<{ status: number; output?: JsonObject[] }>(`${service}.wait`, processName(word), where)
    .catch((error: unknown) => context.fail(complaint(doing, error)));
  if (context.options.has("output"))
    for (const io of answer.output ?? []) {
      const data = decodeStreamData(io);
      if (data !== null) (io["stream"] === "stderr" ? context.err : context.out).call(context, data);
    }
  return exitCodeOfStatus(answer.status);
}

const kill: Command = {
  name: "kill",
  dialect: "argparse",
  summary: "send a signal to a subprocess",
  options: [rankOption, serviceOption, { names: ["wait"], short: "w", help: "wait for process after sending signal" }],
  operands: [
    { name: "signum", arity: "1", help: "Signal number" },
    { name: "pid", arity: "1", help: "Process id or label" },
  ],
  run: async (context) => {
    const [signum, word] = context.operands;
    if (!/^[+-]?\d+$/.test(signum!)) context.fail(`invalid literal for int() with base 10: '${signum}'`);
    const { service, where } = addressOf(context);
    const handle = await context.open();
    // The wait must be registered before the process ends.
    const ended = context.options.has("wait") ? waitFor(context, word!, "kill: wait failed") : null;
    ended?.catch(() => undefined);
    const request = { ...processName(word!), signum: Number(signum) };
    try {
      await handle.rpc(`${service}.kill`, request, where);
    } catch (error) {
      if (ended === null) return context.fail(complaint("kill", error));
      context.complain(complaint("kill", error));
    }
    return ended ?? 0;
  },
};

const wait: Command = {
  name: "wait",
  dialect: "argparse",
  summary: "wait for a waitable subprocess to end",
  options: [
    rankOption,
    serviceOption,
    { names: ["output"], short: "o", help: "write any output retained by the server to stdout/stderr" },
  ],
  operands: [{ name: "pid", arity: "1", help: "Process id or label" }],
  run: (context) => waitFor(context, context.operands[0]!, "wait"),
};

export const command: Command = defineCommand({
  name: "sproc",
  dialect: "argparse",
  summary: "manage subprocesses of brokers",
  subcommands: [kill, wait, ps],
});
