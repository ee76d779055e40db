/**
 * The messages of the service `job-ingest`.
 *
 * | topic     | role  | request              | response              | errors                                    |
 * |-----------|-------|----------------------|-----------------------|-------------------------------------------|
 * | submit    | user  | {J, urgency, flags}  | {id}                  | EPROTO, EINVAL, EPERM, each with a sentence |
 * | getinfo   | owner |                      | {timestamp}           |                                           |
 * | stats-get | any   |                      | {pipeline}            |                                           |
 *
 * It sends `kvs.commit` (J, jobspec, eventlog of new jobs), then `job-manager.submit`, and with the validator plugin
 * "feasibility" `feasibility.check`.
 */
import { FluxError } from "../../base/errors.ts";
import type { IncomingRequest } from "../../sdk/request.ts";

export interface SubmitRequest {
  /** The signed jobspec (RFC 15). */
  readonly J: string;
  readonly urgency: number;
  /** JobFlag bits. */
  readonly flags: number;
}

/** Reads a submission. Throws EPROTO. */
export function parseSubmit(request: IncomingRequest): SubmitRequest {
  const { J, urgency, flags } = request.json;
  if (typeof J !== "string" || typeof urgency !== "number" || typeof flags !== "number")
    throw new FluxError("EPROTO", "error decoding job request: Protocol error");
  return { J, urgency, flags };
}
