/**
 * The output of a job (RFC 24) as text for the terminal: data of its tasks line by line, notes on redirected streams,
 * messages of the job shell. Pure: entries in, texts out.
 */
import { base64Decode, latin1Decode, latin1Encode, utf8Encode } from "../../base/bytes.ts";
import type { JsonObject } from "../../base/json.ts";

export interface OutputPiece {
  readonly stream: "stdout" | "stderr";
  readonly text: string | Uint8Array;
}

interface Entry {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject | undefined;
}

export interface OutputStyle {
  /** Put `RANK: ` before each line. */
  readonly label: boolean;
  /** Put this before each line (`flux submit --watch --label-io`, `flux watch`). */
  readonly prefix?: string;
  /** Put the time since submission before messages of the shell; default true. */
  readonly relative?: boolean;
  /** Leave out what is not the job's own output. */
  readonly quiet?: boolean;
}

/** What the shell's messages begin with, by severity: it logs for debugging and tracing with the two lowest. */
const LEVELS = ["FATAL", "FATAL", "FATAL", "ERROR", " WARN", "", "DEBUG", "TRACE"];

export class JobOutputFormatter {
  readonly #style: OutputStyle;
  /** When the job was submitted: messages carry the time since. */
  #origin: number | null = null;
  /** Streams whose last piece had no line end, where lines are labeled. */
  readonly #open = new Set<string>();
  #encoding: JsonObject = {};

  constructor(style: OutputStyle) {
    this.#style = style;
  }

  setOrigin(timestamp: number): void {
    this.#origin ??= timestamp;
  }

  /** What an entry of the log `guest.output` prints. */
  format(entry: Entry): OutputPiece[] {
    const context = entry.context ?? {};
    switch (entry.name) {
      case "header":
        this.#encoding = (context["encoding"] as JsonObject | undefined) ?? {};
        return [];
      case "data":
        return this.#data(context);
      case "redirect":
        return this.#style.quiet === true ? [] : [this.#redirect(context)];
      case "log":
        return [this.#log(context, entry.timestamp)];
      default:
        return [];
    }
  }

  #data(context: JsonObject): OutputPiece[] {
    const stream = context["stream"] === "stderr" ? "stderr" : "stdout";
    const rank = String(context["rank"] ?? "0");
    const data = context["data"];
    if (typeof data !== "string" || data === "") return [];
    const encoding = context["encoding"] ?? this.#encoding[stream];
    const repeat = typeof context["repeat"] === "number" ? context["repeat"] : 1;
    const once = encoding === "base64" ? (base64Decode(data) ?? new Uint8Array(0)) : data;
    const pieces: OutputPiece[] = [];
    for (let copy = 0; copy < repeat; copy++) pieces.push({ stream, text: this.#labeled(stream, rank, once) });
    return pieces;
  }

  #labeled(stream: string, rank: string, data: string | Uint8Array): string | Uint8Array {
    const prefix = this.#style.prefix ?? "";
    if (!this.#style.label && prefix === "") return data;
    const words = prefix + (this.#style.label ? `${rank}: ` : "");
    const key = `${stream} ${rank}`;
    // Bytes that are no text stay what they are: here each is a character.
    const isText = typeof data === "string";
    const text = isText ? data : latin1Decode(data);
    const label = isText ? words : latin1Decode(utf8Encode(words));
    let labeled = this.#open.has(key) ? "" : label;
    const endsLine = text.endsWith("\n");
    labeled += (endsLine ? text.slice(0, -1) : text).replaceAll("\n", `\n${label}`) + (endsLine ? "\n" : "");
    if (endsLine) this.#open.delete(key);
    else this.#open.add(key);
    return isText ? labeled : latin1Encode(labeled);
  }

  #redirect(context: JsonObject): OutputPiece {
    const { stream, rank, path } = context;
    const where = path === undefined ? "" : ` to ${String(path)}`;
    const text = `${this.#style.prefix ?? ""}${String(rank)}: ${String(stream)} redirected${where}\n`;
    return { stream: "stderr", text };
  }

  /** `0.042s: flux-shell[0]: ERROR: message`; messages without a level of urgency carry no word for it. */
  #log(context: JsonObject, timestamp: number): OutputPiece {
    const { level, message, rank, component, program } = context;
    const time = this.#style.relative === false ? "" : `${(timestamp - (this.#origin ?? timestamp)).toFixed(3)}s: `;
    const who = `${String(program ?? "flux-shell")}${rank === undefined || Number(rank) < 0 ? "" : `[${String(rank)}]`}`;
    const word = LEVELS[Number(level)] ?? "";
    const part = component === undefined || component === "" ? "" : `${String(component)}: `;
    return {
      stream: "stderr",
      text: `${this.#style.prefix ?? ""}${time}${who}: ${word === "" ? "" : `${word}: `}${part}${String(message)}\n`,
    };
  }
}
