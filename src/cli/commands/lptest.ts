/** `flux lptest`: the ripple pattern of printable characters that lptest(1) printed, to test output with. */
import { defineCommand, type Command } from "../framework/command.ts";

const FIRST_CHARACTER = 33;
const CHARACTER_COUNT = 94;
const LENGTH = 79;
const COUNT = 200;

export const command: Command = defineCommand({
  name: "lptest",
  usageProgram: "flux lptest",
  program: "flux-lptest",
  dialect: "getopt",
  summary: "print a test pattern of lines",
  usage: "[length] [count]",
  operands: [{ name: "numbers", arity: "..." }],
  run: (context) => {
    const [length = LENGTH, count = COUNT] = context.operands.map(Number);
    if (context.operands.length > 2 || !isNatural(length) || !isNatural(count)) {
      context.complain("Usage: flux lptest [length] [count]");
      return 1;
    }
    context.out(pattern(length, count));
    return 0;
  },
});

const isNatural = (number: number): boolean => Number.isSafeInteger(number) && number >= 0;

/** Each line begins one character further than the one before. */
function pattern(length: number, count: number): string {
  const alphabet = Array.from({ length: CHARACTER_COUNT }, (_, index) => String.fromCharCode(FIRST_CHARACTER + index));
  const ripple = alphabet.join("").repeat(Math.ceil(length / CHARACTER_COUNT) + 1);
  let text = "";
  for (let line = 0; line < count; line++) {
    const start = line % CHARACTER_COUNT;
    text += `${ripple.slice(start, start + length)}\n`;
  }
  return text;
}
