/**
 * The services of a complete instance: which are loaded, on which ranks, in which order. They are unloaded in the
 * opposite order.
 */
import type { ModuleRegistry } from "./module-service.ts";

export interface PersonalityEntry {
  readonly name: string;
  readonly where: "all" | "leader";
}

/** A service comes after those it calls when it starts. */
export const DEFAULT_PERSONALITY: readonly PersonalityEntry[] = [];

/** Where the services' code is; each is read when it is first loaded. */
export const BUILTIN_MODULES: ModuleRegistry = {};
