/** `flux overlay`: the tree of brokers and its health (flux-overlay(1)). */
import { errorText } from "../../base/errors.ts";
import { formatDuration, tryParseFsd } from "../../formats/duration.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { instanceHosts } from "../../sdk/attributes.ts";
import type { Handle } from "../../sdk/handle.ts";
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";
import { TRACE_OPTIONS, tracePrinter, typemaskOf, type TracedMessage } from "../output/message-trace.ts";
import { wantsColor } from "../output/color.ts";
import { treeText, type TreeNode } from "../output/overlay-tree.ts";
import { Walk, type Topology } from "../overlay/walk.ts";

const TIMEOUT_SECONDS = 0.5;
const timeout: OptionSpec = {
  names: ["timeout"],
  short: "t",
  argument: "FSD",
  help: "Set RPC timeout, 0=disable (default 0.5s)",
};

/** The ranks that a text names: an idset of ranks, or a hostlist. */
function ranksOf(context: CommandContext, hosts: Hostlist, target: string, head = ""): Idset {
  const ranks = Idset.tryParse(target);
  if (ranks !== null) {
    const stray = [...ranks].find((rank) => rank >= hosts.count);
    return stray === undefined ? ranks : context.fail(`${head}rank ${stray} is not in host map`);
  }
  const wanted = Hostlist.tryParse(target) ?? context.fail(`${head}TARGET must be a valid Idset or Hostlist`);
  const found = [...wanted].map((host) => {
    const rank = hosts.find(host);
    return rank < 0 ? context.fail(`${head}host ${host} not found in host map`) : rank;
  });
  return Idset.from(found);
}

/** Reads a rank or a host as a rank. */
function rankOf(context: CommandContext, hosts: Hostlist, target: string, what: string): number {
  const rank = /^\d+$/.test(target) ? Number(target) : hosts.find(target);
  if (rank < 0) return context.fail(`${what} must be a valid rank or hostname`);
  return rank < hosts.count ? rank : context.fail(`${rank} is not a valid rank in this instance`);
}

interface Asker {
  readonly handle: Handle;
  readonly hosts: Hostlist;
  readonly topology: Topology;
  readonly walk: Walk;
  readonly timeoutSeconds: number;
}

interface AskerOptions {
  readonly rank: number;
  readonly ghosts: boolean;
  readonly asksLeaves: boolean;
}

async function prepareWalk(context: CommandContext, { rank, ghosts, asksLeaves }: AskerOptions): Promise<Asker> {
  const text = context.options.text("timeout");
  const timeoutSeconds =
    text === null
      ? TIMEOUT_SECONDS
      : (tryParseFsd(text) ?? context.fail(`Invalid argument for option 'timeout': '${text}'`));
  const handle = await context.open();
  const hosts = await instanceHosts(handle);
  const topology = await handle
    .rpc<Topology>("overlay.topology", { rank }, { nodeid: rank })
    .catch((error: unknown) => context.fail(errorText(error)));
  const { clock } = await context.ports();
  const walk = new Walk({ handle, clock, hosts, timeoutSeconds, ghosts, asksLeaves });
  return { handle, hosts, topology, walk, timeoutSeconds };
}

const status: Command = {
  name: "status",
  dialect: "getopt",
  summary: "Display overlay subtree health status",
  description: "Display overlay subtree health status",
  usage: "[OPTIONS]",
  options: [
    {
      names: ["rank"],
      short: "r",
      argument: "NODEID",
      integer: true,
      help: "Check health of subtree rooted at NODEID (default 0)",
    },
    {
      names: ["verbose"],
      short: "v",
      argument: "LEVEL",
      optionalArgument: true,
      bareShort: true,
      repeatable: true,
      help: "Increase reporting detail: 1=show time since current state was entered, 2=show round-trip RPC times.",
    },
    timeout,
    { names: ["summary"], help: "Show only the root subtree status." },
    { names: ["down"], help: "Show only the partial/degraded subtrees." },
    {
      names: ["no-pretty"],
      help: "Do not indent entries and use line drawing characters to show overlay tree structure",
    },
    {
      names: ["no-ghost"],
      help: "Do not fill in presumed state of nodes that are inaccessible behind offline/lost overlay parents",
    },
    {
      names: ["color"],
      short: "L",
      argument: "WHEN",
      optionalArgument: true,
      help: "Colorize output when supported; WHEN can be 'always' (default if omitted), 'never', or 'auto' (default).",
    },
    {
      names: ["highlight"],
      short: "H",
      argument: "TARGET",
      repeatable: true,
      help: "Highlight one or more TARGETs and their ancestors.",
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
const WAIT_STATES = ["full", "partial", "offline", "degraded", "lost"];

async function showStatus(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length > 0) context.failUsage();
  const verbosity = options
    .list("verbose")
    .reduce((sum, level) => sum + (/^v*$/.test(level) ? 1 + level.length : Number(level)), 0);
  const isColored = wantsColor(context);
  const wanted = options.text("wait");
  if (wanted !== null && !WAIT_STATES.includes(wanted)) context.fail("invalid --wait state");
  const rank = options.integer("rank") ?? 0;
  const ghosts = !options.has("no-ghost");
  const asker = await prepareWalk(context, { rank, ghosts, asksLeaves: verbosity > 1 });
  const { hosts, topology, walk } = asker;
  const highlighted = options
    .list("highlight")
    .flatMap((target) => [...ranksOf(context, hosts, target, `Error decoding ${target}: `)]);
  if (wanted !== null) await waitFor(context, asker, wanted);
  const root = await walk.node(topology, null);
  if (root.rpcError !== null) context.fail(root.rpcError);
  if (options.has("summary")) {
    const seconds = verbosity > 0 ? ` for ${formatDuration(root.duration ?? 0)}` : "";
    const rpc = verbosity > 1 && root.rpcMs !== null ? ` (${root.rpcMs.toFixed(3)} ms)` : "";
    return context.out(`${root.status}${seconds}${rpc}\n`);
  }
  context.out(
    treeText(root, {
      verbosity,
      isPretty: !options.has("no-pretty"),
      onlyDown: options.has("down"),
      isColored,
      highlighted: withAncestors(topology, new Set(highlighted)),
    }),
  );
}

/** The brokers that are shown, and those on the way to them. */
function withAncestors(topology: Topology, wanted: ReadonlySet<number>): ReadonlySet<number> {
  const found = new Set<number>();
  const visit = (node: Topology): boolean => {
    const isBelow = node.children.map(visit).includes(true);
    if (isBelow || wanted.has(node.rank)) found.add(node.rank);
    return found.has(node.rank);
  };
  visit(topology);
  return found;
}

/** Resolves when the subtree has a status. Ends the command where that takes longer than a broker may take to answer. */
async function waitFor(context: CommandContext, asker: Asker, wanted: string): Promise<void> {
  const { walk, topology, timeoutSeconds } = asker;
  const { clock } = await context.ports();
  const beganMs = clock.monotonicMs();
  for (;;) {
    const { status: now } = await walk.ask(topology.rank);
    if (now === wanted) return;
    if (timeoutSeconds > 0 && clock.monotonicMs() - beganMs > timeoutSeconds * 1000)
      context.fail("Connection timed out");
    await new Promise<void>((resolve) => clock.after(POLL_MS, resolve));
  }
}

const errors: Command = {
  name: "errors",
  dialect: "getopt",
  summary: "Summarize overlay errors",
  description: "Summarize overlay errors",
  usage: "[OPTIONS]",
  options: [timeout],
  run: async (context) => {
    const byError = new Map<string, string[]>();
    const collect = (node: TreeNode): void => {
      // Those behind somebody who is lost have lost their parent.
      const presumed = node.duration === null && node.status === "lost" ? "lost parent" : null;
      const error = node.rpcError ?? node.error ?? presumed;
      if (error !== null) byError.set(error, [...(byError.get(error) ?? []), node.host]);
      for (const child of node.children) collect(child);
    };
    const { walk, topology } = await prepareWalk(context, { rank: 0, ghosts: true, asksLeaves: true });
    collect(await walk.node(topology, null));
    for (const [error, hosts] of byError) context.out(`${Hostlist.from(hosts).format()}: ${error}\n`);
  },
};

const lookup: Command = {
  name: "lookup",
  dialect: "getopt",
  summary: "translate rank idset to hostlist or the reverse",
  description: "translate rank idset to hostlist or the reverse",
  usage: "[OPTIONS] TARGET",
  operands: [{ name: "TARGET", arity: "1" }],
  run: async (context) => {
    const [target, ...others] = context.operands;
    if (target === undefined || others.length > 0) return context.fail("single TARGET argument is required");
    const hosts = await instanceHosts(await context.open());
    const found = ranksOf(context, hosts, target);
    const isRanks = Idset.tryParse(target) !== null;
    const text = isRanks ? Hostlist.from([...found].map((rank) => hosts.nth(rank)!)).format() : found.format();
    context.out(`${text}\n`);
  },
};

async function parentOf(context: CommandContext, handle: Handle, rank: number): Promise<number> {
  const find = (topology: Topology): number | null => {
    for (const child of topology.children) {
      if (child.rank === rank) return topology.rank;
      const parent = find(child);
      if (parent !== null) return parent;
    }
    return null;
  };
  const topology = await handle.rpc<Topology>("overlay.topology", { rank: 0 }, { nodeid: 0 });
  return find(topology) ?? context.fail(`${rank} has no parent`);
}

const parentof: Command = {
  name: "parentof",
  dialect: "getopt",
  summary: "show the parent of RANK",
  description: "show the parent of RANK",
  usage: "[OPTIONS] RANK",
  operands: [{ name: "RANK", arity: "1" }],
  run: async (context) => {
    const [target, ...others] = context.operands;
    if (target === undefined || others.length > 0) return context.fail("RANK is required");
    const handle = await context.open();
    const rank = rankOf(context, await instanceHosts(handle), target, "RANK");
    context.out(`${await parentOf(context, handle, rank)}\n`);
  },
};

const disconnect: Command = {
  name: "disconnect",
  dialect: "getopt",
  summary: "disconnect a subtree rooted at TARGET (hostname or rank)",
  description: "disconnect a subtree rooted at TARGET (hostname or rank)",
  usage: "[OPTIONS] TARGET",
  options: [
    {
      names: ["parent"],
      short: "r",
      argument: "NODEID",
      integer: true,
      help: "Set parent rank to NODEID (default: determine from topology)",
    },
  ],
  operands: [{ name: "TARGET", arity: "1" }],
  run: async (context) => {
    const [target, ...others] = context.operands;
    if (target === undefined || others.length > 0) return context.fail("TARGET is required");
    const handle = await context.open();
    const hosts = await instanceHosts(handle);
    const rank = rankOf(context, hosts, target, "TARGET");
    const parent = context.options.integer("parent") ?? (await parentOf(context, handle, rank));
    if (parent < 0 || parent >= hosts.count) context.fail(`${parent} is not a valid rank in this instance`);
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
  summary: "Trace messages received on overlay network",
  description: "Trace messages received on overlay network",
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
  listsUsages: true,
  subcommands: [trace, errors, status, lookup, parentof, disconnect],
});
