/** Signal numbers of Linux, and wait(2) status arithmetic. Pure. */

export const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
};

const SENTENCES: Readonly<Record<number, string>> = {
  1: "Hangup",
  2: "Interrupt",
  3: "Quit",
  4: "Illegal instruction",
  5: "Trace/breakpoint trap",
  6: "Aborted",
  7: "Bus error",
  8: "Floating point exception",
  9: "Killed",
  10: "User defined signal 1",
  11: "Segmentation fault",
  12: "User defined signal 2",
  13: "Broken pipe",
  14: "Alarm clock",
  15: "Terminated",
  16: "Stack fault",
  17: "Child exited",
  18: "Continued",
  19: "Stopped (signal)",
  20: "Stopped",
  21: "Stopped (tty input)",
  22: "Stopped (tty output)",
  23: "Urgent I/O condition",
  24: "CPU time limit exceeded",
  25: "File size limit exceeded",
  26: "Virtual timer expired",
  27: "Profiling timer expired",
  28: "Window changed",
  29: "I/O possible",
  30: "Power failure",
  31: "Bad system call",
};
/** The first of those that have a number only. */
const REAL_TIME_MIN = 34;
const REAL_TIME_MAX = 64;

/** The number of a signal given as "SIGTERM", "term" or "15"; null where there is none. */
export function signalNumber(name: string): number | null {
  if (/^\d+$/.test(name)) return Number(name) >= 1 && Number(name) <= 64 ? Number(name) : null;
  const upper = name.toUpperCase();
  return SIGNALS[upper] ?? SIGNALS[`SIG${upper}`] ?? null;
}

/** The name of a signal, as "SIGTERM". */
export function signalName(signum: number): string {
  return Object.entries(SIGNALS).find(([, number]) => number === signum)?.[0] ?? `SIG${signum}`;
}

/** What strsignal(3) says of a signal. */
export function signalSentence(signum: number): string {
  if (signum >= REAL_TIME_MIN && signum <= REAL_TIME_MAX) return `Real-time signal ${signum - REAL_TIME_MIN}`;
  return SENTENCES[signum] ?? `Unknown signal ${signum}`;
}

/** Exit codes by which shells tell of a program that is not there, or cannot be run. */
export const EXIT_NOT_FOUND = 127;
export const EXIT_NOT_EXECUTABLE = 126;

/** The wait status of a process that exited with a code. */
export function statusOfExit(code: number): number {
  return (code & 0xff) << 8;
}

/** The wait status of a process that a signal ended. */
export function statusOfSignal(signum: number): number {
  return signum & 0x7f;
}

/** The signal that ended a process, or 0. */
export function signalOfStatus(status: number): number {
  return status & 0x7f;
}

/** A shell's view of a wait status: the exit code, or 128 + signal. */
export function exitCodeOfStatus(status: number): number {
  const signum = signalOfStatus(status);
  return signum === 0 ? (status >> 8) & 0xff : 128 + signum;
}

/** How a process ended, in words: `Exit 3`, `Terminated`. */
export function endingText(status: number): string {
  const signum = signalOfStatus(status);
  return signum === 0 ? `Exit ${exitCodeOfStatus(status)}` : signalSentence(signum);
}
