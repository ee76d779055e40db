/**
 * A table of jobs: the format and the order that were asked for, the width, the colors. What `flux jobs` and `flux pgrep`
 * print.
 */
import { FluxError, isFluxError } from "../../base/errors.ts";
import type { CommandContext } from "../framework/command.ts";
import { OutputFormat, sortRows, splitSort } from "../output/format-string.ts";
import { columnsOf, cutToColumns } from "../output/text-width.ts";
import { paintJob, wantsColor } from "../output/job-colors.ts";
import { attributesOfFields, jobField, jobFieldHeading, type JobRecord } from "./record.ts";

/** What colors and recursion need to know of every job. */
const ALWAYS_ATTRIBUTES = ["state", "result", "userid", "annotations"];

export class JobTable {
  readonly #context: CommandContext;
  readonly #format: OutputFormat;
  readonly #sortKeys: readonly string[];
  readonly #color: boolean;

  /** `sort` overrides the keys that the format names. Throws FluxError EINVAL for a format or a key that cannot be read. */
  constructor(context: CommandContext, chosen: string, sort: string | null) {
    this.#context = context;
    this.#color = wantsColor(context);
    const { keys, format } = splitSort(chosen);
    this.#sortKeys = sort === null || sort === "" ? keys : sort.split(",");
    try {
      this.#format = new OutputFormat(format, jobFieldHeading);
    } catch (error) {
      if (!isFluxError(error)) throw error;
      throw new FluxError("EINVAL", `Error in user format: ${error.message}`, { cause: error });
    }
    const unknown = this.#sortKeyNames.find((key) => jobFieldHeading(key) === null);
    if (unknown === undefined) return;
    const where = this.#sortKeys === keys ? "Error in user format: " : "";
    throw new FluxError("EINVAL", `${where}Invalid sort key: ${unknown}`);
  }

  /** The attributes of job-list that the table is made from. */
  get attributes(): readonly string[] {
    return [...new Set([...attributesOfFields(this.#fields), ...ALWAYS_ATTRIBUTES])];
  }

  /** Whether instances have to be asked for what the table shows. */
  get needsInstances(): boolean {
    return this.#fields.some((name) => name.startsWith("instance."));
  }

  get #fields(): readonly string[] {
    return [...this.#format.fields, ...this.#sortKeyNames];
  }

  get #sortKeyNames(): readonly string[] {
    return this.#sortKeys.map((key) => key.replace(/^-/, ""));
  }

  print(jobs: readonly JobRecord[], withHeader: boolean): void {
    const byRow = new Map(jobs.map((job) => [(name: string) => jobField(job, name), job]));
    const rows = sortRows([...byRow.keys()], this.#sortKeys, (name) => jobFieldHeading(name) !== null);
    const { header, lines } = this.#format.table(rows, { withHeader });
    const width = this.#width();
    if (withHeader) this.#context.out(`${cut(header, width)}\n`);
    lines.forEach((line, index) => {
      if (line === null) return;
      const text = `${cut(line, width)}\n`;
      this.#context.out(this.#color ? paintJob(byRow.get(rows[index]!)!, text) : text);
    });
  }

  #width(): number {
    const { options } = this.#context;
    if (!options.has("width")) return Infinity;
    const width = options.integer("width") ?? 0;
    if (width < 0) return Infinity;
    return width === 0 ? (this.#context.columns ?? Infinity) : width;
  }
}

function cut(text: string, width: number): string {
  return text
    .split("\n")
    .map((line) => (columnsOf(line) <= width ? line : `${cutToColumns(line, width - 1)}+`))
    .join("\n");
}
