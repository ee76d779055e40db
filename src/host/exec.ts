/**
 * The exec port on Node: starts programs and tells what they print and how they end.
 *
 * Two implementations with the same behaviour: by the native addon (`exec-native.ts`) and by Node's child_process
 * (`exec-fallback.ts`). What both share is in `exec-common.ts`.
 *
 * `exit` comes when the process has ended and each of its piped streams has reached its end: a program left behind in
 * the background that still holds standard output delays it, until it ends too or the group is killed.
 */
import type { Exec } from "../base/ports.ts";
import { FallbackExec } from "./exec-fallback.ts";
import { NativeExec } from "./exec-native.ts";
import { nativeAddon } from "./native.ts";

export function nodeExec(): Exec {
  const addon = nativeAddon();
  return addon?.canSpawn === true ? new NativeExec(addon) : new FallbackExec();
}
