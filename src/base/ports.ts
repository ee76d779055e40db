/**
 * The doors to the machine, as interfaces. `host/` implements them on Node, `testkit/` in virtual time with twins of the
 * same name. Everything outside those two folders reaches time, chance, sockets, files and processes through here only.
 *
 * Rules for every implementation: callbacks never run inside the call that registered them; errors are FluxError;
 * synchronous functions do not block longer than a write to the page cache.
 */

import type { FileTree } from "./file-tree.ts";

export interface TimerHandle {
  cancel(): void;
}

export interface Clock {
  /** Wall-clock time in seconds since the epoch, with fraction: the form of eventlog timestamps (RFC 18). */
  now(): number;
  /** Milliseconds since an arbitrary origin; never goes back. */
  monotonicMs(): number;
  /** Milliseconds of its life that this process' event loop has been at work, not waiting. */
  busyMs(): number;
  /** Calls back once after a delay. A pending timer keeps the process alive unless `background` is true. */
  after(delayMs: number, callback: () => void, options?: { background?: boolean }): TimerHandle;
  /** Calls back once this turn's input has been handled: where work of one turn is gathered into one batch. */
  defer(callback: () => void): void;
}

export interface Random {
  /** Unpredictable bytes, fit for keys. */
  bytes(length: number): Uint8Array;
  /** A UUID of version 4 as 36 characters. */
  uuid(): string;
}

export type HashAlgorithm = "sha1" | "sha256";

/** Synchronous cryptography and compression: the same functions in production and simulation. */
export interface Codec {
  digest(algorithm: HashAlgorithm, data: Uint8Array): Uint8Array;
  /** The digest in hexadecimal; text is taken as its UTF-8. */
  digestHex(algorithm: HashAlgorithm, data: Uint8Array | string): string;
  compress(data: Uint8Array): Uint8Array;
  decompress(data: Uint8Array): Uint8Array;
  /** A fresh X25519 key pair, as raw 32-byte keys. */
  generateKeyPair(): KeyPair;
  /** The secret that two owners of key pairs share (X25519). */
  sharedSecret(privateKey: Uint8Array, peerPublicKey: Uint8Array): Uint8Array;
}

export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/** The longest path of a unix socket: sockaddr_un holds 108 bytes with the terminating zero. */
export const UNIX_PATH_BYTES_MAX = 107;

/** Where a stream socket is: `unix` has a path, `tcp` a host and a port (0 = any free one). */
export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** What is known of the process at the other end of a unix socket (SO_PEERCRED). */
export interface PeerCredentials {
  readonly uid: number;
  readonly pid: number;
}

export interface StreamEvents {
  /** Bytes arrived, in order. The array belongs to the receiver. */
  data(chunk: Uint8Array): void;
  /** Bytes that `write` kept back have gone: `buffered` is below the limit again. */
  drain?(): void;
  /** The stream is over: null after a clean end, an error otherwise. Called exactly once. */
  close(error: Error | null): void;
}

/** An ordered, reliable stream of bytes in both directions, until it breaks (then what was under way is lost). */
export interface ByteStream {
  /** Credentials of the peer, on unix sockets. */
  readonly credentials: PeerCredentials | null;
  /** The identity that the peer proved, on secured streams. */
  readonly identity: string | null;
  /** Begins the delivery of events. Nothing is delivered (or lost) before. */
  start(events: StreamEvents): void;
  /** Queues bytes for sending. Returns false when the sender should wait for `drain`. */
  write(chunk: Uint8Array): boolean;
  /** Bytes queued and not yet taken by the other side. */
  readonly buffered: number;
  /** Stops, resumes the delivery of data; the peer is held back in the end. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes now; queued bytes are lost. `close` is still delivered. */
  destroy(): void;
}

/**
 * Mutual authentication and encryption by a key that both sides hold. The connecting side names itself; the listening
 * side looks up the key for that name (null refuses the peer).
 */
export interface ListenSecurity {
  keyFor(identity: string): Uint8Array | null;
  /** A peer was refused: its claimed identity where known, and why. */
  refused(identity: string | null, reason: string): void;
}
export interface ConnectSecurity {
  readonly identity: string;
  readonly key: Uint8Array;
}

export interface Listener {
  /** The address with the port that was chosen. */
  readonly address: Address;
  /** Stops listening and removes a unix socket's file. Accepted streams live on. */
  close(): Promise<void>;
}

export interface Net {
  listen(
    address: Address,
    accept: (stream: ByteStream) => void,
    options?: { security?: ListenSecurity; mode?: number },
  ): Promise<Listener>;
  connect(address: Address, options?: { security?: ConnectSecurity; timeoutMs?: number }): Promise<ByteStream>;
  /** A stream over an inherited file descriptor (PMI_FD). Throws EBADF. */
  openDescriptor(descriptor: number): ByteStream;
  /** The local address by which other hosts reach this one; `interfaceHint` may name an interface or a network. */
  hostAddress(interfaceHint?: string): string;
}

/** An append-only file. */
export interface LogFile {
  /** Current length in bytes. */
  readonly length: number;
  /** Appends in one write: afterwards the bytes survive the death of the process (not of the machine). Throws ENOSPC, EIO. */
  append(data: Uint8Array): void;
  /** After this resolves, everything appended before the call survives power loss. */
  sync(): Promise<void>;
  /** Cuts the file to a length. */
  truncate(length: number): void;
  close(): void;
}

export interface FileInfo {
  readonly kind: "file" | "directory" | "other";
  readonly sizeBytes: number;
  readonly mode: number;
  /** Time of the last change, in seconds since the epoch. */
  readonly mtime: number;
}

export interface Disk {
  /** Whole content. Throws ENOENT and the like. */
  readFile(path: string): Uint8Array;
  /** Replaces a file atomically (temporary file, then rename); `sync` makes it survive power loss. */
  writeFile(path: string, data: Uint8Array, options?: { mode?: number; sync?: boolean }): void;
  openLog(path: string, options?: { mode?: number }): LogFile;
  /** The names in a directory, sorted. */
  list(path: string): string[];
  /** Null where nothing is at the path. */
  info(path: string): FileInfo | null;
  makeDirectory(path: string, options?: { mode?: number; recursive?: boolean }): void;
  /** Makes a fresh private directory (mode 0700) named PREFIX followed by six random characters. */
  makeTemporaryDirectory(prefix: string): string;
  rename(from: string, to: string): void;
  /** Removes a file, or a directory with all it holds. Nothing there is no error. */
  remove(path: string): void;
  /** Free space of the file system, in bytes. */
  freeBytes(path: string): number;
  /** Whether the file system of a path is in memory: what is there is lost with the machine, and takes room from programs. */
  isInMemory(path: string): boolean;
  /**
   * Opens (creates) the blob database of a content store: at once, or when it is first needed. What goes wrong then
   * fails `ready` and every call after it.
   */
  openBlobDatabase(path: string, options: BlobDatabaseOptions, events: BlobDatabaseEvents): BlobDatabase;
}

export interface BlobDatabaseOptions {
  /** Start with an empty database. */
  readonly truncate?: boolean;
  /** Refuse where another process uses the same directory, and say so at once. */
  readonly isExclusive?: boolean;
  readonly journalMode?: string;
  readonly synchronous?: string;
  readonly hash: HashAlgorithm;
  /** How many checkpoints are kept. */
  readonly checkpointsKept: number;
  /** Stores are refused when the database has this size; null: never. */
  readonly sizeLimitBytes: number | null;
}

export interface BlobDatabaseEvents {
  /**
   * Blobs (digests, one behind the other) are about to be removed. They are, unless they are referred to meanwhile, once
   * the promise is settled.
   */
  forget(digests: Uint8Array): Promise<void>;
  /** The next checkpoint would show that much is not needed any more: one should be put, though nothing has changed. */
  checkpointWanted(): void;
  /** What works by itself has failed; it goes on later. */
  trouble(error: Error): void;
  /** A bug: the database is of no use any more. */
  fatal(error: unknown): void;
}

/**
 * Why blobs are kept that no checkpoint reaches: a client wants to refer to them soon ("lease"), or a commit of the
 * key-value store does refer to them ("adopt").
 */
export type KeepReason = "lease" | "adopt";

export interface BlobCheckpoint {
  readonly id: number;
  /** A JSON object. */
  readonly text: string;
}

export interface BlobDatabaseStats {
  readonly objectCount: number;
  /** Size on the disk when it is at rest, and what of it is free. */
  readonly fileBytes: number;
  readonly freeBytes: number;
  /** What the newest checkpoint reached when it was last looked at, as it is stored. */
  readonly liveBytes: number;
  readonly sizeLimitBytes: number | null;
  /** The number of the newest checkpoint; 0 before the first one. */
  readonly epoch: number;
  readonly leaseCount: number;
  readonly collector: {
    readonly isRunning: boolean;
    readonly cycleCount: number;
    readonly removedCount: number;
    readonly removedBytes: number;
    readonly lastCycleMs: number;
  };
}

export interface EpochInfo {
  readonly epoch: number;
  /** Blobs that come later are in rows with greater numbers. */
  readonly lastRowid: number;
  /** How many blobs have a smaller epoch than was asked for. */
  readonly candidates: number | null;
}

/** Which rows to remove: those with a smaller epoch, after one row and up to another; bounds of the work. */
export interface EpochSweep {
  readonly epoch: number;
  readonly after: number;
  readonly through: number;
  readonly deleteMax: number;
  readonly window: number;
  /** Whether blobs stay that clients stored lately and nobody refers to yet, however old the epoch is that they are of. */
  readonly spareLeased: boolean;
}

export interface SweepResult {
  /** The blobs that were removed, one digest behind the other. */
  readonly digests: Uint8Array;
  /** The last row that was looked at. */
  readonly cursor: number;
}

/**
 * A content store: blobs by digest, checkpoints by number. It hashes, stores and removes beside the caller, in the order of
 * the calls, each of which happens whole or not at all. Blobs that no checkpoint reaches are removed by and by. Calls
 * reject with FluxError: ENOSPC where the disk is full or the limit reached, EIO where the file is damaged.
 *
 * Many digests stand one behind the other. A batch that is stored belongs to the database.
 */
export interface BlobDatabase {
  /** Resolves when it is open. Rejects with a sentence on why it cannot be. */
  ready(): Promise<void>;
  /** A blob, or null; `isWhole`: a directory that is stored in pieces is joined. */
  load(digest: Uint8Array, isWhole: boolean): Promise<Uint8Array | null>;
  has(digest: Uint8Array): Promise<boolean>;
  /** Stores blobs (each behind its length, u32 big-endian), resolves with their digests; `isLeased`: for a client. */
  store(batch: Uint8Array, isLeased: boolean): Promise<Uint8Array>;
  /** Keeps blobs that no checkpoint reaches. Resolves with the digests of those that are not there. */
  keep(digests: Uint8Array, reason: KeepReason): Promise<Uint8Array>;
  /** Newest first. */
  checkpoints(): Promise<BlobCheckpoint[]>;
  /** Once it resolves, the checkpoint and all that was stored before survive the loss of power. */
  putCheckpoint(text: string): Promise<void>;
  epochInfo(countBefore: number | null): Promise<EpochInfo>;
  /** Gives blobs an epoch, unless they have a greater one. Resolves with how many of them there are. */
  mark(epoch: number, digests: Uint8Array): Promise<number>;
  sweep(which: EpochSweep): Promise<SweepResult>;
  limit(sizeLimitBytes: number | null): Promise<void>;
  stats(): Promise<BlobDatabaseStats>;
  close(): Promise<void>;
}

/** How a process ended, in the form of wait(2): exit code << 8, or the signal number. */
export type WaitStatus = number;

/** A file that a program reads as its standard input; an absolute path. */
export interface InputFile {
  readonly path: string;
}

/** The number of the first channel's descriptor in the child; the others follow. */
export const FIRST_CHANNEL = 3;

export interface SpawnOptions {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** "pipe": through this interface; "null": /dev/null; "inherit": that of this process; or a file. */
  readonly stdin: "pipe" | "null" | "inherit" | InputFile;
  readonly stdout: "pipe" | "null" | "inherit";
  readonly stderr: "pipe" | "null" | "inherit";
  /** stdin, stdout and stderr are one pseudo terminal; output arrives as stdout. */
  readonly pty?: { readonly rows: number; readonly columns: number };
  /** Socketpairs to this process: variable NAME holds the fd number in the child (PMI_FD and its like). */
  readonly channels?: readonly string[];
  /** The child leads a process group of its own, so that signals reach what it starts. Default true. */
  readonly newProcessGroup?: boolean;
  /** CPU numbers to bind the child to. */
  readonly cpus?: readonly number[];
  /** Resource limits by RFC 14 name without RLIMIT_ (nofile, core …): soft value, -1 = unlimited. */
  readonly rlimits?: Readonly<Record<string, number>>;
  readonly umask?: number;
  /** From -1000 to 1000 (proc(5), oom_score_adj), where the system allows it. Done by the native addon only. */
  readonly oomScoreAdjust?: number;
  /** The child is stopped before its first instruction, for a debugger, until SIGCONT. Done by the native addon only. */
  readonly stopsAtStart?: boolean;
  /** SIGKILL for the child when this process dies, however it dies. Done by the native addon only. */
  readonly diesWithParent?: boolean;
}

export interface ProcessEvents {
  /** Output of a piped stream; null is its end. `stream` is "stdout", "stderr" or a channel's name. */
  output(stream: string, chunk: Uint8Array | null): void;
  /** The process ended and all of its piped output has been delivered. Called exactly once. */
  exit(status: WaitStatus): void;
  /** The process stopped or continued by a signal, where the platform tells. */
  stopped?(): void;
}

export interface ChildProcess {
  readonly pid: number;
  /** Writes to "stdin" or a channel. Returns false when the writer should wait for `drained`. */
  write(stream: string, chunk: Uint8Array): boolean;
  /** Resolves when what was written to the stream has been taken, or the process ended. */
  drained(stream: string): Promise<void>;
  closeInput(stream: string): void;
  /**
   * Sends a signal to the process, or to its whole process group. False when it is gone. SIGKILL for the group of a process
   * that has ended gives up its streams too: others may hold them for ever.
   */
  kill(signum: number, options?: { group?: boolean }): boolean;
  /** Holds back, resumes the delivery of output (flow control towards the process). */
  pauseOutput(stream: string): void;
  resumeOutput(stream: string): void;
  resizePty(rows: number, columns: number): void;
}

export interface Exec {
  /** Starts a program. Throws ENOENT, EACCES, ENOTDIR … with a sentence that names the program or the directory. */
  spawn(options: SpawnOptions, events: ProcessEvents): ChildProcess;
  /** Signals any process by pid, or its group. False when there is none. */
  kill(pid: number, signum: number, options?: { group?: boolean }): boolean;
}

export type TraceFields = Readonly<Record<string, unknown>>;

/** Structured trace events for people and tests; what text they become is decided outside. */
export interface Trace {
  event(component: string, name: string, fields?: TraceFields): void;
  /** Names a situation that simulations must reach ("sometimes" mark). */
  mark(name: string): void;
}

/** What is true of the machine and of the process for as long as it runs. */
export interface HostInfo {
  readonly hostname: string;
  readonly uid: number;
  readonly pid: number;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly temporaryDirectory: string;
  /** Logical ids of the CPUs (cores) this process may use, and of GPUs. */
  readonly cores: readonly number[];
  readonly gpus: readonly number[];
  /** The CPU numbers (hardware threads) of each core, by its logical id; absent where cores and CPUs are the same. */
  readonly coreCpus?: readonly (readonly number[])[];
  /** The same of the whole machine, whatever this process may use of it; absent where that is not known. */
  readonly allCoreCpus?: readonly (readonly number[])[];
  /** Absolute path of the `flux` command of this checkout. */
  readonly fluxPath: string;
  /** Our libpmi.so for programs that load it; absent where it was not built. */
  readonly pmiLibraryPath?: string;
}

/** All the doors together, as a broker or a shell host receives them. */
export interface Ports {
  readonly clock: Clock;
  readonly random: Random;
  readonly codec: Codec;
  readonly net: Net;
  readonly disk: Disk;
  readonly files: FileTree;
  readonly exec: Exec;
  readonly trace: Trace;
  readonly host: HostInfo;
  /** Sends lines of the statsd protocol to a collector; absent where there is none. Throws EINVAL: its address is none. */
  readonly statsd?: (lines: readonly string[]) => void;
}
