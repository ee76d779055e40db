/**
 * The screen of `flux top`: an instance's state into lines of text with styles. Pure: what is shown is a function of the
 * state, the size of the terminal and the time.
 *
 * Invariants: never more lines than the terminal has, no line wider than it; the selected job is always among those shown.
 */
import type { Integer } from "../../base/json.ts";
import { formatDuration } from "../../formats/duration.ts";
import { columnsOf, cutToColumns } from "../output/text-width.ts";

export type Style = "bold" | "dim" | "inverse" | "yellow" | "red" | "green" | "blue";

/** Text in one style. */
export interface Span {
  readonly text: string;
  readonly styles: readonly Style[];
}

export type Line = readonly Span[];

/** How many of a kind of resource there are, are allocated, are down or excluded. */
export interface Usage {
  readonly total: number;
  readonly used: number;
  readonly down: number;
}

export interface ShownJob {
  readonly id: Integer;
  readonly idText: string;
  readonly queue: string;
  readonly user: string;
  readonly status: string;
  readonly ntasks: string;
  readonly nnodes: string;
  /** When it began to run, and when it ended where it has; seconds since the epoch. */
  readonly startTime: number;
  readonly endTime: number;
  readonly name: string;
  /** Whether it is an instance that may be entered. */
  readonly isInstance: boolean;
}

export interface InstanceView {
  /** `ƒ`, or the path of job ids that leads here. */
  readonly path: string;
  /** The queue that the display is limited to. */
  readonly queue: string | null;
  /** Seconds since the epoch; 0 for never. */
  readonly expiration: number;
  readonly nodes: Usage;
  readonly cores: Usage;
  readonly gpus: Usage;
  readonly pending: number;
  readonly running: number;
  readonly successful: number;
  readonly failed: number;
  readonly jobs: readonly ShownJob[];
  readonly size: number;
  readonly depth: number;
  readonly startTime: number;
  readonly version: string;
}

/** What the user has chosen, and what is to be told. */
export interface Display {
  /** The row of the selected job; -1 before one was. */
  readonly cursor: number;
  readonly showsDetails: boolean;
  readonly heartbeat: boolean;
  readonly message: string | null;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

const WIDTH_MIN = 80;
/** What is beside the bars of resources: their names, and the counts of jobs. */
const BAR_FROM = 11;
const BESIDE_BAR = 42;
const PART_WIDTH = 16;
export const SUMMARY_ROWS = 7;
const KEYS = "j/k select  enter open  c cancel  h/l queue  d details  q quit";

export function render(view: InstanceView, display: Display, size: Size, now: number): Line[] {
  const width = Math.max(WIDTH_MIN, size.columns);
  const lines: Line[] = [
    titleLine(view, width, now),
    barLine("nodes", view.nodes, width, [plain(`${count(view.pending)} pending`)]),
    barLine("cores", view.cores, width, [plain(`${count(view.running)} running`)]),
    [...barLine("gpus", view.gpus, width, inactive(view, display)), ...heart(display)],
    [],
    statusLine(view, width, now),
    headingLine(view, width),
  ];
  const rows = Math.max(0, size.rows - SUMMARY_ROWS - 1);
  const first = Math.max(0, Math.min(display.cursor - rows + 1, view.jobs.length - rows));
  view.jobs.slice(first, first + rows).forEach((job, index) => {
    lines.push(jobLine(view, job, width, now, first + index === display.cursor));
  });
  while (lines.length < size.rows - 1) lines.push([]);
  if (size.rows > SUMMARY_ROWS) lines.push([span(display.message ?? KEYS, display.message === null ? "dim" : "bold")]);
  return lines.slice(0, size.rows).map((line) => cutLine(line, size.columns));
}

/** The same as lines of words, for scripts that look at what is shown. */
export function dump(view: InstanceView, now: number): string {
  const usage = (name: string, { used, total }: Usage): string => `${name} ${used}/${total}`;
  return [
    `${view.pending} pending`,
    `${view.running} running`,
    `${view.successful} complete`,
    `${view.failed} failed`,
    usage("nodes", view.nodes),
    usage("cores", view.cores),
    usage("gpus", view.gpus),
    ...view.jobs.map((job) =>
      [job.idText, job.user, job.status, job.ntasks, job.nnodes, runtimeOf(job, now), job.name].join(" "),
    ),
  ]
    .map((line) => `${line}\n`)
    .join("");
}

function plain(text: string): Span {
  return { text, styles: [] };
}
function span(text: string, ...styles: Style[]): Span {
  return { text, styles };
}

function count(value: number): string {
  return String(value).padStart(6);
}

function titleLine(view: InstanceView, width: number, now: number): Line {
  const left = view.expiration === 0 ? "∞" : formatDuration(Math.max(0, view.expiration - now), 2);
  const middle = view.queue === null ? "" : `queue ${view.queue}`;
  const path = keepEnd(view.path, Math.max(8, width - left.length - middle.length - 4));
  const gap = Math.max(1, Math.floor((width - middle.length) / 2) - columnsOf(path));
  const rest = Math.max(1, width - 1 - columnsOf(path) - gap - middle.length - left.length);
  return [span(path, "yellow"), plain(" ".repeat(gap)), span(middle, "bold"), plain(" ".repeat(rest) + left)];
}

/** The end of a path tells most: its beginning is left out where it is too long. */
function keepEnd(text: string, width: number): string {
  const letters = [...text];
  return letters.length <= width ? text : `…${letters.slice(letters.length - width + 1).join("")}`;
}

function barLine(name: string, usage: Usage, width: number, beside: readonly Span[]): Line {
  const inside = width - BAR_FROM - BESIDE_BAR;
  const text = `${usage.used}/${usage.total}`;
  const room = Math.max(0, inside - text.length);
  const share = (value: number): number =>
    usage.total === 0 || value === 0 ? 0 : Math.max(1, Math.round((value / usage.total) * room));
  const used = Math.min(room, share(usage.used));
  const down = Math.min(room - used, share(usage.down));
  return [
    plain(`${name.padStart(BAR_FROM - 2)} [`),
    span("|".repeat(used), "yellow"),
    plain(" ".repeat(room - used - down)),
    span("|".repeat(down), "red"),
    plain(`${text}]`),
    plain(beside.length > 1 ? "   " : " ".repeat(18)),
    ...beside,
  ];
}

function inactive(view: InstanceView, display: Display): Span[] {
  if (!display.showsDetails) return [plain(" ".repeat(15)), plain(`${count(view.successful + view.failed)} inactive`)];
  return [
    span(count(view.successful), "bold", "green"),
    plain(" complete, "),
    span(count(view.failed), "bold", "red"),
    plain(" failed"),
  ];
}

function heart({ heartbeat, showsDetails }: Display): Span[] {
  return heartbeat ? [plain(showsDetails ? "     ♡" : "      ♡")] : [];
}

function statusLine(view: InstanceView, width: number, now: number): Line {
  const parts = [` size: ${view.size}`];
  if (view.depth > 0) parts.push(`depth: ${view.depth}`);
  parts.push(`uptime: ${formatDuration(Math.max(0, now - view.startTime), 2)}`);
  const text = parts.map((part) => part.padEnd(PART_WIDTH)).join("");
  const room = width - 1 - view.version.length;
  return [span(`${text.slice(0, room).padEnd(room)}${view.version}`, "dim")];
}

function cells(view: InstanceView, values: Readonly<Record<string, string>>): string {
  const queue = view.jobs.some((job) => job.queue !== "") ? ` ${fit(values["queue"]!, 8)}` : "";
  const columns = [
    right(values["id"]!, 12) + queue,
    right(values["user"]!, 8),
    right(values["status"]!, 2),
    right(values["ntasks"]!, 6),
    right(values["nnodes"]!, 6),
    right(values["runtime"]!, 7),
    values["name"]!,
  ];
  return columns.join(" ");
}

function headingLine(view: InstanceView, width: number): Line {
  const text = cells(view, {
    id: "JOBID",
    queue: "QUEUE",
    user: "USER",
    status: "ST",
    ntasks: "NTASKS",
    nnodes: "NNODES",
    runtime: "RUNTIME",
    name: "NAME",
  });
  return [span(text.padEnd(width), "inverse")];
}

function jobLine(view: InstanceView, job: ShownJob, width: number, now: number, isSelected: boolean): Line {
  const { idText: id, queue, user, status, ntasks, nnodes, name } = job;
  const text = cells(view, { id, queue, user, status, ntasks, nnodes, runtime: runtimeOf(job, now), name });
  const styles: Style[] = [
    ...(job.isInstance ? (["bold", "blue"] as const) : []),
    ...(isSelected ? (["inverse"] as const) : []),
  ];
  return [span(isSelected ? padTo(text, width) : text, ...styles)];
}

function runtimeOf(job: ShownJob, now: number): string {
  if (job.startTime === 0) return "0s";
  return formatDuration(Math.max(0, (job.endTime === 0 ? now : job.endTime) - job.startTime), 2);
}

function padTo(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - columnsOf(text)));
}
function right(text: string, width: number): string {
  const cut = fit(text, width).trimEnd();
  return " ".repeat(Math.max(0, width - columnsOf(cut))) + cut;
}
function fit(text: string, width: number): string {
  return padTo(columnsOf(text) <= width ? text : `${cutToColumns(text, width - 1)}+`, width);
}

/** Controls in names would move the cursor: they are shown as what they are. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "?");
}

function cutLine(line: Line, columns: number): Line {
  const kept: Span[] = [];
  let room = columns;
  for (const { text, styles } of line) {
    if (room <= 0) break;
    const shown = cutToColumns(printable(text), room);
    room -= columnsOf(shown);
    if (shown !== "") kept.push({ text: shown, styles });
  }
  return kept;
}
