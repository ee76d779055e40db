/**
 * The trace port on Node: prints the events of the components that FLUX_DEBUG names to standard error.
 *
 * FLUX_DEBUG is a comma separated list of component names; `*` or `all` stands for every one. Unset, an event costs
 * one look at a Set. Marks matter to simulations and print only where the component `mark` is asked for.
 */
import { stringifyJson } from "../base/json.ts";
import type { Trace, TraceFields } from "../base/ports.ts";

export interface TraceOptions {
  /** Value of FLUX_DEBUG. */
  readonly debug?: string | undefined;
  /** Takes a finished line, with its newline. Default: standard error. */
  readonly print?: (line: string) => void;
}

const SILENT: Trace = {
  event(): void {},
  mark(): void {},
};

function printable(value: unknown): string {
  if (typeof value === "string") return /^[\w.:/@+-]+$/.test(value) ? value : JSON.stringify(value);
  if (value instanceof Error) return JSON.stringify(value.message);
  if (value instanceof Uint8Array) return `<${value.byteLength} bytes>`;
  return stringifyJson(value) ?? String(value);
}

export function nodeTrace(options: TraceOptions = {}): Trace {
  const components = new Set((options.debug ?? "").split(",").filter((name) => name !== ""));
  if (components.size === 0) return SILENT;
  const everything = components.has("*") || components.has("all");
  const print = options.print ?? ((line: string): void => void process.stderr.write(line));
  const wanted = (component: string): boolean => everything || components.has(component);
  const emit = (component: string, text: string): void => {
    print(`flux[${process.pid}] ${(performance.now() / 1000).toFixed(6)} ${component}: ${text}\n`);
  };
  return {
    event(component: string, name: string, fields?: TraceFields): void {
      if (!wanted(component)) return;
      let text = name;
      for (const [key, value] of Object.entries(fields ?? {})) text += ` ${key}=${printable(value)}`;
      emit(component, text);
    },
    mark(name: string): void {
      if (wanted("mark")) emit("mark", name);
    },
  };
}
