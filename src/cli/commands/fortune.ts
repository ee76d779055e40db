/** `flux fortune`: a line to smile at, or something worth knowing about Flux. */
import { defineCommand, type Command } from "../framework/command.ts";

const FORTUNES: Readonly<Record<string, readonly string[]>> = {
  valentines: [
    "Roses are red, violets are blue; my queue is empty, I was waiting for you.",
    "You had me at `flux submit --wait`.",
    "My heart has no time limit, and no preemption.",
    "We would make a fine parent and child: nested, and never apart.",
  ],
  fun: [
    "A watched job never completes. Try `flux job attach` instead.",
    "Why did the job cross the queue? Its dependency was on the other side.",
    "There are two hard things: naming things, exactly-once delivery, and off-by-one errors.",
    "Eat, sleep, `flux jobs -a`, repeat.",
  ],
  facts: [
    "Every Flux instance can be a job of another Flux instance: `flux batch` starts one, `flux pstree` shows them all.",
    "Job ids are FLUIDs: made without asking anybody, unique in their instance, and in the order of submission.",
    "`flux job explain ID` says in words why a job waits or why it failed.",
    "A job that ran already is not run again by `flux submit --once NAME`.",
    "`flux dmesg -H` shows the log of the brokers in colour, with the time since the line before.",
    "`flux uri --remote ID` makes the address of a job's instance that another host can use.",
  ],
  art: [
    "   _____ _            \n  |  ___| |_   ___  __\n  | |_  | | | | \\ \\/ /\n  |  _| | | |_| |>  < \n  |_|   |_|\\__,_/_/\\_\\",
    "     o\n    / \\\n   o   o\n  / \\   \\\n o   o   o    a tree of brokers",
  ],
};
const CATEGORIES = ["all", ...Object.keys(FORTUNES)];

export const command: Command = defineCommand({
  name: "fortune",
  dialect: "argparse",
  summary: "Print a fortune",
  description: "Print one of a few lines about Flux, by chance.",
  options: [
    {
      names: ["category"],
      short: "c",
      argument: `{${CATEGORIES.join(",")}}`,
      help: "Choose the category of fortunes to display.",
      choices: CATEGORIES,
    },
  ],
  async run(context) {
    const category = context.options.text("category") ?? "all";
    const { random } = await context.ports();
    const [chance] = new Uint32Array(random.bytes(4).slice().buffer);
    const choices = category === "all" ? Object.values(FORTUNES).flat() : FORTUNES[category]!;
    context.out(`${choices[chance! % choices.length]}\n`);
  },
});
