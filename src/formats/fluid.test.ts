import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { canonicalInteger } from "../base/json.ts";
import { isFluxError } from "../base/errors.ts";
import { EMOJI_DIGITS, EMOJI_VALUES } from "./fluid-emoji.ts";
import {
  composeFluid,
  f58FormOf,
  FLUID_FORMS,
  FLUID_MAX,
  FluidGenerator,
  fluidKvsPath,
  fluidParts,
  formatFluid,
  parseFluid,
  tryParseFluid,
} from "./fluid.ts";

/** The RFC's examples. */
const EXAMPLE_WORDS: Readonly<Record<string, bigint>> = {
  "reform-remote-galileo--heart-package-academy": 6731191091817518n,
  "random-idea-yoyo--sugar-printer-academy": 4181414752813056n,
};

const anyId = fc.bigInt({ min: 0n, max: FLUID_MAX }).map(canonicalInteger);

test("RFC 19 representation: the examples of one id in every form", () => {
  const id = 6731191091817518;
  assert.equal(formatFluid(id), "ƒuZZybuNNy");
  assert.equal(formatFluid(id, "f58plain"), "fuZZybuNNy");
  assert.equal(formatFluid(id, "dec"), "6731191091817518");
  assert.equal(formatFluid(id, "hex"), "0x17e9fb8df16c2e");
  assert.equal(formatFluid(id, "dothex"), "0017.e9fb.8df1.6c2e");
  assert.equal(formatFluid(id, "kvs"), "job.0017.e9fb.8df1.6c2e");
  assert.equal(fluidKvsPath(id), "job.0017.e9fb.8df1.6c2e");
});

test("RFC 19 F58, hex and dothex examples are read to the same ids", () => {
  const table: [string, bigint][] = [
    ["ƒuZZybuNNy", 6731191091817518n],
    ["fuZZybuNNy", 6731191091817518n],
    ["ƒZemgA8Bzf", 0xedaf97d000000n],
    ["ƒ278oEf7zGf", 8213253243011072n],
    ["0x17e9fb8df16c2e", 6731191091817518n],
    ["0xedaf97d000000", 4181414752813056n],
    ["0017.e9fb.8df1.6c2e", 6731191091817518n],
    ["000e.daf9.7d00.0000", 4181414752813056n],
    ["job.000e.daf9.7d00.0000", 4181414752813056n],
    ["  ƒZemgA8Bzf\n", 4181414752813056n],
    ["18446744073709551615", FLUID_MAX],
    ["ƒ1", 0n],
  ];
  for (const [text, value] of table) assert.equal(parseFluid(text), canonicalInteger(value), text);
});

test("RFC 19 emoji examples are base 576, most significant digit first", () => {
  const table: [string, bigint][] = [
    ["🚹💂🙌😳💱🏃", 0x71cc92e2000000n],
    ["😄😹🎇📥🏧🙉🔞", 0x8cb1b460000000n],
    ["🚹💂🈳💰🎩🏃", 0x71cca7b2000000n],
  ];
  for (const [text, value] of table) {
    assert.equal(parseFluid(text), canonicalInteger(value));
    assert.equal(formatFluid(value, "emoji"), text);
  }
});

test("the emoji table follows the rule of RFC 19", () => {
  assert.equal(EMOJI_DIGITS.length, 576);
  assert.equal(EMOJI_VALUES.size, 576);
  assert.equal(EMOJI_DIGITS[0], "😃");
  assert.equal(EMOJI_DIGITS[1], "😄");
  for (const digit of EMOJI_DIGITS) {
    assert.match(digit, /^\p{Emoji_Presentation}$/u);
    assert.deepEqual([...Buffer.from(digit)].slice(0, 2), [0xf0, 0x9f]);
  }
});

test("RFC 19 words: two halves of three words, the low half first", () => {
  for (const [text, value] of Object.entries(EXAMPLE_WORDS)) {
    assert.equal(parseFluid(text), canonicalInteger(value));
    assert.equal(formatFluid(value, "words"), text);
  }
  assert.equal(formatFluid(FLUID_MAX, "words"), "natural-analyze-verbal--natural-analyze-verbal");
  assert.equal(parseFluid("Acrobat-academy-academy--academy-academy-academy"), 1);
});

test("text that is no FLUID is refused with EINVAL", () => {
  const bad = [
    "", " ", "f", "ƒ", "ƒ0", "ƒO", "fIl", "0x", "0xg", "12a", "-1", "1.2.3", "1.2.3.4.5", "1.2.3.12345", "....",
    "18446744073709551616", "0x10000000000000000", "ƒzzzzzzzzzzzz", "😃x", "no-such-words", "job.1", "1 2",
  ]; // prettier-ignore
  for (const text of bad) {
    assert.equal(tryParseFluid(text), null, JSON.stringify(text));
    assert.throws(
      () => parseFluid(text),
      (error) => isFluxError(error, "EINVAL"),
    );
  }
});

test("every form of every 64-bit id is read back to that id", () => {
  fc.assert(
    fc.property(anyId, fc.constantFrom(...FLUID_FORMS), (id, form) => {
      assert.equal(parseFluid(formatFluid(id, form)), id);
    }),
    { numRuns: 2000 },
  );
});

test("an id takes 40 bits of time, 14 of generator, 10 of sequence", () => {
  assert.equal(composeFluid({ timestampMs: 1, generator: 1, sequence: 1 }), 2 ** 24 + 1024 + 1);
  assert.equal(composeFluid({ timestampMs: 2 ** 40 - 1, generator: 2 ** 14 - 1, sequence: 1023 }), FLUID_MAX);
  assert.throws(() => composeFluid({ timestampMs: 2 ** 40, generator: 0, sequence: 0 }), /out of range/);
  fc.assert(
    fc.property(anyId, (id) => {
      assert.equal(composeFluid(fluidParts(id)), id);
    }),
  );
});

test("a generator counts ids of one millisecond and starts again at the next", () => {
  const generator = new FluidGenerator({ generator: 3, epochMs: 1000 });
  assert.deepEqual(fluidParts(generator.next(1005)), { timestampMs: 5, generator: 3, sequence: 0 });
  assert.deepEqual(fluidParts(generator.next(1005.9)), { timestampMs: 5, generator: 3, sequence: 1 });
  assert.deepEqual(fluidParts(generator.next(1006)), { timestampMs: 6, generator: 3, sequence: 0 });
  assert.throws(() => new FluidGenerator({ generator: 16384, epochMs: 0 }), /generator id 16384/);
});

test("ids increase however the clock goes, also beyond 1,024 in a millisecond and beyond 2^53", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: -20, max: 50 }), fc.integer({ min: 1, max: 1500 })), { maxLength: 8 }),
      fc.constantFrom(0, 2 ** 29 - 30),
      (steps, startMs) => {
        const generator = new FluidGenerator({ generator: 0, epochMs: 0 });
        let nowMs = startMs;
        let last = -1n;
        for (const [stepMs, count] of steps) {
          nowMs = Math.max(0, nowMs + stepMs);
          for (let made = 0; made < count; made++) {
            const id = BigInt(generator.next(nowMs));
            assert.ok(id > last);
            last = id;
          }
        }
      },
    ),
    { numRuns: 50 },
  );
});

test("job ids are shown with ƒ where the locale has it, and with f where it has not", () => {
  for (const env of [{}, { LC_ALL: "C.UTF-8" }, { LANG: "de_DE.utf8" }, { LC_ALL: "", LANG: "C" }])
    assert.equal(f58FormOf(env), "f58", JSON.stringify(env));
  for (const env of [{ LC_ALL: "C" }, { LANG: "de_DE.ISO-8859-1" }, { FLUX_F58_FORCE_ASCII: "", LC_ALL: "C.UTF-8" }])
    assert.equal(f58FormOf(env), "f58plain", JSON.stringify(env));
});
