/**
 * The envelope J of a submission: `HEADER.PAYLOAD.SIGNATURE` with the mechanism "none", which an instance of a single
 * user accepts (RFC 15). HEADER holds typed keys and values that end in NUL, in base64; PAYLOAD is the jobspec in base64.
 */
import { base64Decode, base64EncodeText, utf8DecodeStrict } from "../base/bytes.ts";
import { FluxError } from "../base/errors.ts";

const MECHANISM_NONE = "none";
const VERSION = 1;

export interface Envelope {
  /** Who says to have made it. */
  readonly userid: number;
  /** The jobspec as JSON text. */
  readonly jobspec: string;
  /** The same in base64. */
  readonly payload: string;
}

/** Wraps a jobspec, given as JSON text. */
export function wrapJobspec(jobspec: string, userid: number): string {
  const fields = ["version", `i${VERSION}`, "userid", `i${userid}`, "mechanism", `s${MECHANISM_NONE}`];
  const header = base64EncodeText(`${fields.join("\0")}\0`);
  return `${header}.${base64EncodeText(jobspec)}.${MECHANISM_NONE}`;
}

/** Unwraps a jobspec. Throws EINVAL where the envelope is malformed or its mechanism is not "none". */
export function unwrapJobspec(envelope: string): Envelope {
  const [head, payload, signature, ...rest] = envelope.split(".");
  const header = head === undefined ? null : decodeText(head);
  if (header === null || payload === undefined || rest.length > 0) throw malformed();
  const fields = headerFields(header);
  if (fields.get("version") !== `i${VERSION}` || signature === undefined) throw malformed();
  if (fields.get("mechanism") !== `s${MECHANISM_NONE}` || signature !== MECHANISM_NONE)
    throw new FluxError("EINVAL", "could not unwrap jobspec: mechanism is not supported");
  const userid = /^i(\d+)$/.exec(fields.get("userid") ?? "")?.[1];
  const jobspec = decodeText(payload);
  if (userid === undefined || jobspec === null) throw malformed();
  return { userid: Number(userid), jobspec, payload };
}

function decodeText(text: string): string | null {
  const bytes = base64Decode(text);
  return bytes === null ? null : utf8DecodeStrict(bytes);
}

function headerFields(header: string): Map<string, string> {
  const words = header.split("\0");
  const fields = new Map<string, string>();
  for (let at = 0; at + 1 < words.length; at += 2) fields.set(words[at]!, words[at + 1]!);
  return fields;
}

function malformed(): FluxError {
  return new FluxError("EINVAL", "could not unwrap jobspec: Invalid argument");
}
