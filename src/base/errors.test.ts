/** Operating errors, assertions, and the arithmetic of signals and wait statuses. */
import assert from "node:assert/strict";
import { constants as osConstants } from "node:os";
import { test } from "node:test";
import { getSystemErrorMessage } from "node:util";
import { assert as invariant } from "./assert.ts";
import { Errno, errnoSentence, errorText, FluxError, isFluxError } from "./errors.ts";
import {
  exitCodeOfStatus,
  signalName,
  signalNumber,
  SIGNALS,
  signalOfStatus,
  signalSentence,
  statusOfExit,
  statusOfSignal,
} from "./signals.ts";

test("errno values are those of Linux, and each has a sentence", () => {
  for (const [name, errnum] of Object.entries(Errno)) {
    const ours = (osConstants.errno as Record<string, number>)[name];
    if (process.platform === "linux" && ours !== undefined) assert.equal(errnum, ours, name);
    assert.doesNotMatch(errnoSentence(errnum), /^Unknown/, name);
    assert.ok(getSystemErrorMessage(-errnum), name);
  }
  assert.equal(errnoSentence(Errno.ENOENT), "No such file or directory");
  assert.equal(errnoSentence(4242), "Unknown error 4242");
});

test("an error has an errno and a sentence: its own, or that of the errno", () => {
  const plain = new FluxError("EPERM");
  assert.equal(plain.message, "Operation not permitted");
  assert.equal(plain.hasText, false);
  const told = new FluxError(22, "the key is empty", { cause: plain });
  assert.equal(told.message, "the key is empty");
  assert.equal(told.hasText, true);
  assert.equal(told.cause, plain);
  assert.equal(new FluxError("EPERM", "").hasText, false);
  assert.ok(isFluxError(told) && isFluxError(told, "EINVAL") && !isFluxError(told, "EPERM"));
  assert.ok(!isFluxError(new Error("EINVAL"), "EINVAL"));
  assert.equal(errorText(told), "the key is empty");
  assert.equal(errorText("thrown text"), "thrown text");
});

test("a broken invariant is no operating error", () => {
  invariant(true, "never");
  assert.throws(
    () => invariant(0, "the count is positive"),
    (error) => !isFluxError(error) && (error as Error).name === "AssertionError" && /count is/.test(String(error)),
  );
});

test("signals are known by name, short name and number", () => {
  for (const [name, signum] of Object.entries(SIGNALS)) {
    const ours = (osConstants.signals as Record<string, number>)[name];
    if (process.platform === "linux" && ours !== undefined) assert.equal(signum, ours, name);
    assert.equal(signalNumber(name), signum);
    assert.equal(signalName(signum), name);
  }
  assert.deepEqual(["TERM", "term", "sigterm", "15"].map(signalNumber), [15, 15, 15, 15]);
  for (const name of ["", "0", "65", "-1", "NOPE", "1.5", "constructor"]) assert.equal(signalNumber(name), null, name);
  assert.equal(signalName(40), "SIG40");
  assert.equal(signalSentence(9), "Killed");
  assert.equal(signalSentence(18), "Continued");
  assert.equal(signalSentence(40), "Real-time signal 6");
  assert.equal(signalSentence(99), "Unknown signal 99");
});

test("a wait status is an exit code or a signal; a shell sees 128 + signal", () => {
  for (const code of [0, 1, 127, 255]) {
    assert.equal(exitCodeOfStatus(statusOfExit(code)), code);
    assert.equal(signalOfStatus(statusOfExit(code)), 0);
  }
  assert.equal(statusOfExit(256), 0, "eight bits");
  assert.equal(signalOfStatus(statusOfSignal(15)), 15);
  assert.equal(exitCodeOfStatus(statusOfSignal(9)), 137);
  assert.equal(exitCodeOfStatus(139), 139, "with a core dump: the signal all the same");
});
