/** What a broker is given by whoever starts it. */
import type { JsonObject } from "../base/json.ts";
import type { Ports } from "../base/ports.ts";
import type { BootClient } from "./bootstrap.ts";
import type { ModuleRegistry } from "./module-files.ts";
import type { PersonalityEntry } from "./personality.ts";

export interface BrokerOptions {
  readonly ports: Ports;
  /** How the broker finds its place; default: an instance of its own. */
  readonly boot?: BootClient;
  /** Attributes of the command line. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly config?: JsonObject;
  /** Reads the configuration again (`flux config reload`). Throws FluxError. Default: it stays as it is. */
  readonly reloadConfig?: () => JsonObject;
  /** One word is a line for the shell, more are program and arguments, none is an interactive shell. */
  readonly initialProgram?: readonly string[];
  /** The services that can be loaded, by name. */
  readonly modules: ModuleRegistry;
  /** Which of them a complete instance has. */
  readonly personality?: readonly PersonalityEntry[];
  /** Takes lines for people. */
  readonly stderr: (text: string) => void;
  /** Resource usage of the process as getrusage(2) names it; without it `SERVICE.rusage` is refused. */
  readonly rusage?: () => JsonObject;
  /** The initial program shares the broker's process group (as under a terminal). Default false. */
  readonly sharesGroup?: boolean;
  /** An error that nobody foresaw ends the broker: for tests that search for bugs. Default: what it came of fails. */
  readonly bugsAreFatal?: boolean;
  /** What is fixed by where Flux is installed, by name; default: nothing. */
  readonly builtinValues?: Readonly<Record<string, string>>;
  /** Called when rank, size and directories are known: the attributes tell them. */
  readonly booted?: () => void;
}
