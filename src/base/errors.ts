/**
 * Operating errors: an errno (as it travels in RFC 3 responses) and a sentence that a user can act on.
 *
 * A broken invariant is not an operating error: it is thrown by `assert` and ends the broker.
 */

/** Linux errno values, by name: they are the `errnum` of RFC 3 messages on every platform. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
  ENOTSUP: 95,
  EADDRINUSE: 98,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  ESTALE: 116,
  EDQUOT: 122,
  ECANCELED: 125,
} as const;

export type ErrnoName = keyof typeof Errno;

/** The C library's sentences, which users of Flux know and scripts look for. */
const SENTENCES: Readonly<Record<number, string>> = {
  1: "Operation not permitted",
  2: "No such file or directory",
  3: "No such process",
  4: "Interrupted system call",
  5: "Input/output error",
  7: "Argument list too long",
  8: "Exec format error",
  9: "Bad file descriptor",
  10: "No child processes",
  11: "Resource temporarily unavailable",
  12: "Cannot allocate memory",
  13: "Permission denied",
  16: "Device or resource busy",
  17: "File exists",
  19: "No such device",
  20: "Not a directory",
  21: "Is a directory",
  22: "Invalid argument",
  23: "Too many open files in system",
  24: "Too many open files",
  27: "File too large",
  28: "No space left on device",
  30: "Read-only file system",
  32: "Broken pipe",
  33: "Numerical argument out of domain",
  34: "Numerical result out of range",
  35: "Resource deadlock avoided",
  36: "File name too long",
  38: "Function not implemented",
  39: "Directory not empty",
  40: "Too many levels of symbolic links",
  61: "No data available",
  71: "Protocol error",
  75: "Value too large for defined data type",
  90: "Message too long",
  95: "Operation not supported",
  98: "Address already in use",
  103: "Software caused connection abort",
  104: "Connection reset by peer",
  110: "Connection timed out",
  111: "Connection refused",
  112: "Host is down",
  113: "No route to host",
  116: "Stale file handle",
  122: "Disk quota exceeded",
  125: "Operation canceled",
};

/** The sentence for an errno, as strerror(3) has it. */
export function errnoSentence(errnum: number): string {
  return SENTENCES[errnum] ?? `Unknown error ${errnum}`;
}

export class FluxError extends Error {
  /** errno value, never 0. */
  readonly errnum: number;
  /** Whether the message carries a sentence of its own, besides the one of the errno. */
  readonly hasText: boolean;

  constructor(errno: ErrnoName | number, text?: string, options?: { cause?: unknown }) {
    const errnum = typeof errno === "number" ? errno : Errno[errno];
    super(text ?? errnoSentence(errnum), options);
    this.name = "FluxError";
    this.errnum = errnum;
    this.hasText = text !== undefined && text !== "";
  }

  is(errno: ErrnoName): boolean {
    return this.errnum === Errno[errno];
  }
}

/** Whether a thrown value is a FluxError; where errnos are given, with one of them. */
export function isFluxError(error: unknown, ...errnos: readonly ErrnoName[]): error is FluxError {
  return error instanceof FluxError && (errnos.length === 0 || errnos.some((errno) => error.is(errno)));
}

/** The text of any thrown value, for a message to a person. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
