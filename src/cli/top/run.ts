/** Runs `flux top`: the keys, the instances that were entered one from another, the screen. */
import { writeFileSync } from "node:fs";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { cancelJob } from "../../sdk/jobs.ts";
import { systemError } from "../../host/errors.ts";
import type { CommandContext } from "../framework/command.ts";
import { openInstance } from "../jobs/recursion.ts";
import { resolveTarget } from "../uri/resolve.ts";
import { wantsColor } from "../output/job-colors.ts";
import { Screen, type Key } from "./screen.ts";
import { InstanceSource } from "./source.ts";
import { SUMMARY_ROWS, dump, render, type Display, type ShownJob } from "./view.ts";

/** How long a heart is shown. */
const HEART_MS = 500;
/** How often runtimes are counted on, without any news. */
const TICK_MS = 1000;
const ROOT = "ƒ";

export async function runTop(context: CommandContext): Promise<number> {
  if (!context.stdinIsTerminal) throw new FluxError("EINVAL", "stdin is not a terminal");
  const { options, host } = context;
  if (["", "dumb", "unknown"].includes(host.env["TERM"] ?? ""))
    throw new FluxError("ENOTSUP", "terminal does not support required capabilities");
  const { stdoutIsTerminal } = context;
  const isColored = wantsColor({ options, host, stdoutIsTerminal, failUsage: (text = "") => context.fail(text) });
  const [target] = context.operands;
  const handle = await context.open(target === undefined ? undefined : await resolved(context, target));
  const top = new Top(context, isColored);
  const first = await top.open(handle, ROOT);
  first.select(options.text("queue"));
  return top.run(first);
}

/** Throws FluxError that tells what was to be found, and why it was not. */
async function resolved(context: CommandContext, target: string): Promise<string> {
  try {
    return await resolveTarget(context, target);
  } catch (error) {
    if (!isFluxError(error)) throw error;
    throw new FluxError(error.errnum, `failed to resolve target to a Flux URI: ${error.message}`, { cause: error });
  }
}

class Top {
  readonly #context: CommandContext;
  readonly #isColored: boolean;
  readonly #stack: InstanceSource[] = [];
  #screen: Screen | null = null;
  #display: Display = { cursor: -1, showsDetails: true, heartbeat: false, message: null };
  /** The selected job: the cursor stays with it while others come and go. */
  #selected: ShownJob["id"] | null = null;
  /** What a `y` will do. */
  #confirm: (() => Promise<void>) | null = null;
  #heart: NodeJS.Timeout | null = null;
  #finish: ((exitCode: number) => void) | null = null;
  /** Told once the terminal is itself again. */
  #complaint: string | null = null;

  constructor(context: CommandContext, isColored: boolean) {
    this.#context = context;
    this.#isColored = isColored;
  }

  async open(handle: InstanceSource["handle"], path: string): Promise<InstanceSource> {
    const source: InstanceSource = await InstanceSource.open(handle, path, this.#context.host.uid, {
      changed: () => this.#changed(source),
      heartbeat: () => this.#beat(source),
      lost: (error) => this.#lost(source, error),
    });
    return source;
  }

  /** Shows an instance until the user has seen enough. Resolves with the exit code. */
  async run(first: InstanceSource): Promise<number> {
    const tick = setInterval(() => this.#draw(), TICK_MS);
    const signals = ["SIGTERM", "SIGHUP"].map((name) => this.#context.onSignal(name, () => this.#finish?.(1)));
    try {
      this.#screen = new Screen(this.#context, this.#isColored, {
        key: (key) => this.#key(key),
        resize: () => this.#draw(),
      });
      return await new Promise<number>((resolve) => {
        this.#finish = resolve;
        this.#enter(first);
      });
    } finally {
      clearInterval(tick);
      if (this.#heart !== null) clearTimeout(this.#heart);
      for (const signal of signals) signal.cancel();
      for (const source of this.#stack) source.close();
      this.#screen?.close();
      if (this.#complaint !== null) this.#context.complain(this.#complaint);
    }
  }

  get #current(): InstanceSource | undefined {
    return this.#stack.at(-1);
  }

  #enter(source: InstanceSource): void {
    this.#stack.push(source);
    this.#display = { ...this.#display, cursor: -1, message: null };
    source.start();
  }

  /** Back to the instance before; the end where there is none. */
  #leave(): void {
    this.#stack.pop()?.close();
    if (this.#current === undefined) return this.#finish?.(0);
    this.#display = { ...this.#display, cursor: -1, message: null };
    this.#draw();
    this.#current.refresh();
  }

  #changed(source: InstanceSource): void {
    if (source !== this.#current) return;
    this.#draw();
    if (!this.#context.options.has("test-exit") || source.view === null) return;
    const path = this.#context.options.text("test-exit-dump");
    try {
      if (path !== null) writeFileSync(path, dump(source.view, Date.now() / 1000));
      this.#finish?.(0);
    } catch (error) {
      this.#complaint = systemError("failed to open test dump file", error).message;
      this.#finish?.(1);
    }
  }

  #beat(source: InstanceSource): void {
    if (source !== this.#current) return;
    if (this.#heart !== null) clearTimeout(this.#heart);
    this.#set({ heartbeat: true });
    this.#heart = setTimeout(() => this.#set({ heartbeat: false }), HEART_MS);
  }

  #lost(source: InstanceSource, error: FluxError): void {
    if (this.#stack.length > 1 && source === this.#current) {
      this.#leave();
      this.#set({ message: `${source.path}: the instance is gone` });
    } else if (this.#stack.length === 1) {
      this.#complaint = error.message;
      this.#finish?.(1);
    }
  }

  #set(change: Partial<Display>): void {
    this.#display = { ...this.#display, ...change };
    this.#draw();
  }

  #draw(): void {
    const view = this.#current?.view;
    if (view === null || view === undefined || this.#screen === null) return;
    const found = view.jobs.findIndex(({ id }) => id === this.#selected);
    const cursor = found >= 0 ? found : Math.min(this.#display.cursor, view.jobs.length - 1);
    this.#display = { ...this.#display, cursor };
    this.#screen.show(render(view, this.#display, this.#screen.size, Date.now() / 1000));
  }

  #key(key: Key): void {
    const letter = typeof key === "object" ? key.letter : null;
    if (this.#confirm !== null) return this.#answer(letter === "y");
    if (key === "interrupt") return this.#finish?.(0);
    if (key === "down" || letter === "j") return this.#move(1);
    if (key === "up" || letter === "k") return this.#move(-1);
    if (key === "page-down" || key === "page-up") {
      const page = Math.max(1, (this.#screen?.size.rows ?? 0) - SUMMARY_ROWS - 1);
      return this.#move(key === "page-down" ? page : -page);
    }
    if (key === "home") return this.#move(-Infinity);
    if (key === "end") return this.#move(Infinity);
    if (key === "left" || letter === "h") return this.#rotate(-1);
    if (key === "right" || letter === "l") return this.#rotate(1);
    if (key === "enter") return void this.#openSelected();
    if (key === "redraw") {
      this.#screen?.redraw();
      return this.#draw();
    }
    if (letter === "d") return this.#set({ showsDetails: !this.#display.showsDetails });
    if (letter === "c") return this.#askCancel();
    if (letter === "q") this.#leave();
  }

  #move(step: number): void {
    const jobs = this.#current?.view?.jobs ?? [];
    const last = jobs.length - 1;
    const cursor = Math.max(Math.min(0, last), Math.min(last, this.#display.cursor + step));
    this.#selected = jobs[cursor]?.id ?? null;
    this.#set({ cursor, message: null });
  }

  #rotate(step: number): void {
    const source = this.#current;
    if (source === undefined || source.queues.length === 0) return;
    source.rotate(step);
    void source.reshow();
  }

  async #openSelected(): Promise<void> {
    const source = this.#current;
    const job = source?.jobs[this.#display.cursor];
    const shown = source?.view?.jobs[this.#display.cursor];
    if (source === undefined || job === undefined || shown?.isInstance !== true) return;
    const handle = await openInstance(job);
    if (handle === null) return this.#set({ message: `${shown.idText} cannot be opened` });
    try {
      this.#enter(await this.open(handle, `${source.path === ROOT ? "" : `${source.path}/`}${shown.idText}`));
    } catch (error) {
      if (!isFluxError(error)) throw error;
      handle.close();
      this.#set({ message: `${shown.idText}: ${error.message}` });
    }
  }

  #askCancel(): void {
    const source = this.#current;
    const job = source?.view?.jobs[this.#display.cursor];
    if (source === undefined || job === undefined) return;
    this.#confirm = async () => {
      await cancelJob(source.handle, job.id);
      this.#set({ message: `${job.idText}: canceled` });
    };
    this.#set({ message: `cancel ${job.idText} ${job.name}? (y/n)` });
  }

  #answer(isYes: boolean): void {
    const act = this.#confirm;
    this.#confirm = null;
    this.#set({ message: null });
    if (!isYes || act === null) return;
    act().catch((error: unknown) => {
      if (!isFluxError(error)) throw error;
      this.#set({ message: error.message });
    });
  }
}
