/**
 * The table of a job's processes, for debuggers and `flux job hostpids` (`S.proctable`): the leader shell asks the others
 * for theirs. Columns of numbers hold differences to the one before.
 */
import type { JsonObject } from "../../base/json.ts";
import { ANY_USER } from "../../sdk/service.ts";
import type { PluginFactory, ShellContext } from "../plugin.ts";

/** The processes of one node: task ranks and process ids, in the same order. */
interface NodeProcesses extends JsonObject {
  readonly host: string;
  readonly ranks: number[];
  readonly pids: number[];
}

export const proctablePlugin: PluginFactory = (shell) => ({
  methods: () => ({ proctable: { roles: ANY_USER, handler: () => proctable(shell) } }),
  receive: (method) => (method === "processes" ? Promise.resolve(ownProcesses(shell)) : null),
});

function ownProcesses(shell: ShellContext): NodeProcesses {
  const tasks = [...shell.runningTasks];
  return { host: shell.plan.host, ranks: tasks.map(({ plan }) => plan.rank), pids: tasks.map(({ pid }) => pid) };
}

async function proctable(shell: ShellContext): Promise<object> {
  const { plan, host } = shell;
  const others = plan.brokerRanks
    .slice(1)
    .map((nodeid) => host.handle.rpc<NodeProcesses>(`${host.service}.processes`, { id: plan.id }, { nodeid }));
  const nodes = [ownProcesses(shell), ...(await Promise.all(others))];
  const rows = nodes.flatMap((node) =>
    node.ranks.map((rank, index) => ({ rank, host: node.host, pid: node.pids[index]! })),
  );
  rows.sort((left, right) => left.rank - right.rank);
  const ids = differences(rows.map(({ rank }) => rank));
  return {
    hosts: rows.map((row) => row.host),
    executables: rows.map(() => plan.command[0] ?? ""),
    ids,
    pids: differences(rows.map(({ pid }) => pid)),
    ranks: ids,
  };
}

function differences(numbers: readonly number[]): number[] {
  return numbers.map((number, index) => number - (numbers[index - 1] ?? 0));
}
