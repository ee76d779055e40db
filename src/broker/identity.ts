/**
 * Who a broker is for its neighbours, kept for the case that it is started again under a supervisor (`flux start
 * --respawn`): with the same keys, at the same port, those that it left behind know it and rejoin.
 *
 * Invariant: the file is in the run directory, readable by nobody but the owner of the instance.
 */
import { base64Decode, base64Encode, utf8Decode, utf8Encode } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../base/json.ts";
import type { KeyPair, Ports } from "../base/ports.ts";

const PRIVATE = 0o600;

export class Identity {
  readonly keys: KeyPair;
  readonly #ports: Ports;
  readonly #path: string;
  #port: number;

  /** The identity of a rank in a run directory: the one that is kept there, or a new one, which is kept. */
  constructor(ports: Ports, rundir: string, rank: number) {
    this.#ports = ports;
    this.#path = `${rundir}/identity-${rank}`;
    const kept = this.#read();
    this.keys = kept?.keys ?? ports.codec.generateKeyPair();
    this.#port = kept?.port ?? 0;
    if (kept === null) this.#write();
  }

  /** The TCP port on which the broker listened; 0 where it did not yet. */
  get port(): number {
    return this.#port;
  }
  set port(port: number) {
    if (port === this.#port) return;
    this.#port = port;
    this.#write();
  }

  #read(): { keys: KeyPair; port: number } | null {
    if (this.#ports.disk.info(this.#path) === null) return null;
    const value = parseJson(utf8Decode(this.#ports.disk.readFile(this.#path)));
    if (!isJsonObject(value)) throw new FluxError("EPROTO", `${this.#path} is malformed: remove it`);
    const [publicKey, privateKey] = [value["public"], value["private"]].map((text) =>
      typeof text === "string" ? base64Decode(text) : null,
    );
    if (!publicKey || !privateKey) throw new FluxError("EPROTO", `${this.#path} is malformed: remove it`);
    return { keys: { publicKey, privateKey }, port: Number(value["port"] ?? 0) };
  }

  #write(): void {
    const { publicKey, privateKey } = this.keys;
    const text = stringifyJson({
      public: base64Encode(publicKey),
      private: base64Encode(privateKey),
      port: this.#port,
    });
    this.#ports.disk.writeFile(this.#path, utf8Encode(text), { mode: PRIVATE });
  }
}
