/** The shell options of a job (flux-shell-options(7)): `attributes.system.shell.options` in the jobspec, by dotted name. */
import type { JsonObject, JsonValue } from "../base/json.ts";
import { tryParseFsd } from "../formats/duration.ts";
import { getPath } from "../formats/jobspec-attributes.ts";

export class ShellOptions {
  readonly #options: JsonObject;

  constructor(options: JsonObject) {
    this.#options = options;
  }

  get all(): JsonObject {
    return this.#options;
  }

  value(name: string): JsonValue | undefined {
    return this.#options[name] ?? getPath(this.#options, name);
  }

  text(name: string): string | null {
    const value = this.value(name);
    return typeof value === "string" ? value : null;
  }

  /** A switch: on by itself (1), by `true`, or by any other value but 0 and `false`. */
  isOn(name: string): boolean {
    const value = this.value(name);
    return value !== undefined && value !== null && value !== 0 && value !== false;
  }

  /** Seconds, from a number or an RFC 23 duration; Infinity for "none"; null where it is no duration. */
  seconds(name: string, fallback: number): number | null {
    const value = this.value(name);
    if (value === undefined) return fallback;
    if (value === "none") return Infinity;
    const seconds = typeof value === "number" ? value : typeof value === "string" ? tryParseFsd(value) : null;
    return seconds === null || seconds < 0 ? null : seconds;
  }

  /** Bytes, with an optional suffix k, K, M, G; null where it is no size. */
  bytes(name: string, fallback: number): number | null {
    const value = this.value(name);
    if (value === undefined) return fallback;
    const match = /^(\d+(?:\.\d+)?)([kKMG]?)$/.exec(String(value));
    if (match === null) return null;
    const powers: Readonly<Record<string, number>> = { "": 1, k: 1e3, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };
    return Math.floor(Number(match[1]) * powers[match[2]!]!);
  }
}

/** What is said of members of an option that nobody knows. */
export function unpackedText(names: readonly string[]): string {
  return `${names.length} object item(s) left unpacked: ${names.join(", ")}`;
}
