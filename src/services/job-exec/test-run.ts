/**
 * Simulated execution of jobs with `attributes.system.exec.test` in their jobspec: a timer in the place of shells, for
 * tests and for studies of scale.
 */
import { isJsonObject, memberAt, type JsonObject } from "../../base/json.ts";
import { tryParseFsd } from "../../formats/duration.ts";

export interface TestRun {
  /** Seconds; the job's duration where the jobspec names none; null: until something ends it. */
  readonly runDuration: number | null;
  readonly waitStatus: number;
  /** The phase in which an exception is made. */
  readonly mockException: "init" | "starting" | "run" | null;
  /** Start comes by `job-exec.override`; finish too, where there is no duration. */
  readonly isOverridden: boolean;
  /** Where the service finds the run again, it is over. */
  readonly endsAtReattach: boolean;
  /** What is wrong with the jobspec's wishes, or null. */
  readonly fault: string | null;
}

/** The simulated run that a jobspec asks for, or null. */
export function testRunOf(jobspec: JsonObject): TestRun | null {
  const test = memberAt(jobspec, ["attributes", "system", "exec", "test"]);
  if (!isJsonObject(test)) return null;
  const {
    run_duration: duration,
    wait_status: status,
    mock_exception: exception,
    override,
    reattach_finish: reattach,
  } = test;
  const isPhase = exception === "init" || exception === "starting" || exception === "run";
  const isUnreadable = duration !== undefined && (typeof duration !== "string" || tryParseFsd(duration) === null);
  return {
    runDuration: (typeof duration === "string" && tryParseFsd(duration)) || durationOf(jobspec),
    waitStatus: typeof status === "number" ? status : 0,
    mockException: isPhase ? exception : null,
    isOverridden: override === 1 || override === true,
    endsAtReattach: reattach === 1 || reattach === true,
    fault: isUnreadable ? "run_duration of the simulated run is no Flux standard duration" : null,
  };
}

/** Where a job that is run by shells is to fail, for tests of those who wait for it (`exec.bulkexec.mock_exception`). */
export function mockFailureOf(jobspec: JsonObject): "init" | "starting" | null {
  const phase = memberAt(jobspec, ["attributes", "system", "exec", "bulkexec", "mock_exception"]);
  return phase === "init" || phase === "starting" ? phase : null;
}

function durationOf(jobspec: JsonObject): number | null {
  const duration = memberAt(jobspec, ["attributes", "system", "duration"]);
  return typeof duration === "number" && duration > 0 ? duration : null;
}
