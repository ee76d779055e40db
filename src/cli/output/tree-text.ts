/**
 * A tree as text: a label per node, joined by connectors. Leaves of one parent with the same label are one line, with their
 * number before it: `3*[sleep]`. Pure.
 */

export interface TreeNode<T> {
  readonly label: string;
  readonly value: T;
  readonly children: readonly TreeNode<T>[];
}

/** What stands before a child, before the last one, and under each of them. */
export interface Connectors {
  readonly child: string;
  readonly last: string;
  readonly under: string;
  readonly underLast: string;
}

export const CONNECTORS: Readonly<Record<"default" | "compact" | "ascii", Connectors>> = {
  default: { child: "├── ", last: "└── ", under: "│   ", underLast: "    " },
  compact: { child: "├─", last: "└─", under: "│ ", underLast: "  " },
  ascii: { child: "|-- ", last: "`-- ", under: "|   ", underLast: "    " },
};

export interface TreeLine<T> {
  readonly text: string;
  readonly value: T;
}

/** The lines of a tree, that of its root first. */
export function treeLines<T>(root: TreeNode<T>, connectors: Connectors, combine: boolean): TreeLine<T>[] {
  const lines: TreeLine<T>[] = [{ text: root.label, value: root.value }];
  addChildren(lines, root, "", connectors, combine);
  return lines;
}

/** The same without the root: its children stand at the margin. */
export function forestLines<T>(root: TreeNode<T>, connectors: Connectors, combine: boolean): TreeLine<T>[] {
  const lines: TreeLine<T>[] = [];
  for (const child of combine ? combined(root.children) : root.children) {
    lines.push({ text: child.label, value: child.value });
    addChildren(lines, child, "", connectors, combine);
  }
  return lines;
}

function addChildren<T>(
  lines: TreeLine<T>[],
  node: TreeNode<T>,
  indent: string,
  connectors: Connectors,
  combine: boolean,
): void {
  const children = combine ? combined(node.children) : node.children;
  children.forEach((child, index) => {
    const isLast = index === children.length - 1;
    lines.push({ text: indent + (isLast ? connectors.last : connectors.child) + child.label, value: child.value });
    const under = indent + (isLast ? connectors.underLast : connectors.under);
    addChildren(lines, child, under, connectors, combine);
  });
}

/** Leaves that look alike stand where the first of them stood. */
function combined<T>(children: readonly TreeNode<T>[]): TreeNode<T>[] {
  const counts = new Map<string, number>();
  const isLeaf = (node: TreeNode<T>): boolean => node.children.length === 0;
  for (const node of children) if (isLeaf(node)) counts.set(node.label, (counts.get(node.label) ?? 0) + 1);
  const seen = new Set<string>();
  return children.flatMap((node) => {
    if (!isLeaf(node)) return [node];
    if (seen.has(node.label)) return [];
    seen.add(node.label);
    const count = counts.get(node.label)!;
    return [count === 1 ? node : { ...node, label: `${count}*[${node.label}]` }];
  });
}

/** A text of so many columns at most; a plus sign tells that something was cut off. */
export function truncated(text: string, columns: number): string {
  const letters = [...text];
  return letters.length <= columns ? text : `${letters.slice(0, Math.max(0, columns - 1)).join("")}+`;
}
