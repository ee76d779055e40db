/** The front page of `flux`, and what `flux -v` shows of the environment. */
import { SHOWN_VARIABLES } from "./builtin-values.ts";
import { furtherCommandsText } from "./help-topics.ts";
import { COMMANDS, HEADINGS } from "../registry.ts";

const OPTIONS_TEXT = `Usage: flux [OPTIONS] COMMAND ARGS
  -h, --help             Display this message.
  -v, --verbose          Be verbose about environment and command search
  -V, --version          Display command and component versions
  -p, --parent           Set environment of parent instead of current instance
  -r, --root             Set environment of root instead of current instance
`;
const NAME_WIDTH = 18;

export function frontPageText(): string {
  let text = OPTIONS_TEXT;
  for (const heading of HEADINGS) {
    text += `\n${heading.title}\n`;
    for (const name of heading.names) {
      const summary = COMMANDS[name.split("/")[0]!]?.summary ?? "";
      text += `   ${name.padEnd(NAME_WIDTH)} ${summary}\n`;
    }
  }
  return `${text}${furtherCommandsText()}\nSee 'flux help COMMAND' for more information about a specific command.\n`;
}

/** The variables that decide what commands do. */
export function environmentText(): string {
  return [...SHOWN_VARIABLES, "FLUX_URI", "FLUX_KVS_NAMESPACE"]
    .filter((name) => process.env[name] !== undefined)
    .map((name) => `${name}=${process.env[name]}\n`)
    .join("");
}
