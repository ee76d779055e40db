/** Which jobs a listing selects: options of the command line into a constraint of `job-list` (RFC 43). Pure. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { parseJobResult, parseJobStates } from "../../formats/job-states.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { JobState, STATES_ACTIVE, STATES_ALL } from "../../sdk/job-protocol.ts";

export interface Selection {
  /** Null is everyone. */
  readonly userid: number | null;
  /** Masks of states and results: a job fits by either. */
  readonly states: number;
  readonly results: number;
  readonly queues: readonly string[];
  readonly name: string | null;
  /** Broker ranks or hosts. */
  readonly include: string | null;
}

export const ALL_STATES: number = STATES_ALL & ~JobState.New;

/** Reads a list of states and results. Throws FluxError EINVAL. */
export function parseFilter(texts: readonly string[]): { states: number; results: number } {
  let states = 0;
  let results = 0;
  for (const word of texts.flatMap((text) => text.split(","))) {
    const state = parseJobStates(word);
    const result = state === null ? parseJobResult(word) : null;
    if (state !== null) states |= state;
    else if (result !== null) results |= result;
    else throw new FluxError("EINVAL", `Invalid filter specified: ${word}`);
  }
  return { states, results };
}

/** The states of a job that is selected where nothing is said. */
export const DEFAULT_STATES: number = STATES_ACTIVE;

export function selectionConstraint(selection: Selection): JsonObject {
  const terms: JsonObject[] = [];
  if (selection.userid !== null) terms.push({ userid: [selection.userid] });
  if (selection.name !== null) terms.push({ name: [selection.name] });
  if (selection.queues.length > 0) terms.push({ queue: [...selection.queues] });
  const kinds: JsonObject[] = [];
  if (selection.states !== 0) kinds.push({ states: [selection.states] });
  if (selection.results !== 0) kinds.push({ results: [selection.results] });
  if (kinds.length > 0) terms.push({ or: kinds });
  if (selection.include !== null) terms.push(includeTerm(selection.include));
  return { and: terms };
}

function includeTerm(text: string): JsonObject {
  if (Idset.tryParse(text) !== null) return { ranks: [text] };
  try {
    return { hostlist: [Hostlist.parse(text).toString()] };
  } catch (error) {
    throw new FluxError("EINVAL", `-i/--include: invalid targets: ${text}`, { cause: error });
  }
}

/** The queues that are meant: those that are named, and the virtual queues whose jobs run in one of them. */
export function queuesMeant(named: readonly string[], config: JsonObject): string[] {
  const queues = isJsonObject(config["queues"]) ? Object.entries(config["queues"]) : [];
  const virtual = queues.filter(([, queue]) => isJsonObject(queue) && named.includes(String(queue["parent"])));
  return [...new Set([...named, ...virtual.map(([name]) => name)])];
}
