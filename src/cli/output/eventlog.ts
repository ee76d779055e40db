/** Event logs that arrive as entries, not as text (see `eventlog-text.ts` for the layout). */
import { stringifyJson, type JsonObject } from "../../base/json.ts";
import { EventlogFormatter as TextFormatter, type EventLine } from "./eventlog-text.ts";

export interface EventlogStyle {
  readonly format: "text" | "json";
  readonly time: "raw" | "iso" | "offset" | "human";
  readonly color: boolean;
}

interface Entry {
  readonly timestamp: number;
  readonly name: string;
  readonly context?: JsonObject | undefined;
}

/** Formats entries one after the other. */
export class EventlogFormatter {
  readonly #formatter: TextFormatter;

  constructor(style: EventlogStyle) {
    this.#formatter = new TextFormatter({
      unformatted: style.format === "json",
      human: style.time === "human",
      color: style.color,
      ...((style.time === "iso" || style.time === "offset") && { time: style.time }),
    });
  }

  /** One line with its newline. */
  format(entry: Entry): string {
    return this.#formatter.format(lineOf(entry));
  }
}

function lineOf(entry: Entry): EventLine {
  const context = Object.entries(entry.context ?? {}).map(([key, value]) => [key, stringifyJson(value)] as const);
  return { timestamp: entry.timestamp, name: entry.name, context, text: stringifyJson(entry) };
}
