/** The tree of brokers as text. */
import { formatDuration } from "../../formats/duration.ts";

export interface TreeNode {
  readonly rank: number;
  readonly host: string;
  readonly status: string;
  /** Seconds in the status. */
  readonly duration: number;
  /** How long the broker took to answer; null where it was not asked. */
  readonly rpcMs: number | null;
  readonly error: string | null;
  readonly children: readonly TreeNode[];
}

export interface TreeOptions {
  /** 1 shows the time in the status, 2 that of the request too. */
  readonly verbosity: number;
  readonly isPretty: boolean;
  /** Leaves out what is full. */
  readonly onlyDown: boolean;
}

function lineOf(node: TreeNode, options: TreeOptions): string {
  const { rank, host, status, duration, rpcMs, error } = node;
  const parts = [`${rank} ${host}: ${status}`];
  if (options.verbosity > 0) parts.push(`for ${formatDuration(duration)}`);
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
