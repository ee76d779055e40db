/** The facts of the machine and the process, read once. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { HostInfo } from "../base/ports.ts";
import { coresOfThisMachine, gpusFrom, onlineCpus } from "./cpus.ts";
import { hasCode } from "./errors.ts";
import { fluxCommandPath, pmiLibraryPath } from "./paths.ts";

const AMD_TOPOLOGY = "/sys/class/kfd/kfd/topology/nodes";

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "EACCES", "ENOTDIR", "EPERM")) return [];
    throw error;
  }
}

/** AMD's driver lists processors of both kinds; a GPU is one with SIMD units. */
function amdGpuCount(): number {
  return namesIn(AMD_TOPOLOGY).filter((name) => {
    try {
      return /^simd_count [1-9]/m.test(readFileSync(`${AMD_TOPOLOGY}/${name}/properties`, "utf8"));
    } catch {
      // A processor that this user may not use is as good as absent.
      return false;
    }
  }).length;
}

/** Facts that are costly to find out (the topology) are read when first asked for. */
class NodeHostInfo implements HostInfo {
  readonly hostname: string = hostname();
  readonly uid: number = process.getuid?.() ?? 0;
  readonly pid: number = process.pid;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly temporaryDirectory: string;
  readonly fluxPath: string = fluxCommandPath();
  readonly pmiLibraryPath?: string;
  #coreCpus: readonly (readonly number[])[] | null = null;
  #gpus: readonly number[] | null = null;

  constructor() {
    this.cwd = workingDirectory();
    this.env = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== undefined)) as Record<
      string,
      string
    >;
    const library = pmiLibraryPath();
    if (existsSync(library)) this.pmiLibraryPath = library;
    this.temporaryDirectory = this.env["TMPDIR"] || "/tmp";
  }

  get coreCpus(): readonly (readonly number[])[] {
    this.#coreCpus ??= coresOfThisMachine();
    return this.#coreCpus;
  }

  get allCoreCpus(): readonly (readonly number[])[] {
    return coresOfThisMachine(onlineCpus());
  }

  get cores(): readonly number[] {
    return this.coreCpus.map((_, core) => core);
  }

  get gpus(): readonly number[] {
    this.#gpus ??= gpusFrom({ env: this.env, deviceNames: namesIn("/dev"), amdCount: amdGpuCount() });
    return this.#gpus;
  }
}

function workingDirectory(): string {
  try {
    return process.cwd();
  } catch (error) {
    // The directory was removed under us. The shell's own idea of it is the best name there is.
    if (!hasCode(error, "ENOENT")) throw error;
    return process.env["PWD"] ?? "/";
  }
}

export function nodeHostInfo(): HostInfo {
  return new NodeHostInfo();
}
