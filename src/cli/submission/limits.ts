/** The soft limits of a process as Linux tells them in /proc/PID/limits. Pure: the text is an argument. */

/** The rows by the names that `--rlimit` has for them. */
const PROC_ROWS: Readonly<Record<string, string>> = {
  "Max cpu time": "cpu",
  "Max file size": "fsize",
  "Max data size": "data",
  "Max stack size": "stack",
  "Max core file size": "core",
  "Max resident set": "rss",
  "Max processes": "nproc",
  "Max open files": "nofile",
  "Max locked memory": "memlock",
  "Max address space": "as",
  "Max pending signals": "sigpending",
  "Max msgqueue size": "msgqueue",
  "Max nice priority": "nice",
  "Max realtime priority": "rtprio",
  "Max realtime timeout": "rttime",
};

/** Soft limits by name; -1 is unlimited. */
export function parseProcLimits(text: string): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const line of text.split("\n")) {
    const row = /^(.*?)\s{2,}(\S+)/.exec(line);
    const name = PROC_ROWS[row?.[1] ?? ""];
    if (name !== undefined) limits[name] = row![2] === "unlimited" ? -1 : Number(row![2]);
  }
  return limits;
}
