/** The manual of a command: its help, with its examples, its topics and the help of its subcommands. */
import type { Command } from "./command.ts";
import { helpText, topicText } from "./help.ts";
import type { CommandPath } from "./names.ts";

export async function manualText(path: CommandPath): Promise<string> {
  const command: Command = path.at(-1)!;
  let text = `flux ${path.map((each) => each.name).join(" ")}: ${command.summary}\n\n${helpText(path)}`;
  if (command.examples !== undefined)
    text += `\nExamples:\n${command.examples.map((example) => `  ${example}\n`).join("")}`;
  for (const [topic, words] of Object.entries((await command.topics?.()) ?? {}))
    text += `\n${topic.replaceAll("-", " ").toUpperCase()}\n${topicText(words)}`;
  for (const sub of command.subcommands ?? [])
    if (sub.hidden !== true) text += `\n${helpText([...path, sub] as unknown as CommandPath)}`;
  return text;
}
