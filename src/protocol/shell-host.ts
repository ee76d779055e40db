/**
 * What the execution service and the shell hosts say to each other: one shell host per broker holds the job shells of
 * that broker's jobs.
 *
 * | topic               | from → to                      | payload                                   |
 * |---------------------|--------------------------------|-------------------------------------------|
 * | shell-agent.run     | job-exec → agent, streaming    | {} → {ready: true}, {ended: wait status}; ends when the host has |
 * | shell-agent.ready   | shell host → its agent         | {pid}                                     |
 * | shell-host.attach   | job-exec → shell host, streaming | {since?, host?} → HostResponse: who attaches again says what it has heard of which host |
 * | shell-host.told     | job-exec → shell host            | {through}: what has arrived               |
 * | shell-host.start    | job-exec → shell host, no response | {jobs: ShellStart[]}                  |
 * | shell-host.kill     | job-exec → shell host, no response | {id, signum}                          |
 * | shell-host.destroy  | job-exec → shell host, no response | {id, signum}: give the job up         |
 * | shell-host.expiration | job-exec → shell host, no response | {id, expiration}                    |
 * | shell-host.release  | job-exec → leader's shell host, no response | {id}: every shell of the job has ended |
 * | shell-host.log      | job-exec → leader's shell host, no response | {id, level, message, component}: for the job's log |
 * | shell-host.stdin    | leader's shell → shell host    | {id, input} → {}: input for the tasks there |
 * | shell-host.exchange | shell → leader's shell host    | {id, puts} → {puts}: a PMI barrier over nodes |
 * | shell-host.write    | shell → leader's shell host    | {id, path, data} → {}: a piece of a shared file |
 * | job-exec.shell-start   | job shell of its own → job-exec | {id} → ShellStart                        |
 * | job-exec.shell-report  | job shell of its own → job-exec | {id, rank, events} → {}: all but its end  |
 * | job-exec.shell-barrier | shell → job-exec            | {id, rank} → {} once all shells of the job are there |
 */
import type { Integer, JsonObject } from "../base/json.ts";

export const SHELL_HOST_SERVICE = "shell-host";
/** The same service of `flux shell`, which is the shell of one job only. */
export const ownShellService = (id: Integer): string => `${SHELL_HOST_SERVICE}-${id}`;
export const SHELL_AGENT_SERVICE = "shell-agent";
/**
 * The variable in which a shell host finds the address of its broker. Not FLUX_URI: by that the programs of users are known.
 */
export const SHELL_HOST_URI = "FLUX_SHELL_HOST_URI";

/** A job to start. */
export interface ShellStart {
  readonly id: Integer;
  readonly userid: number;
  /** With its environment. */
  readonly jobspec: JsonObject;
  readonly R: JsonObject;
}

/** First the jobs that the host has, running or with an end that was not told yet; then what happens, all of one turn together. */
export interface HostResponse {
  readonly jobs?: readonly Integer[];
  readonly events?: readonly HostEvent[];
  /** The ordinal of the last of the events. */
  readonly through?: number;
  /** Tells one shell host of a rank from the next; with the jobs. */
  readonly host?: string;
}

export type HostEvent =
  /** An event for the job's exec.eventlog. */
  | {
      readonly type: "log";
      readonly id: Integer;
      readonly event: { timestamp: number; name: string; context?: JsonObject };
    }
  | {
      readonly type: "exception";
      readonly id: Integer;
      readonly severity: number;
      readonly kind: string;
      readonly note: string;
      /** The wait status that is to be the job's. */
      readonly waitStatus?: number;
    }
  /**
   * The shell is over; its output is in the KVS, but for what it brings along: text to be appended to the job's guest
   * keys, by name. `status` is a wait status whose exit code is that of the worst task.
   */
  | {
      readonly type: "exit";
      readonly id: Integer;
      readonly status: number;
      readonly appends?: Readonly<Record<string, string>>;
    };
