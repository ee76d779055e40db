/**
 * PMI-1 for the tasks (RFC 13): a server per shell; at a barrier the shells of the job exchange what their tasks have put,
 * through the leader.
 */
import { utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { formatFluid } from "../../formats/fluid.ts";
import { PMI_VALUE_MAX, PmiServer, type PmiConnection } from "../../protocol/pmi-server.ts";
import { unpackedText, type ShellOptions } from "../options.ts";
import { ShellLogLevel, type PluginFactory, type ShellContext, type ShellPlugin } from "../plugin.ts";

const CHANNEL = "PMI_FD";

type Values = Readonly<Record<string, string>>;

export const pmiPlugin: PluginFactory = (shell) => {
  const { options } = shell.plan;
  const choice = options.value("pmi") ?? "simple";
  if (typeof choice !== "string") throw new FluxError("EINVAL", "pmi shell option must be a string");
  const words = choice.split(",");
  checkOptions(options, shell);
  if (!words.some((word) => word === "simple" || word === "pmi1" || word === "pmi2")) return null;
  shell.log(ShellLogLevel.debug, "simple wire protocol is enabled", "pmi-simple");
  return new PmiPlugin(shell);
};

/** Throws FluxError EINVAL. */
function checkOptions(options: ShellOptions, shell: ShellContext): void {
  const invalid = (what: string): FluxError => new FluxError("EINVAL", what);
  const chosen = options.value("pmi-simple") ?? {};
  if (!isJsonObject(chosen)) throw invalid("option error: Expected object");
  const { nomap = 0, kvs = "exchange", exchange = {}, ...others } = chosen;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw invalid(`option error: ${unpackedText([unknown])}`);
  if (typeof nomap !== "number" && typeof nomap !== "boolean") throw invalid("option error: nomap: Expected integer");
  if (kvs !== "exchange") throw invalid(`Unknown kvs implementation ${String(kvs)}`);
  if (!isJsonObject(exchange)) throw invalid("option error: exchange: Expected object");
  const { k, ...rest } = exchange;
  const [other] = Object.keys(rest);
  if (other !== undefined) throw invalid(`option error: exchange: ${unpackedText([other])}`);
  if (k === undefined) return;
  if (typeof k !== "number" || !Number.isInteger(k)) throw invalid("option error: Expected integer");
  const nodes = shell.plan.brokerRanks.length;
  if (nodes === 1 || !shell.isLeader) return;
  // All shells exchange through the leader: a tree of another width is taken note of.
  const isTooLarge = k > nodes;
  const text = isTooLarge ? `requested exchange fanout too large, using k=${nodes}` : `using k=${k}`;
  shell.log(ShellLogLevel.warning, text, "pmi-simple");
}

class PmiPlugin implements ShellPlugin {
  readonly #shell: ShellContext;
  /** Made when the first task asks: most tasks never do. */
  #server: PmiServer | null = null;
  readonly #connections = new Map<number, PmiConnection>();
  /** At the leader: what the shells bring to the barrier under way. */
  #puts: Record<string, string> = {};
  #waiting: { resolve(values: Values): void; reject(error: FluxError): void }[] = [];

  constructor(shell: ShellContext) {
    this.#shell = shell;
  }

  prepare(task: { rank: number }, launch: { env: Record<string, string>; channels: string[] }): void {
    launch.channels.push(CHANNEL);
    this.#offerLibrary(launch.env);
    launch.env["PMI_RANK"] = String(task.rank);
    launch.env["PMI_SIZE"] = String(this.#shell.plan.taskCount);
  }

  /** Programs that load a libpmi.so find ours first. */
  #offerLibrary(env: Record<string, string>): void {
    const { pmiLibraryPath } = this.#shell.host.ports.host;
    if (pmiLibraryPath === undefined) return;
    const directory = pmiLibraryPath.slice(0, pmiLibraryPath.lastIndexOf("/"));
    const before = env["LD_LIBRARY_PATH"];
    env["FLUX_PMI_LIBRARY_PATH"] = pmiLibraryPath;
    env["LD_LIBRARY_PATH"] = before === undefined || before === "" ? directory : `${directory}:${before}`;
  }

  output(
    task: { plan: { rank: number }; write(stream: string, chunk: Uint8Array): boolean },
    stream: string,
    chunk: Uint8Array | null,
  ): boolean {
    if (stream !== CHANNEL) return false;
    const { rank } = task.plan;
    if (chunk === null) return true;
    let connection = this.#connections.get(rank);
    if (connection === undefined) {
      this.#server ??= this.#makeServer();
      connection = this.#server.connect(rank, (bytes) => {
        if (this.#shell.logs(ShellLogLevel.trace)) this.#trace(rank, "S", bytes);
        task.write(CHANNEL, bytes);
      });
      this.#connections.set(rank, connection);
    }
    if (this.#shell.logs(ShellLogLevel.trace)) this.#trace(rank, "C", chunk);
    try {
      connection.feed(chunk);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      this.#shell.log(ShellLogLevel.fatal, error.message);
      this.#shell.exception(0, "exec", error.message);
    }
    return true;
  }

  #trace(rank: number, who: string, bytes: Uint8Array): void {
    for (const line of utf8Decode(bytes).trimEnd().split("\n"))
      this.#shell.log(ShellLogLevel.trace, `${rank}: ${who}: ${line}`, "pmi-simple");
  }

  /** At the leader: another shell has come to the barrier. */
  receive(method: string, payload: JsonObject): Promise<JsonObject> | null {
    if (method !== "exchange") return null;
    const puts = isJsonObject(payload["puts"]) ? payload["puts"] : {};
    return this.#join(puts as Values).then((values) => ({ puts: values }));
  }

  stop(): void {
    for (const { reject } of this.#waiting.splice(0)) reject(new FluxError("ECANCELED", "the job has ended"));
  }

  #makeServer(): PmiServer {
    const { plan } = this.#shell;
    const isAlone = plan.brokerRanks.length === 1;
    return new PmiServer({
      kvsname: formatFluid(plan.id, this.#shell.host.idForm),
      universeSize: plan.taskCount,
      localSize: plan.tasks.length,
      preset: this.#preset(),
      ...(isAlone ? {} : { exchange: (puts: Values) => this.#exchange(puts) }),
      abort: (rank, exitCode, message) => this.#abort(rank, exitCode, message),
    });
  }

  #preset(): Record<string, string> {
    const { plan, host } = this.#shell;
    const preset: Record<string, string> = { "flux.instance-level": String(host.instanceLevel + 1) };
    if (plan.options.isOn("pmi-simple.nomap")) return preset;
    preset["flux.taskmap"] = JSON.stringify(plan.taskmap.toWrapped());
    const mapping = plan.taskmap.toPmi();
    if (mapping.length <= PMI_VALUE_MAX) preset["PMI_process_mapping"] = mapping;
    return preset;
  }

  #exchange(puts: Values): Promise<Values> {
    const { isLeader, host, plan } = this.#shell;
    if (isLeader) return this.#join(puts);
    const nodeid = plan.brokerRanks[0]!;
    return host.handle
      .rpc<{ puts: Values }>(`${host.service}.exchange`, { id: plan.id, puts }, { nodeid })
      .then((answer) => answer.puts);
  }

  /** Adds a shell to the barrier; all leave with everything when the last has come. */
  #join(puts: Values): Promise<Values> {
    Object.assign(this.#puts, puts);
    const left = new Promise<Values>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    if (this.#waiting.length === this.#shell.plan.brokerRanks.length) {
      const values = this.#puts;
      this.#puts = {};
      for (const { resolve } of this.#waiting.splice(0)) resolve(values);
    }
    return left;
  }

  #abort(_rank: number, exitCode: number, message: string | null): void {
    const text: JsonValue = message ?? `exit code ${exitCode}`;
    this.#shell.log(ShellLogLevel.fatal, `PMI_Abort: ${text}`);
    this.#shell.exception(0, "exec", `PMI_Abort: ${text}`);
  }
}
