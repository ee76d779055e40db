/**
 * Makes and prepares the plugins of one shell. Where one fails the job cannot start: the log says which, and why.
 *
 * Invariant: the shell is given each plugin before the next one is made, so that whatever fails, it can stop those it has.
 */
import { FluxError, isFluxError } from "../base/errors.ts";
import { BUILTIN_PLUGINS } from "./builtin.ts";
import { ShellLogLevel, type ShellContext, type ShellPlugin } from "./plugin.ts";

export interface NamedPlugin {
  readonly name: string;
  readonly plugin: ShellPlugin;
}

/** Throws FluxError. */
export function* makePlugins(shell: ShellContext): Generator<NamedPlugin> {
  for (const [name, make] of Object.entries(BUILTIN_PLUGINS)) {
    let plugin: ShellPlugin | null;
    try {
      plugin = make(shell);
    } catch (error) {
      throw initFailure(shell, name, error);
    }
    if (plugin !== null) yield { name, plugin };
  }
}

/** What the plugins' preparation has to wait for. Throws, and rejects with, FluxError. */
export function initPlugins(shell: ShellContext, plugins: readonly NamedPlugin[]): Promise<void>[] {
  return plugins.flatMap(({ name, plugin }) => {
    try {
      const pending = plugin.init?.();
      return pending === undefined
        ? []
        : [pending.catch((error: unknown) => Promise.reject(initFailure(shell, name, error)))];
    } catch (error) {
      throw initFailure(shell, name, error);
    }
  });
}

function initFailure(shell: ShellContext, name: string, error: unknown): unknown {
  if (!isFluxError(error)) return error;
  // Some speak in the name of a part of theirs, as "output.kvs: ...".
  const [, speaker = ""] = /^([\w.-]+): /.exec(error.message) ?? [];
  const isNamed = speaker === name || speaker.startsWith(`${name}.`);
  const sentence = isNamed ? error.message : `${name}: ${error.message}`;
  shell.log(ShellLogLevel.error, sentence);
  shell.log(ShellLogLevel.error, `plugin '${name}': shell.init failed`);
  return new FluxError(error.errnum, `shell_init: ${sentence}`, { cause: error });
}
