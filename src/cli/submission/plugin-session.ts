/** The program that holds users' plugins of a command that submits jobs, and what passes between it and the command. */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import type { Jobspec } from "../../formats/jobspec.ts";
import type { Command, CommandContext, OptionSpec, ParsedOptions } from "../framework/command.ts";
import { optionsFrom } from "../framework/parse.ts";
import { PythonProgram } from "../framework/python-program.ts";
import { PLUGINS } from "./options.ts";
import type { PluginFacts, SubmissionPlugins } from "./plugins.ts";

/** An option as the program describes it. */
interface PluginOption {
  readonly name: string;
  readonly help: string;
  /** The name of its argument; null for a flag. */
  readonly argument: string | null;
  readonly optional: boolean;
  readonly integer: boolean;
  readonly choices: readonly string[] | null;
  /** What `--help=NAME` shows. */
  readonly text: string;
}

interface LoadedPlugin extends PluginFacts {
  readonly options: readonly PluginOption[];
}

export interface LoadedPlugins {
  readonly plugins: SubmissionPlugins;
  readonly facts: readonly PluginFacts[];
  readonly options: readonly OptionSpec[];
  /** Help by the names of options, with and without dashes. */
  readonly texts: Readonly<Record<string, string>>;
  /** Ends the program. */
  end(): Promise<void>;
}

/** Starts the program with plugins for a command. Throws FluxError where one cannot be loaded or takes another's option. */
export async function loadPlugins(
  context: Pick<CommandContext, "ports" | "host">,
  command: Command,
  paths: readonly string[],
): Promise<LoadedPlugins> {
  const program = new PythonProgram("cli-plugins.py", "FLUX_CLI_PLUGINS_FD");
  await program.start(context, [command.name]);
  try {
    const facts = (await program.order({ do: "load", paths: [...paths] })) as unknown as readonly LoadedPlugin[];
    const described = facts.flatMap((plugin) => plugin.options);
    const options = described.map(optionOf);
    const known = new Set(command.options!.flatMap((option) => option.names));
    for (const [name] of options.map((option) => option.names)) {
      if (known.has(name)) throw new FluxError("EINVAL", `argument --${name}: conflicting option string: --${name}`);
      known.add(name);
    }
    const texts: Record<string, string> = {};
    for (const { name, text } of described)
      texts[name] = texts[`--${name}`] = `\nDocumentation for plugin providing option \`--${name}\`:\n\n${text}`;
    return { plugins: new PluginSession(program, command.options!), facts, options, texts, end: () => program.close() };
  } catch (error) {
    await program.close();
    throw error;
  }
}

function optionOf({ name, help, argument, optional, integer, choices }: PluginOption): OptionSpec {
  return {
    names: [name],
    group: PLUGINS,
    help,
    integer,
    optionalArgument: optional,
    ...(argument !== null && { argument }),
    ...(choices !== null && { choices }),
  };
}

class PluginSession implements SubmissionPlugins {
  readonly #program: PythonProgram;
  /** The command's own options. */
  readonly #own: readonly OptionSpec[];

  constructor(program: PythonProgram, own: readonly OptionSpec[]) {
    this.#program = program;
    this.#own = own;
  }

  async initialized(options: ParsedOptions): Promise<ParsedOptions> {
    const answer = (await this.#program.order({ do: "preinit", ...this.#told(options) })) as JsonObject;
    let { given } = options;
    for (const [key, value] of Object.entries(answer["changed"] as JsonObject)) {
      const name = this.#own.find(({ names }) => keyOf(names[0]) === key)!.names[0];
      given = [
        ...given.filter((each) => each.name !== name),
        ...wordsOf(value ?? null).map((word) => ({ name, value: word })),
      ];
    }
    const added = (answer["conf"] as readonly string[]).map((value) => ({ name: "conf", value }));
    return optionsFrom([...given, ...added]);
  }

  async applied(jobspec: Jobspec, options: ParsedOptions): Promise<Jobspec> {
    const order = { do: "modify", ...this.#told(options), jobspec: jobspec as unknown as JsonObject };
    return (await this.#program.order(order)) as unknown as Jobspec;
  }

  /** The values of the command's own options by their names in Python, and what was given of all. */
  #told(options: ParsedOptions): JsonObject {
    const values = this.#own.map((option) => [keyOf(option.names[0]), valueOf(option, options)] as const);
    return {
      values: Object.fromEntries(values),
      given: options.given.map(({ name, value }) => [name, value]),
    };
  }
}

function keyOf(name: string): string {
  return name.replaceAll("-", "_");
}

function valueOf(
  { names: [name], argument, repeatable, integer, optionalArgument }: OptionSpec,
  options: ParsedOptions,
): JsonValue {
  if (argument === undefined) return repeatable === true ? options.count(name) : options.has(name);
  if (!options.has(name)) return null;
  if (repeatable === true) return [...options.list(name)];
  if (integer === true) return options.integer(name);
  return options.text(name) ?? (optionalArgument === true ? "" : null);
}

/** What a value would be on a command line; null is an option without argument. */
function wordsOf(value: JsonValue): (string | null)[] {
  if (value === null || value === false) return [];
  if (value === true) return [null];
  if (Array.isArray(value)) return value.flatMap(wordsOf);
  if (isJsonObject(value)) throw new FluxError("EINVAL", "a plugin has set an option to a dictionary");
  return [String(value)];
}
