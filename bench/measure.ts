/** Timing of commands and the statistics of a benchmark: medians of interleaved runs, so that noise hits both sides. */
import { spawn, spawnSync } from "node:child_process";

/** A `flux` command to measure. */
export interface Side {
  readonly name: string;
  readonly flux: string;
}

export interface RunResult {
  readonly seconds: number;
  readonly output: string;
}

/** Runs a command to its end. Throws with its output when it fails. */
export function run(
  argv: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
): RunResult {
  const begin = performance.now();
  const child = spawnSync(argv[0]!, argv.slice(1), {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: cleanEnvironment(options.env),
    input: options.input ?? "",
  });
  const seconds = (performance.now() - begin) / 1000;
  if (child.error !== undefined) throw child.error;
  if (child.status !== 0)
    throw new Error(`${argv.join(" ")} ended with ${child.status}:\n${child.stdout}${child.stderr}`);
  return { seconds, output: child.stdout };
}

/** The environment without what would lead a command to an enclosing instance. */
export function cleanEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, ...extra };
  for (const name of ["FLUX_URI", "NODE_OPTIONS", "PMI_FD", "PMI_RANK", "PMI_SIZE"])
    if (!(name in extra)) delete env[name];
  return env;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export interface Summary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function summary(values: readonly number[]): Summary {
  const sorted = values.toSorted((left, right) => left - right);
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? NaN };
}

/** An instance that stays up while commands are measured against it. */
export class Instance implements AsyncDisposable {
  readonly uri: string;
  readonly #end: () => Promise<void>;

  private constructor(uri: string, end: () => Promise<void>) {
    this.uri = uri;
    this.#end = end;
  }

  static async start(
    flux: string,
    size: number,
    env: Record<string, string> = {},
    options: readonly string[] = [],
  ): Promise<Instance> {
    const child = spawn(
      flux,
      ["start", ...(size > 1 ? [`-s${size}`] : []), ...options, "sh", "-c", "echo $FLUX_URI; cat >/dev/null"],
      {
        env: cleanEnvironment(env),
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
    const uri = await new Promise<string>((resolve, reject) => {
      child.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
      child.once("close", () => reject(new Error(`${flux}: the instance did not start`)));
    });
    return new Instance(uri, async () => {
      child.stdin.end();
      await ended;
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#end();
  }
}
