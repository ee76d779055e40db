/** `flux pmi`: a PMI client (RFC 13) to try out what a launcher offers to parallel programs (flux-pmi(1)). */
import { base64Decode, base64EncodeText, utf8Decode } from "../../base/bytes.ts";
import { pmiEnvironment } from "../../broker/boot-pmi.ts";
import { errorText, FluxError } from "../../base/errors.ts";
import type { Ports } from "../../base/ports.ts";
import { tryParseFsd } from "../../formats/duration.ts";
import { Idset } from "../../formats/idset.ts";
import { PmiClient } from "../../protocol/pmi-client.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";

/** What of a launcher is tried, whatever the method. */
interface Session {
  readonly method: string;
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  /** What the launcher says of a key that it does not have. */
  readonly missing: string;
  barrier(): Promise<void>;
  put(key: string, value: string): Promise<void>;
  get(key: string): Promise<string | null>;
  finalize(): Promise<void>;
  /** Resolves when the launcher has been told. */
  abort(message: string): Promise<void>;
}

export const command: Command = defineCommand({
  name: "pmi",
  dialect: "getopt",
  summary: "try out the process management interface of a launcher",
  usage: "[OPTIONS] barrier|exchange|get [KEY...]",
  description: "Simple PMI test client",
  options: [
    { names: ["method"], argument: "URI", help: "Specify PMI method to use" },
    { names: ["libpmi-noflux"], help: "Fail if libpmi method finds the Flux libpmi.so" },
    { names: ["libpmi2-cray"], help: "Force-enable libpmi2 cray workarounds for testing" },
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      bareShort: true,
      help: "Trace PMI operations",
    },
    { names: ["timeout"], short: "t", argument: "FSD", help: "Time out after the specified time" },
    { names: ["test-timing"], group: "barrier", help: "Print the time that the barrier takes" },
    { names: ["test-count"], argument: "N", integer: true, group: "barrier", help: "Execute N barriers" },
    { names: ["test-abort"], argument: "RANK", integer: true, group: "barrier", help: "RANK aborts instead" },
    { names: ["count"], argument: "N", integer: true, group: "exchange", help: "Execute N exchanges" },
    { names: ["ranks"], argument: "IDSET", group: "get", help: "Print the value on these ranks, or all (default 0)" },
  ],
  operands: [
    { name: "command", arity: "1" },
    { name: "key", arity: "*" },
  ],
  run: async (context) => {
    const [word, ...keys] = context.operands;
    if (word === undefined) return context.failUsage("missing subcommand");
    const action = ACTIONS[word];
    if (action === undefined) return context.failUsage(`Unknown subcommand: ${word}`);
    const ranks = printingRanks(context);
    const stopTimer = startTimeout(context);
    try {
      const session = traced(context, await connect(context));
      await action(context, session, keys, ranks);
      await session.finalize();
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      context.fail(errorText(error));
    } finally {
      stopTimer();
    }
    return 0;
  },
});

type Action = (
  context: CommandContext,
  session: Session,
  keys: readonly string[],
  ranks: Idset | null,
) => Promise<void>;

const ACTIONS: Readonly<Record<string, Action>> = {
  barrier: async (context, session) => {
    const { options } = context;
    const isTimed = options.has("test-timing");
    if (options.integer("test-abort") === session.rank) {
      const message = `flux-pmi: rank ${session.rank} is aborting`;
      await session.abort(message);
      throw new FluxError("ECANCELED", `rank ${session.rank} is aborting`);
    }
    for (let left = options.integer("test-count") ?? 1; left > 0; left--) {
      if (isTimed) await session.barrier();
      const began = performance.now();
      await session.barrier();
      report(context, session, "barrier", isTimed ? began : null);
    }
  },
  exchange: async (context, session) => {
    await session.barrier();
    for (let left = context.options.integer("count") ?? 1; left > 0; left--) await exchange(context, session);
  },
  get: async (context, session, keys, ranks) => {
    for (const key of keys) {
      const value = await session.get(key);
      if (value === null) throw new FluxError("ENOENT", `get ${key}: ${session.missing}`);
      if (ranks === null || ranks.has(session.rank)) context.out(`${value}\n`);
    }
  },
};

async function exchange(context: CommandContext, session: Session): Promise<void> {
  const valueOf = (rank: number): string => `${session.name}-${rank}-${session.size}`;
  const began = performance.now();
  await session.put(`key.${session.rank}`, valueOf(session.rank));
  await session.barrier();
  for (let rank = 0; rank < session.size; rank++) {
    const value = await session.get(`key.${rank}`);
    if (value !== valueOf(rank)) throw new FluxError("EPROTO", `get key.${rank}: unexpected value '${String(value)}'`);
  }
  await session.barrier();
  report(context, session, "exchange", began);
}

function report(context: CommandContext, { name, size, rank }: Session, what: string, began: number | null): void {
  if (rank !== 0) return;
  const time = began === null ? "" : ` in ${((performance.now() - began) / 1000).toFixed(3)}s.`;
  context.out(`${name === "single" ? "0" : name}: completed pmi ${what} on ${size} tasks${time}\n`);
}

/** Null = all. */
function printingRanks(context: CommandContext): Idset | null {
  const text = context.options.text("ranks") ?? "0";
  if (text === "all") return null;
  try {
    return Idset.parse(text);
  } catch {
    return context.fail("could not parse --ranks option");
  }
}

function startTimeout(context: CommandContext): () => void {
  const text = context.options.text("timeout");
  if (text === null) return () => {};
  const seconds = tryParseFsd(text);
  if (seconds === null) return context.fail("could not parse --timeout option");
  if (seconds === Infinity) return () => {};
  const timer = setTimeout(() => {
    context.complain(`operation timed out after ${text}`);
    process.exit(1);
  }, seconds * 1000);
  return () => clearTimeout(timer);
}

/** Throws FluxError where the method is unknown or the launcher does not offer it. */
async function connect(context: CommandContext): Promise<Session> {
  const ports = await context.ports();
  const method = context.options.text("method");
  const [scheme] = (method ?? "").split(":", 1);
  const place = pmiEnvironment(ports.host.env);
  if (method === null) return place === null ? single() : simple(ports);
  switch (scheme) {
    case "simple":
      return simple(ports);
    case "single":
      return single();
    case "libpmi":
    case "libpmi2":
      return library(context, scheme, method.slice(scheme.length + 1) || `${scheme}.so`);
    default:
      throw new FluxError("ENOENT", `plugin matching '${method}' not found`);
  }
}

/** A library with the interface of PMI-1 or PMI-2. Of Cray's it is known that values must be base64 and keys of Flux are not asked for. */
async function library(context: CommandContext, method: "libpmi" | "libpmi2", path: string): Promise<Session> {
  const { openPmiLibrary } = await import("../../host/pmi-library.ts");
  const isCray = method === "libpmi2" && context.options.has("libpmi2-cray");
  const opened = openPmiLibrary(path, method === "libpmi" ? 1 : 2, (isFlux) => {
    if (isFlux && context.options.has("libpmi-noflux"))
      throw new FluxError("EINVAL", `${method}: ${path} is that of Flux itself`);
  });
  return {
    method,
    rank: opened.rank,
    size: opened.size,
    name: opened.kvsname,
    missing: "invalid key argument",
    barrier: async () => opened.barrier(),
    put: async (key, value) => opened.put(key, isCray ? base64EncodeText(value) : value),
    get: async (key) => {
      if (isCray && key.startsWith("flux.")) return null;
      const value = opened.get(key);
      if (!isCray || value === null || key === "PMI_process_mapping") return value;
      const bytes = base64Decode(value);
      if (bytes === null) throw new FluxError("EPROTO", `get ${key}: the value is not base64`);
      return utf8Decode(bytes);
    },
    finalize: async () => opened.finalize(),
    abort: async (message) => opened.abort(message),
  };
}

function single(): Session {
  const values = new Map<string, string>();
  return {
    method: "single",
    rank: 0,
    size: 1,
    name: "single",
    missing: "key not found",
    barrier: () => Promise.resolve(),
    put: (key, value) => Promise.resolve(void values.set(key, value)),
    get: (key) => Promise.resolve(values.get(key) ?? null),
    finalize: () => Promise.resolve(),
    abort: () => Promise.resolve(),
  };
}

async function simple(ports: Ports): Promise<Session> {
  const place = pmiEnvironment(ports.host.env);
  if (place === null) throw new FluxError("ENOENT", "PMI_FD not found in environ");
  const stream = ports.net.openDescriptor(place.descriptor);
  const client = new PmiClient({ send: (bytes) => void stream.write(bytes) });
  const closed = Promise.withResolvers<void>();
  const close = (): void => {
    client.lost();
    closed.resolve();
  };
  stream.start({ data: (chunk) => client.feed(chunk), close });
  await client.initialize();
  return {
    method: "simple",
    rank: place.rank,
    size: place.size,
    name: client.kvsname,
    missing: "invalid key argument",
    barrier: () => client.barrier(),
    put: (key, value) => client.put(key, value),
    get: (key) => client.get(key),
    finalize: async () => {
      await client.finalize();
      stream.end();
    },
    abort: (message) => {
      client.abort(1, message);
      stream.end();
      return closed.promise;
    },
  };
}

/** Tells each operation on standard error, with the option `verbose`. */
function traced(context: CommandContext, session: Session): Session {
  if (!context.options.has("verbose")) return session;
  const { method, rank, size, name } = session;
  const tell = (text: string): void => context.err(`${method}: ${text}\n`);
  tell(`initialize: rank=${rank} size=${size} name=${name}: success`);
  const done = async <T>(what: string, operation: Promise<T>): Promise<T> => {
    const result = await operation;
    tell(`${what}: success`);
    return result;
  };
  return {
    ...session,
    barrier: () => done("barrier", session.barrier()),
    put: (key, value) => done(`put key=${key} value=${value}`, session.put(key, value)),
    get: async (key) => {
      const value = await session.get(key);
      tell(`get key=${key}${value === null ? `: ${session.missing}` : ` value=${value}: success`}`);
      return value;
    },
    finalize: () => done("finalize", session.finalize()),
  };
}
