/** The tree of brokers as text. */
import { formatDuration } from "../../formats/duration.ts";

export interface TreeNode {
  readonly rank: number;
  readonly host: string;
  readonly status: string;
  /** Seconds in the status; null where it is presumed only. */
  readonly duration: number | null;
  /** How long the broker took to answer; null where it was not asked. */
  readonly rpcMs: number | null;
  readonly error: string | null;
  /** Why the broker did not answer. */
  readonly rpcError: string | null;
  readonly children: readonly TreeNode[];
}

export interface TreeOptions {
  /** 1 shows the time in the status, 2 that of the request too. */
  readonly verbosity: number;
  readonly isPretty: boolean;
  /** Leaves out what is full. */
  readonly onlyDown: boolean;
  readonly isColored: boolean;
  /** Ranks that stand out. */
  readonly highlighted: ReadonlySet<number>;
}

const COLORS: Readonly<Record<string, string>> = { lost: "\u001b[31m", offline: "\u001b[33m" };
const PRESUMED = "\u001b[90m";
const PLAIN = "\u001b[39m";
const BOLD_BLUE = "\u001b[01;34m";
const RESET = "\u001b[0m";

function nameOf({ rank, host }: TreeNode, { highlighted, isColored }: TreeOptions): string {
  const name = `${rank} ${host}`;
  if (!highlighted.has(rank)) return name;
  return isColored ? `${BOLD_BLUE}${name}${RESET}` : `<<${name}>>`;
}

function statusOf({ status, duration }: TreeNode, { isColored }: TreeOptions): string {
  const color = duration === null ? PRESUMED : COLORS[status];
  return isColored && color !== undefined ? `${color}${status}${PLAIN}` : status;
}

function lineOf(node: TreeNode, options: TreeOptions): string {
  const { duration, rpcMs, error, rpcError } = node;
  const parts = [`${nameOf(node, options)}: ${rpcError ?? statusOf(node, options)}`];
  if (options.verbosity > 0 && duration !== null && rpcError === null) parts.push(`for ${formatDuration(duration)}`);
  if (options.verbosity > 1 && rpcMs !== null) parts.push(`(${rpcMs.toFixed(3)} ms)`);
  if (error !== null) parts.push(error);
  return parts.join(" ");
}

/** One line per broker, parents before children. */
export function treeText(root: TreeNode, options: TreeOptions): string {
  const lines: string[] = [];
  const add = (node: TreeNode, head: string, tail: string): void => {
    lines.push(`${head}${lineOf(node, options)}\n`);
    const children = options.onlyDown ? node.children.filter((child) => child.status !== "full") : node.children;
    children.forEach((child, index) => {
      if (!options.isPretty) return add(child, "", "");
      const isLast = index === children.length - 1;
      add(child, `${tail}${isLast ? "└─ " : "├─ "}`, `${tail}${isLast ? "   " : "│  "}`);
    });
  };
  if (!options.onlyDown || root.status !== "full") add(root, "", "");
  return lines.join("");
}
