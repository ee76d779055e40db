/** `flux overlay`: the tree of brokers and its health (flux-overlay(1)). */
import { errorText, FluxError } from "../../base/errors.ts";
import { parseFsd, formatDuration } from "../../formats/duration.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { TRACE_OPTIONS, tracePrinter, typemaskOf, type TracedMessage } from "../output/message-trace.ts";
import { treeText, type TreeNode } from "../output/overlay-tree.ts";

interface ChildHealth {
  readonly rank: number;
  readonly status: string;
  readonly duration: number;
  readonly error?: string;
}
interface HealthAnswer extends ChildHealth {
  readonly children: readonly ChildHealth[];
}
interface Topology {
  readonly rank: number;
  readonly size: number;
  readonly children: readonly Topology[];
}

const TIMEOUT_SECONDS = 0.5;
const timeout: OptionSpec = {
  names: ["timeout"],
  short: "t",
  argument: "FSD",
  help: "Set RPC timeout, 0=disable (default 0.5s)",
};

async function hostsOf(handle: Handle): Promise<Hostlist> {
  const { value } = await handle.rpc<{ value: string }>("attr.get", { name: "hostlist" });
  return Hostlist.parse(value);
}

/** Reads a rank or a host as a rank. */
function rankOf(context: CommandContext, hosts: Hostlist, target: string): number {
  const rank = /^\d+$/.test(target) ? Number(target) : hosts.find(target);
  if (rank < 0 || rank >= hosts.count) return context.fail(`invalid target: '${target}'`);
  return rank;
}

/** Walks the tree, asking each broker that is there for the health of its children. */
class Walk {
  readonly #context: CommandContext;
  readonly #handle: Handle;
  readonly #hosts: Hostlist;
  readonly #timeoutSeconds: number;
  readonly #ghosts: boolean;

  constructor(context: CommandContext, handle: Handle, hosts: Hostlist, timeoutSeconds: number, ghosts: boolean) {
    this.#context = context;
    this.#handle = handle;
    this.#hosts = hosts;
    this.#timeoutSeconds = timeoutSeconds;
    this.#ghosts = ghosts;
  }

  /** `elsewhere`: ranks that a broker above has taken in when they lost their way. */
  async node(
    topology: Topology,
    known: ChildHealth | null,
    elsewhere: ReadonlySet<number> = new Set(),
  ): Promise<TreeNode> {
    const { rank } = topology;
    const host = this.#hosts.nth(rank) ?? "?";
    const isThere = known === null || (known.status !== "lost" && known.status !== "offline");
    if (!isThere) return this.#absent(topology, known.status, known.duration, known.error ?? null, elsewhere);
    const ports = await this.#context.ports();
    const sentMs = ports.clock.monotonicMs();
    let health: HealthAnswer;
    try {
      health = await this.#ask(rank);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      return this.#absent(topology, known?.status ?? "lost", known?.duration ?? 0, errorText(error), elsewhere);
    }
    const rpcMs = ports.clock.monotonicMs() - sentMs;
    const planned = topology.children.filter((child) => !elsewhere.has(child.rank));
    const isPlanned = new Set(topology.children.map((child) => child.rank));
    const taken = health.children.filter((child) => !isPlanned.has(child.rank));
    const away = new Set([...elsewhere, ...taken.map((child) => child.rank)]);
    const children = await Promise.all([
      ...planned.map((child) =>
        this.node(child, health.children.find((each) => each.rank === child.rank) ?? null, away),
      ),
      ...taken.map((child) =>
        this.node(subtreeOf(topology, child.rank) ?? { rank: child.rank, size: 1, children: [] }, child, away),
      ),
    ]);
    return { rank, host, status: health.status, duration: health.duration, rpcMs, error: null, children };
  }

  #absent(
    topology: Topology,
    status: string,
    duration: number,
    error: string | null,
    elsewhere: ReadonlySet<number>,
  ): TreeNode {
    const { rank } = topology;
    const children = this.#ghosts
      ? topology.children
          .filter((child) => !elsewhere.has(child.rank))
          .map((child) => this.#absent(child, status, duration, status === "lost" ? "lost parent" : null, elsewhere))
      : [];
    return { rank, host: this.#hosts.nth(rank) ?? "?", status, duration, rpcMs: null, error, children };
  }

  async #ask(rank: number): Promise<HealthAnswer> {
    const { clock } = await this.#context.ports();
    const abort = new AbortController();
    const timer =
      this.#timeoutSeconds > 0 ? clock.after(this.#timeoutSeconds * 1000, () => abort.abort()) : { cancel() {} };
    try {
      return await this.#handle.rpc<HealthAnswer>("overlay.health", {}, { nodeid: rank, signal: abort.signal });
    } catch (error) {
      if (abort.signal.aborted) throw new FluxError("ETIMEDOUT", undefined, { cause: error });
      throw error;
    } finally {
      timer.cancel();
    }
  }
}

function subtreeOf(topology: Topology, rank: number): Topology | null {
  if (topology.rank === rank) return topology;
  for (const child of topology.children) {
    const found = subtreeOf(child, rank);
    if (found !== null) return found;
  }
  return null;
}

async function walk(context: CommandContext, rank: number, ghosts: boolean): Promise<TreeNode> {
  const text = context.options.text("timeout");
  const handle = await context.open();
  const hosts = await hostsOf(handle);
  const topology = await handle
    .rpc<Topology>("overlay.topology", { rank }, { nodeid: rank })
    .catch((error: unknown) => context.fail(`overlay.topology: ${errorText(error)}`));
  return new Walk(context, handle, hosts, text === null ? TIMEOUT_SECONDS : parseFsd(text), ghosts).node(
    topology,
    null,
  );
}

const status: Command = {
  name: "status",
  dialect: "getopt",
  summary: "Display overlay subtree health status",
  usage: "[OPTIONS]",
  options: [
    { names: ["rank"], short: "r", argument: "NODEID", help: "Check health of subtree rooted at NODEID (default 0)" },
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      bareShort: true,
      repeatable: true,
      help: "Increase reporting detail: 1=show time since current state was entered, 2=show round-trip RPC times",
    },
    timeout,
    { names: ["summary"], help: "Show only the root subtree status" },
    { names: ["down"], help: "Show only the partial/degraded subtrees" },
    {
      names: ["no-pretty"],
      help: "Do not indent entries and use line drawing characters to show overlay tree structure",
    },
    {
      names: ["no-ghost"],
      help: "Do not fill in presumed state of nodes that are inaccessible behind offline/lost overlay parents",
    },
    { names: ["color"], short: "L", argument: "WHEN", optionalArgument: true, help: "Colorize output when supported" },
    {
      names: ["highlight"],
      short: "H",
      argument: "TARGET",
      repeatable: true,
      help: "Highlight one or more TARGETs and their ancestors",
    },
    {
      names: ["wait"],
      short: "w",
      argument: "STATE",
      help: "Wait until subtree enters STATE before reporting (full, partial, offline, degraded, lost)",
    },
  ],
  run: showStatus,
};

const POLL_MS = 50;

async function showStatus(context: CommandContext): Promise<void> {
  const { options } = context;
  const rank = Number(options.text("rank") ?? "0");
  if (!Number.isInteger(rank)) context.fail(`--rank: '${options.text("rank")}' is not a rank`);
  const wanted = options.text("wait");
  const { clock } = await context.ports();
  let root = await walk(context, rank, !options.has("no-ghost"));
  while (root.status !== (wanted ?? root.status)) {
    await new Promise<void>((resolve) => clock.after(POLL_MS, resolve));
    root = await walk(context, rank, !options.has("no-ghost"));
  }
  if (options.has("summary")) {
    const seconds = options.has("verbose") ? ` for ${formatDuration(root.duration)}` : "";
    return context.out(`${root.status}${seconds}\n`);
  }
  const verbosity = options
    .list("verbose")
    .reduce((sum, level) => sum + (/^v*$/.test(level) ? 1 + level.length : Number(level)), 0);
  context.out(treeText(root, { verbosity, isPretty: !options.has("no-pretty"), onlyDown: options.has("down") }));
}

const errors: Command = {
  name: "errors",
  dialect: "getopt",
  summary: "Summarize overlay errors",
  usage: "[OPTIONS]",
  options: [timeout],
  run: async (context) => {
    const byError = new Map<string, string[]>();
    const collect = (node: TreeNode): void => {
      if (node.error !== null) byError.set(node.error, [...(byError.get(node.error) ?? []), node.host]);
      for (const child of node.children) collect(child);
    };
    collect(await walk(context, 0, true));
    for (const [error, hosts] of byError) context.out(`${Hostlist.from(hosts).uniq().format()}: ${error}\n`);
  },
};

const lookup: Command = {
  name: "lookup",
  dialect: "getopt",
  summary: "translate rank idset to hostlist or the reverse",
  usage: "[OPTIONS] TARGET",
  operands: [{ name: "TARGET", arity: "1" }],
  run: async (context) => {
    const [target] = context.operands;
    if (target === undefined) return context.failUsage();
    const hosts = await hostsOf(await context.open());
    const ranks = Idset.tryParse(target);
    if (ranks !== null) {
      const names = [...ranks].map((rank) => hosts.nth(rank) ?? context.fail(`invalid target: '${target}'`));
      return context.out(`${Hostlist.from(names).format()}\n`);
    }
    const wanted = Hostlist.tryParse(target) ?? context.fail(`invalid target: '${target}'`);
    const found = [...wanted].map((host) => rankOf(context, hosts, host));
    context.out(`${Idset.from(found).format()}\n`);
  },
};

async function parentOf(handle: Handle, rank: number): Promise<number | null> {
  const find = (topology: Topology): number | null => {
    for (const child of topology.children) {
      if (child.rank === rank) return topology.rank;
      const parent = find(child);
      if (parent !== null) return parent;
    }
    return null;
  };
  return find(await handle.rpc<Topology>("overlay.topology", { rank: 0 }, { nodeid: 0 }));
}

const parentof: Command = {
  name: "parentof",
  dialect: "getopt",
  summary: "show the parent of RANK",
  usage: "[OPTIONS] RANK",
  operands: [{ name: "RANK", arity: "1" }],
  run: async (context) => {
    const [target] = context.operands;
    if (target === undefined) return context.failUsage();
    const handle = await context.open();
    const rank = rankOf(context, await hostsOf(handle), target);
    const parent = (await parentOf(handle, rank)) ?? context.fail(`rank ${rank} has no parent`);
    context.out(`${parent}\n`);
  },
};

const disconnect: Command = {
  name: "disconnect",
  dialect: "getopt",
  summary: "disconnect a subtree rooted at TARGET",
  usage: "[OPTIONS] TARGET",
  options: [
    {
      names: ["parent"],
      short: "r",
      argument: "NODEID",
      integer: true,
      help: "Set parent rank to NODEID (default: from topology)",
    },
  ],
  operands: [{ name: "TARGET", arity: "1" }],
  run: async (context) => {
    const [target] = context.operands;
    if (target === undefined) return context.failUsage();
    const handle = await context.open();
    const hosts = await hostsOf(handle);
    const rank = rankOf(context, hosts, target);
    const parent =
      context.options.integer("parent") ?? (await parentOf(handle, rank)) ?? context.fail(`rank ${rank} has no parent`);
    const name = (of: number): string => `${hosts.nth(of)} (rank ${of})`;
    context.complain(`asking ${name(parent)} to disconnect child ${name(rank)}`);
    await handle
      .rpc("overlay.disconnect-subtree", { rank }, { nodeid: parent })
      .catch((error: unknown) => context.fail(`overlay.disconnect-subtree: ${errorText(error)}`));
  },
};

const trace: Command = {
  name: "trace",
  dialect: "getopt",
  summary: "Trace overlay messages",
  usage: "[OPTIONS] [topic-glob]",
  options: [
    { names: ["rank"], short: "r", argument: "NODEID", integer: true, help: "Filter output by peer rank" },
    { names: ["full"], short: "f", help: "Show JSON message payload, if any" },
    ...TRACE_OPTIONS,
  ],
  operands: [{ name: "topic-glob", arity: "?" }],
  run: async (context) => {
    const { options, operands } = context;
    if (operands.length > 1) return context.failUsage();
    const typemask = typemaskOf(context);
    const print = tracePrinter(context, ({ rank, prefix }) => `${prefix} ${rank < 0 ? "*" : rank}`);
    const nodeid = options.integer("rank") ?? -1;
    const request = { typemask, topic_glob: operands[0] ?? "*", nodeid, full: options.has("full") };
    const handle = await context.open();
    for await (const message of handle.stream<TracedMessage>("overlay.trace", request)) print(message);
  },
};

export const command: Command = defineCommand({
  name: "overlay",
  dialect: "getopt",
  summary: "Manage overlay network",
  description: "Manage overlay network",
  usageProgram: "flux overlay",
  usage: [
    "trace [OPTIONS] [topic-glob]",
    "errors [OPTIONS]",
    "status [OPTIONS]",
    "lookup [OPTIONS] TARGET",
    "parentof [OPTIONS] RANK",
    "disconnect [OPTIONS] TARGET",
  ].join("\n   or: flux overlay "),
  subcommands: [errors, status, lookup, parentof, disconnect, trace],
});
