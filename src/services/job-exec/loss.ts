/**
 * A shell that is gone before its time, in words: for the job's eventlog, where that ends the job, and for the log in its
 * output. Its process was killed, its node cannot be reached, or its host says what was wrong. Pure.
 */
import { endingText, signalOfStatus } from "../../base/signals.ts";
import type { FluxError } from "../../base/errors.ts";
import type { WaitStatus } from "../../base/ports.ts";
import type { ExceptionData } from "./protocol.ts";

export interface LostShell {
  readonly host: string;
  /** The broker's. */
  readonly rank: number;
  /** Its place among the job's shells. */
  readonly shellRank: number;
  readonly error: FluxError;
  /** How the process that held it ended; null where only the way to it did, or nobody could tell. */
  readonly killedBy: WaitStatus | null;
  /** The job ends with it. */
  readonly isFatal: boolean;
}

export interface Loss {
  readonly exception: ExceptionData | null;
  /** For the job's log. */
  readonly warning: string | null;
}

/** The wait status where a signal ended the process, else null. */
export function killedBy(hostStatus: WaitStatus | null): WaitStatus | null {
  return hostStatus !== null && signalOfStatus(hostStatus) !== 0 ? hostStatus : null;
}

export function describeLoss({ host, rank, shellRank, error, killedBy: status, isFatal }: LostShell): Loss {
  const isNode = status === null && error.is("EHOSTUNREACH");
  const why = status === null ? error.message : endingText(status);
  const text = isNode
    ? `node failure on ${host} (shell rank ${shellRank})`
    : `shell rank ${shellRank} (on ${host}): ${why}`;
  if (isFatal) {
    const note = isNode ? `node failure on ${host} (rank ${rank})` : text;
    return { exception: { severity: 0, type: "exec", note }, warning: shellRank === 0 ? null : text };
  }
  if (status !== null) return { exception: null, warning: text };
  return { exception: { severity: 2, type: "node-failure", note: text }, warning: null };
}
