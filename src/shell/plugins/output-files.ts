/**
 * Files that take task output. A file of one task or node is written where the task runs; a file of the whole job by the
 * leader shell, to which the others send.
 *
 * Invariants: pieces of a file are written in the order in which each shell gave them; what was given and not yet written
 * elsewhere is bounded by those who give (see `output.ts`).
 */
import { base64Decode, base64Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import type { JsonObject } from "../../base/json.ts";
import type { LogFile } from "../../base/ports.ts";
import { ShellLogLevel, type ShellContext } from "../plugin.ts";

export class OutputFiles {
  readonly #shell: ShellContext;
  readonly #isAppend: boolean;
  readonly #files = new Map<string, LogFile>();
  /** Pieces on their way to the leader. */
  readonly #sending = new Set<Promise<void>>();

  /** What pieces for the leader say of the part of the shell that they belong to. */
  readonly #part: string | null;

  constructor(shell: ShellContext, part: string | null = null) {
    this.#shell = shell;
    this.#part = part;
    const mode = shell.plan.options.value("output.mode") ?? "truncate";
    this.#isAppend = mode === "append";
    if (mode !== "append" && mode !== "truncate")
      shell.log(ShellLogLevel.warning, `ignoring invalid output.mode=${String(mode)}`, "output");
  }

  /** Makes sure that a file can be written. Throws FluxError with the path in it. */
  open(path: string): LogFile {
    const absolute = path.startsWith("/") ? path : `${this.#shell.plan.cwd}/${path}`;
    let file = this.#files.get(absolute);
    if (file !== undefined) return file;
    try {
      const { disk } = this.#shell.host.ports;
      file = disk.openLog(absolute, { mode: 0o666 });
      // A device cannot be cut.
      if (!this.#isAppend && disk.info(absolute)?.kind === "file") file.truncate(0);
    } catch (error) {
      if (!(error instanceof FluxError)) throw error;
      throw new FluxError(error.errnum, `error opening output file '${path}': ${new FluxError(error.errnum).message}`);
    }
    this.#files.set(absolute, file);
    return file;
  }

  write(path: string, data: Uint8Array): void {
    this.open(path).append(data);
  }

  /** Resolves when the leader has written. */
  send(path: string, data: Uint8Array): Promise<void> {
    const { host, plan } = this.#shell;
    const part = this.#part === null ? {} : { part: this.#part };
    const payload = { id: plan.id, path, data: base64Encode(data), ...part };
    const sent = host.handle.rpc(`${host.service}.write`, payload, { nodeid: plan.brokerRanks[0]! }).then(() => {});
    this.#sending.add(sent);
    const forget = (): void => void this.#sending.delete(sent);
    sent.then(forget, forget);
    return sent;
  }

  /** At the leader: a piece that another shell sends. Throws FluxError. */
  receive(payload: JsonObject): void {
    const { path, data } = payload;
    const bytes = typeof data === "string" ? base64Decode(data) : null;
    if (typeof path !== "string" || bytes === null) throw new FluxError("EPROTO");
    this.write(path, bytes);
  }

  /** Nothing is on its way. */
  get isSettled(): boolean {
    return this.#sending.size === 0;
  }

  /** Resolves when everything is written; a piece that the leader could not write is not waited for. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#sending);
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }
}
