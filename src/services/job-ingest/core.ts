/**
 * What the ingest service decides about a submission: whether the sender may submit it, whether the jobspec is valid, and
 * what is stored for it. Pure: no message is sent here.
 */
import { FluxError } from "../../base/errors.ts";
import { parseJson, stringifyJson, type Integer, type JsonValue } from "../../base/json.ts";
import { base64EncodeText } from "../../base/bytes.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import type { Hostlist } from "../../formats/hostlist.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import { checkReadable } from "../../formats/jobspec-readable.ts";
import { unwrapJobspec } from "../../sdk/job-envelope.ts";
import { withoutEnvironment } from "../../sdk/job-environment.ts";
import { encodeEvent, JobFlag, URGENCY_DEFAULT, URGENCY_MAX, type SubmittedJob } from "../../sdk/job-protocol.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { OPERATION_LAST, OPERATION_PRUNE, type Operation, type TreeObject } from "../../sdk/kvs-protocol.ts";
import type { SubmitRequest } from "./protocol.ts";
import { validate, type ValidatorSettings } from "./validate.ts";

const FLAGS_ALLOWED = JobFlag.Debug | JobFlag.Waitable | JobFlag.NoValidate;
const EVENTLOG_VERSION = 1;

/** Who submits, as far as it matters here. */
export interface Submitter {
  readonly userid: number;
  readonly isOwner: boolean;
}

/** A submission whose sender may submit it. */
export interface Opened {
  /** The jobspec as it was signed. */
  readonly original: JsonValue;
  /** Its text in base64. */
  readonly payload: string;
}

/** A submission that passed the checks. */
export interface Checked {
  readonly jobspec: Jobspec;
  /** The jobspec's JSON text without the environment, in base64, as it is stored. */
  readonly payload: string;
}

/** Checks who submits, and unwraps what. Throws FluxError with a sentence for the submitter. */
export function openSubmission(request: SubmitRequest, submitter: Submitter): Opened {
  checkRequest(request, submitter);
  const envelope = unwrapJobspec(request.J);
  if (envelope.userid !== submitter.userid)
    throw new FluxError("EPERM", `signer=${envelope.userid} != requestor=${submitter.userid}`);
  if (!submitter.isOwner) throw new FluxError("EPERM", "only instance owner can use sign-type=none");
  return { original: parseJobspec(envelope.jobspec), payload: envelope.payload };
}

/** Validates a jobspec as it will run; `changed` is the opened one, or what frobnicators made of it. */
export function checkSubmission(
  { original, payload }: Opened,
  changed: JsonValue,
  validator: ValidatorSettings | null,
  hosts: () => Hostlist | null = () => null,
): Checked {
  const jobspec = validator === null ? checkReadable(changed) : validate(changed, validator, hosts);
  const stored = withoutEnvironment(jobspec);
  return { jobspec, payload: stored === original ? payload : base64EncodeText(stringifyJson(stored)) };
}

function checkRequest(request: SubmitRequest, submitter: Submitter): void {
  const { flags, urgency } = request;
  if (!Number.isInteger(flags) || (flags & ~FLAGS_ALLOWED) !== 0) throw new FluxError("EPROTO", "invalid job flags");
  if ((flags & JobFlag.NoValidate) !== 0 && !submitter.isOwner)
    throw new FluxError("EPERM", "only the instance owner can submit with FLUX_JOB_NOVALIDATE");
  if ((flags & JobFlag.Waitable) !== 0 && !submitter.isOwner)
    throw new FluxError("EINVAL", "only the instance owner can submit with FLUX_JOB_WAITABLE");
  if (!Number.isInteger(urgency) || urgency < 0 || urgency > URGENCY_MAX)
    throw new FluxError("EINVAL", `urgency range is [0:${URGENCY_MAX}]`);
  if (urgency > URGENCY_DEFAULT && !submitter.isOwner)
    throw new FluxError("EINVAL", `only the instance owner can submit with urgency >${URGENCY_DEFAULT}`);
}

function parseJobspec(text: string): JsonValue {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof FluxError)) throw error;
    throw new FluxError("EINVAL", `jobspec: ${error.message}`, { cause: error });
  }
}

/** What is stored for a new job (RFC 16): the request as it was signed, the jobspec, the first line of the eventlog. */
export function operationsOf(job: SubmittedJob, envelope: string, payload: string): Operation[] {
  const directory = fluidKvsPath(job.id);
  const { userid, urgency, flags } = job;
  const context = { userid, urgency, flags, version: EVENTLOG_VERSION };
  const event = encodeEvent({ timestamp: job.t_submit, name: "submit", context });
  const jobspec: TreeObject = { ver: 1, type: "val", data: payload };
  return [
    { key: `${directory}.J`, flags: 0, dirent: makeTextVal(envelope) },
    { key: `${directory}.jobspec`, flags: OPERATION_LAST, dirent: jobspec },
    { key: `${directory}.eventlog`, flags: 0, dirent: makeTextVal(event) },
  ];
}

/** What removes a job that the job manager refused. */
export function removalOf(id: Integer): Operation {
  return { key: fluidKvsPath(id), flags: OPERATION_PRUNE, dirent: null };
}
