/**
 * The programs that exist in a simulated world, by name. A program gets its process and acts through it: output, exit,
 * signals. `flux` is one of them (see `world.ts`): it boots brokers in the same world.
 */
import { utf8Encode } from "../base/bytes.ts";
import type { SimulatedProcess } from "./exec.ts";

export type Program = (process: SimulatedProcess) => void;

/** Programs that users know, doing what they do on a real machine. */
export const STANDARD_PROGRAMS: Readonly<Record<string, Program>> = {
  true: (process) => process.exit(0),
  false: (process) => process.exit(1),
  hostname: (process) => {
    process.output("stdout", utf8Encode(`${process.machine}\n`));
    process.exit(0);
  },
  echo: (process) => {
    process.output("stdout", utf8Encode(`${process.argv.slice(1).join(" ")}\n`));
    process.exit(0);
  },
  sleep: (process) => {
    process.after(Number(process.argv[1] ?? "0") * 1000, () => process.exit(0));
  },
  /** Copies its input to its output. */
  cat: (process) => {
    process.onInput((chunk) => (chunk === null ? process.exit(0) : process.output("stdout", chunk)));
  },
  /** exit CODE: ends with a code. */
  exit: (process) => process.exit(Number(process.argv[1] ?? "0")),
  /** spew LINES: writes as fast as it may. */
  spew: (process) => {
    const lines = Number(process.argv[1] ?? "100");
    for (let line = 0; line < lines; line++) process.output("stdout", utf8Encode(`line ${line}\n`));
    process.exit(0);
  },
  /** Ends only by SIGKILL. */
  stubborn: (process) => process.onSignal(() => {}),
  /** Dies of a signal it sends itself. */
  crash: (process) => process.exitBySignal(11),
};
