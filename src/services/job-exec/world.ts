/** What the runner of one job sees of the service around it. */
import type { Integer } from "../../base/json.ts";
import type { KvsBatch } from "../../sdk/kvs-batch.ts";
import type { ModuleContext } from "../../sdk/module.ts";
import type { IncomingRequest } from "../../sdk/request.ts";
import type { HostLink } from "./host-link.ts";
import type { StartResponse } from "./protocol.ts";
import type { JobRunner } from "./runner.ts";
import type { ExecSettings } from "./settings.ts";

export interface ExecWorld {
  readonly context: ModuleContext;
  readonly batch: KvsBatch;
  readonly settings: ExecSettings;
  link(rank: number): HostLink;
  respond(request: IncomingRequest, response: StartResponse): void;
  /** No more responses follow. */
  end(request: IncomingRequest): void;
  /** Resolves when what was written to a key is in the KVS: it goes in one commit with what all jobs of this turn have written. */
  settled(key: string): Promise<void>;
  /** The job is over: `respondFinish` is called when what it wrote is on its way. */
  finished(runner: JobRunner): void;
  drain(targets: string, reason: string): void;
  debug(text: string): void;
  /** A job id, as this instance writes them. */
  idText(id: Integer): string;
}
